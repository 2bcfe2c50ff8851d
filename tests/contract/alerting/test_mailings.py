"""One mail for each person about the failures of one run, whatever addresses its tasks name, on every database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from alerting import groups, outbox
from alerting.config import read
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.routes import Plan
from alerting.tables import alert_delivery
from tests.contract.alerting.conftest import NOW

EventMaker = Callable[..., AlertEvent]
Mail = tuple[tuple[str, ...], tuple[str, ...]]
LATER = NOW + timedelta(minutes=1)
RECEIVERS = {
    "task-email": "",
    "ops": "ops: {email: ops@b.org, task_email: true}",
    "lead": "lead: {email: [ops@b.org, lead@b.org]}",
}


def a_plan(receiver: str = "task-email") -> Plan:
    route = f"receiver: {receiver}, group_by: [dag, run], group_wait: 30s, group_interval: 5m"
    text = f"receivers: {{{RECEIVERS[receiver]}}}\nroute: {{{route}}}\n"
    return Plan(routing=read(text, Path("alerting.yml"), {}))


def mails(engine: Engine, plan: Plan, *events: AlertEvent, now: datetime = LATER) -> list[Mail]:
    """What is sent of these events: to whom, and about what."""
    with engine.begin() as connection:
        outbox.record(connection, events)
        outbox.route(connection, now - timedelta(seconds=30), plan, limit=5_000)
    with engine.begin() as connection:
        while groups.flush(connection, now, plan) is not None:
            pass
        leases = outbox.lease(connection, now, timedelta(minutes=1), 100, ["email"])
        for lease in leases:
            outbox.confirm(connection, lease, now)
    told = [
        (lease.addresses, tuple(sorted(each.task_id or "the run" for each in (lease.event, *lease.others) if each)))
        for lease in leases
    ]
    return sorted(told)


def test_whoever_is_on_two_lists_gets_one_mail_about_both(engine: Engine, an_event: EventMaker) -> None:
    sent = mails(engine, a_plan(), an_event(1, emails=("a@b.org",)), an_event(2, emails=("b@b.org", "a@b.org")))
    assert sent == [(("a@b.org",), ("t1", "t2")), (("b@b.org",), ("t2",))]


def test_a_run_that_failed_is_told_in_the_mail_about_its_tasks(engine: Engine, an_event: EventMaker) -> None:
    """The run has the receiver's own address alone, its task has that of its `email=` too."""
    run = an_event(9, kind=EventKind.RUN_FAILED, task_id=None, cause="task_failures", emails=())
    sent = mails(engine, a_plan("ops"), an_event(1, emails=("a@b.org",)), run)
    assert sent == [(("a@b.org",), ("t1",)), (("ops@b.org",), ("t1", "the run"))]


def test_the_same_people_in_another_order_get_one_mail(engine: Engine, an_event: EventMaker) -> None:
    sent = mails(
        engine, a_plan(), an_event(1, emails=("a@b.org", "b@b.org")), an_event(2, emails=("b@b.org", "a@b.org"))
    )
    assert sent == [(("a@b.org", "b@b.org"), ("t1", "t2"))]


def test_people_with_the_same_tasks_share_a_mail(engine: Engine, an_event: EventMaker) -> None:
    lists = [("a@b.org", "b@b.org", "c@b.org"), ("a@b.org", "b@b.org"), ("c@b.org",)]
    sent = mails(engine, a_plan(), *(an_event(n, emails=emails) for n, emails in enumerate(lists)))
    assert sent == [(("a@b.org", "b@b.org"), ("t0", "t1")), (("c@b.org",), ("t0", "t2"))]


def test_of_very_many_tasks_each_person_gets_one_mail_that_names_all_of_theirs(
    engine: Engine, an_event: EventMaker
) -> None:
    people = [f"p{n}@b.org" for n in range(6)]
    events = [an_event(n, emails=tuple(people[n % 6 : n % 6 + 2] or people[:1])) for n in range(700)]
    sent = mails(engine, a_plan(), *events)
    assert Counter(address for addresses, _ in sent for address in addresses) == dict.fromkeys(people, 1)
    for addresses, tasks in sent:
        for address in addresses:
            assert set(tasks) == {event.task_id for event in events if address in event.emails}


@pytest.mark.parametrize("first", ["lead", "ops"])
def test_two_routes_to_one_person_make_one_mail(engine: Engine, an_event: EventMaker, first: str) -> None:
    second = "ops" if first == "lead" else "lead"
    routes = f"[{{receiver: {first}, continue: true}}, {{receiver: {second}}}]"
    text = f"receivers: {{{RECEIVERS['ops']}, {RECEIVERS['lead']}}}\nroute: {{receiver: nobody, routes: {routes}}}"
    plan = Plan(routing=read(text, Path("alerting.yml"), {}))
    sent = mails(engine, plan, an_event(1, emails=("a@b.org", "lead@b.org")))
    assert sorted(address for addresses, _ in sent for address in addresses) == ["a@b.org", "lead@b.org", "ops@b.org"]


def test_the_end_goes_once_to_everybody_who_was_told(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan()
    mails(engine, plan, an_event(2, kind=EventKind.TASK_RETRY, emails=("a@b.org", "b@b.org")))
    later = LATER + timedelta(minutes=10)
    failed = (an_event(1, emails=("a@b.org",)), an_event(2, try_number=2, emails=("a@b.org", "b@b.org")))
    mails(engine, plan, *failed, now=later)
    end = an_event(2, kind=EventKind.TASK_RECOVERED, try_number=3, emails=())
    sent = mails(engine, plan, end, now=later + timedelta(minutes=10))
    assert sorted(address for addresses, _ in sent for address in addresses) == ["a@b.org", "b@b.org"]


def test_a_list_whose_part_has_a_delivery_already_stays_whole(engine: Engine, an_event: EventMaker) -> None:
    """Somebody who was told of one alert by another way must not keep the wave from being formed."""
    plan = a_plan()
    events = (an_event(1, emails=("a@b.org",)), an_event(2, emails=("a@b.org", "b@b.org")))
    with engine.begin() as connection:
        outbox.record(connection, events)
        outbox.route(connection, NOW, plan)
        row = (
            connection.execute(select(alert_delivery).where(alert_delivery.c.address == '["a@b.org"]')).mappings().one()
        )
        other = connection.execute(select(alert_delivery).where(alert_delivery.c.id != row["id"])).mappings().one()
        extra = dict(row) | {"id": None, "event_id": other["event_id"], "state": "suppressed", "group_id": None}
        connection.execute(alert_delivery.insert().values({k: v for k, v in extra.items() if k != "id"}))
    assert mails(engine, plan) == [(("a@b.org",), ("t1",)), (("a@b.org", "b@b.org"), ("t2",))]
