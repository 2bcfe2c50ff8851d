"""What a delivery holds that this version does not understand keeps nobody from the others: on every database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from alerting import failing, follow_ups, groups, outbox, redirecting
from alerting.config import read
from alerting.database import transact
from alerting.deliver import Deliverer
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.lanes import Worker
from alerting.outbox import UNREADABLE, Aside, Lease, leasing
from alerting.render import Renderer
from alerting.routes import Plan
from alerting.routing import Limit
from alerting.tables import alert_delivery, alert_event, alert_group
from alerting.told import remarks
from tests.contract.alerting.conftest import MINUTE, NOW
from tests.contract.alerting.following import recorded, recovery
from tests.contract.alerting.mailbox import Mail
from tests.integration.alerting.running import Meter, Running, at_work, history, record

EventMaker = Callable[..., AlertEvent]
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
BROKEN = "{"
OF_ANOTHER_VERSION = '{"to": ["ops@example.org"]}'
OPS = "email: ops@example.org"
GROUPED = "receiver: ops, group_by: [dag], group_wait: 0s"
_d, _e = alert_delivery.c, alert_event.c


def a_plan(ops: str = OPS, route: str = "receiver: ops", **options: timedelta) -> Plan:
    text = f"""
    receivers:
      ops: {{{ops}}}
      lead: {{email: lead@example.org}}
    route: {{{route}, routes: [{{matchers: dag=none, receiver: lead}}]}}
    """
    return Plan(routing=read(text, Path("alerting.yml"), {}), **options)


def with_addresses(engine: Engine, task_id: str, address: str) -> None:
    """What is recorded is routed, and the message about this task has this in the place of its addresses."""
    about = select(_e.id).where(_e.task_id == task_id)
    with engine.begin() as connection:
        connection.execute(update(alert_delivery).where(_d.event_id.in_(about)).values(address=address))


def routed(engine: Engine, plan: Plan, *events: AlertEvent) -> None:
    record(engine, *events)
    transact(engine, lambda connection, now: outbox.route(connection, now, plan))


def of_a_newer_version(engine: Engine, task_id: str) -> None:
    """This version cannot read the event of this task."""
    with engine.begin() as connection:
        spoilt = update(alert_event).where(_e.task_id == task_id)
        connection.execute(spoilt.values(payload='{"kind": "of_a_newer_version"}'))


def confirmed(engine: Engine, limit: int) -> tuple[Aside, list[Lease]]:
    """So many messages at once, each of them accepted."""
    aside = Aside()
    with engine.begin() as connection:
        leases = outbox.lease(connection, NOW + MINUTE, MINUTE, limit, ["email"], aside=aside)
        assert all(outbox.confirm(connection, lease, NOW + MINUTE) for lease in leases)
    return aside, leases


def outcomes(engine: Engine) -> set[tuple[str | None, str]]:
    return {(entry.task_id, entry.state) for entry in history(engine)}


def a_deliverer(engine: Engine, mail: Mail, plan: Plan) -> tuple[Deliverer, Running]:
    world = Running(engine, Meter())
    renderer = Renderer(lambda *_: [], str)
    return Deliverer(engine, [mail], renderer, plan, meter=world.meter, poll_seconds=0.1), world


@pytest.mark.parametrize("address", [BROKEN, OF_ANOTHER_VERSION, "[1]"])
def test_a_message_whose_addresses_cannot_be_read_is_dead_and_the_others_are_told(
    engine: Engine, an_event: EventMaker, address: str
) -> None:
    plan = a_plan(failing_after=15 * MINUTE)
    routed(engine, plan, an_event(1), an_event(2))
    with_addresses(engine, "t1", address)
    mail = Mail()
    deliverer, world = a_deliverer(engine, mail, plan)
    with at_work(deliverer, world):
        world.until(delivered=2, dead=1)  # the other one, and the news of it
    (dead,) = [entry for entry in history(engine) if entry.state == "dead"]
    assert (dead.task_id, dead.addresses) == ("t1", ())
    assert dead.error is not None
    assert dead.error.startswith("this version cannot read the message (unexpected ")
    assert dead.error.endswith("; upgrade, then replay")
    assert world.meter.counts["alerts.dead,channel=email"] == 1
    (told,) = [text for text in mail.got if "Nobody was told of alert" in text]
    assert "through email: this version cannot read the message" in told


def test_that_messages_cannot_be_read_lasts_until_none_was_found_for_an_hour(
    engine: Engine, an_event: EventMaker
) -> None:
    routed(engine, a_plan(), an_event(1))
    with engine.begin() as connection:
        (key,) = connection.execute(select(_d.id)).scalars()
        connection.execute(update(alert_delivery).values(waiting_since=NOW + DAY))
        assert failing.unreadable(connection, NOW, key, "broken")
        assert not failing.unreadable(connection, NOW + HOUR, key, "broken")
        assert failing.look(connection, NOW + 2 * HOUR, 15 * MINUTE, ["email"]) == 0
        assert failing.look(connection, NOW + 2 * HOUR + MINUTE, 15 * MINUTE, ["email"]) == 1


def test_its_fallback_is_told_instead(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(f"{OPS}, fallback: lead")
    routed(engine, plan, an_event(1))
    with_addresses(engine, "t1", BROKEN)
    deliverer, world = a_deliverer(engine, Mail(), plan)
    with at_work(deliverer, world):
        world.until(delivered=1, dead=1)
    assert [(entry.receiver, entry.state) for entry in history(engine)] == [("ops", "dead"), ("lead", "delivered")]


def test_it_is_replayed_to_the_addresses_of_its_receiver(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan()
    routed(engine, plan, an_event(1))
    with_addresses(engine, "t1", BROKEN)
    with engine.begin() as connection:
        (key,) = connection.execute(select(_d.id)).scalars()
    assert transact(engine, lambda connection, now: outbox.set_aside_delivery(connection, now, key, "unreadable")) == 1
    with engine.begin() as connection:
        (correction,) = redirecting.correct(connection, plan, [key])
        assert outbox.replay(connection, NOW, DAY, [key]) == 1
        (lease,) = outbox.lease(connection, NOW, MINUTE, 1, ["email"])
    assert str(correction).endswith(": to ops@example.org, for the addresses that it had cannot be read")
    assert lease.addresses == ("ops@example.org",)


def test_a_message_that_can_be_read_outlives_a_moment_without_memory(
    engine: Engine, an_event: EventMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    routed(engine, a_plan(), an_event(1))
    mail = Mail()
    deliverer, _ = a_deliverer(engine, mail, a_plan())

    def no_memory(_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as moment:
        moment.setattr(leasing, "decode", no_memory)
        with pytest.raises(MemoryError):  # the lane's thread looks again later
            deliverer._sender.deliver_next(deliverer._lanes["email"], Worker())
    assert [entry.state for entry in history(engine)] == ["pending"]
    assert deliverer._sender.deliver_next(deliverer._lanes["email"], Worker())
    assert (len(mail.got), [entry.state for entry in history(engine)]) == (1, ["delivered"])


def test_no_message_is_dead_for_a_rate_that_cannot_be_kept(engine: Engine, an_event: EventMaker) -> None:
    """No window is as long as this one, so when it ends cannot be said: that is the fault of no message."""
    text = """
    channels: {email: {rate: {messages: 1, per: 1h}}}
    receivers: {ops: {email: ops@example.org}}
    route: {receiver: ops}
    """
    routing = read(text, Path("alerting.yml"), {})
    endless = tuple(replace(channel, rate=Limit(1, timedelta.max)) for channel in routing.channels)
    plan = Plan(routing=replace(routing, channels=endless))
    routed(engine, plan, an_event(1), an_event(2))
    mail = Mail()
    deliverer, _ = a_deliverer(engine, mail, plan)
    assert deliverer._sender.deliver_next(deliverer._lanes["email"], Worker())
    with pytest.raises(OverflowError):  # the lane's thread looks again later
        deliverer._sender.deliver_next(deliverer._lanes["email"], Worker())
    assert outcomes(engine) == {("t1", "delivered"), ("t2", "pending")}


def test_what_somebody_else_has_taken_meanwhile_is_not_set_aside(engine: Engine, an_event: EventMaker) -> None:
    routed(engine, a_plan(), an_event(1))

    def take(connection: object, now: object) -> int:
        (lease,) = outbox.lease(connection, now, MINUTE, 1, ["email"])  # type: ignore[arg-type]
        return outbox.set_aside_delivery(connection, now, lease.id, "unreadable")  # type: ignore[arg-type]

    assert transact(engine, take) == 0


def test_it_spoils_no_group_and_no_end_of_a_trouble(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(route=GROUPED)
    record(engine, an_event(1), an_event(2), an_event(3))
    with engine.begin() as connection:
        outbox.route(connection, NOW, plan)
        first, _, third = connection.execute(select(_d.id).order_by(_d.id)).scalars()
        for key, address in ((first, BROKEN), (third, '["a@example.org","b@example.org"]')):
            values = {"address": address, "target": f"{key:064d}"}
            connection.execute(update(alert_delivery).where(_d.id == key).values(values))
        wave = groups.flush(connection, NOW, plan)
    assert wave is not None
    record(engine, an_event(1, kind=EventKind.TASK_RECOVERED, try_number=2))
    transact(engine, lambda connection, now: outbox.route(connection, now, plan))
    (end, *_) = [entry for entry in history(engine) if entry.kind == EventKind.TASK_RECOVERED]
    assert (end.state, end.error) == ("suppressed", "nobody was told of what this ends")


def test_it_is_listed_and_so_are_all_others(engine: Engine, an_event: EventMaker) -> None:
    routed(engine, a_plan(), an_event(1), an_event(2))
    with_addresses(engine, "t1", BROKEN)
    about = _d.address == BROKEN
    with engine.begin() as connection:
        connection.execute(update(alert_delivery).where(about).values(heard_before=BROKEN, origin="of_tomorrow"))
    (second, first) = history(engine)
    assert (second.task_id, second.addresses) == ("t2", ("ops@example.org",))
    assert (first.task_id, first.addresses, first.heard_before) == ("t1", (), ())
    assert remarks(first, [first]) == "of_tomorrow"


@pytest.mark.parametrize("labels", [BROKEN, '{"dag": "daily"}'])
def test_an_end_is_told_at_once_where_the_group_of_the_trouble_cannot_be_read(
    engine: Engine, an_event: EventMaker, labels: str
) -> None:
    plan = a_plan(route=GROUPED)
    routed(engine, plan, an_event(1))
    with engine.begin() as connection:
        groups.flush(connection, NOW + DAY, plan)
        connection.execute(update(alert_group).values(labels=labels))
    routed(engine, plan, an_event(1, kind=EventKind.TASK_RECOVERED, try_number=2))
    (end,) = [entry for entry in history(engine) if entry.kind == EventKind.TASK_RECOVERED]
    assert (end.receiver, end.state) == ("ops", "pending")


def test_of_a_message_the_alerts_that_can_be_read_are_told_and_the_others_are_dead(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = a_plan(f"{OPS}, escalate: {{after: 10m, to: lead}}", GROUPED)
    record(engine, *(an_event(n) for n in range(4)))
    with engine.begin() as connection:
        outbox.route(connection, NOW, plan)
        groups.flush(connection, NOW, plan)
        unread = _e.task_id.in_(("t0", "t2"))  # the one that carries the message is one of them
        connection.execute(update(alert_event).where(unread).values(payload='{"kind": "of_a_newer_version"}'))
        aside = Aside()
        (lease,) = outbox.lease(connection, NOW, MINUTE, 1, ["email"], aside=aside)
        assert outbox.confirm(connection, lease, NOW)
        follow_ups.schedule(connection, NOW, lease, plan)
    assert [event.task_id for event in (lease.event, *lease.others) if event is not None] == ["t1", "t3"]
    assert len(aside.unread) == 2
    told = {entry.task_id: (entry.state, entry.error) for entry in history(engine)}
    dead, delivered = ("dead", UNREADABLE), ("delivered", None)
    assert told == {"t0": dead, "t1": delivered, "t2": dead, "t3": delivered}


def test_an_alert_that_cannot_be_read_is_dead_though_another_of_its_message_is_overtaken(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = a_plan(route=GROUPED)
    retry = an_event(1, kind=EventKind.TASK_RETRY, max_tries=3)
    recorded(engine, plan, NOW, an_event(0), retry, an_event(2))
    with engine.begin() as connection:
        groups.flush(connection, NOW, plan)
    of_a_newer_version(engine, "t2")
    recorded(engine, plan, NOW, an_event(1, try_number=3, max_tries=3))
    aside, (lease,) = confirmed(engine, 1)
    assert [event.task_id for event in (lease.event, *lease.others) if event] == ["t0"]
    assert (len(aside.overtaken), len(aside.unread)) == (1, 1)
    assert outcomes(engine) == {("t0", "delivered"), ("t1", "suppressed"), ("t1", "waiting"), ("t2", "dead")}


def test_an_alert_that_cannot_be_read_is_dead_though_another_message_is_overtaken(
    engine: Engine, an_event: EventMaker
) -> None:
    grouped, alone = a_plan(route=GROUPED), a_plan()
    recorded(engine, grouped, NOW, an_event(0), an_event(2))
    with engine.begin() as connection:
        groups.flush(connection, NOW, grouped)
    of_a_newer_version(engine, "t2")
    recorded(engine, alone, NOW, an_event(1, kind=EventKind.TASK_RETRY, max_tries=3), an_event(3))
    recorded(engine, alone, NOW, recovery(an_event))
    aside, leases = confirmed(engine, 4)
    assert [event.task_id for lease in leases for event in (lease.event, *lease.others) if event] == ["t0", "t3"]
    assert (len(aside.overtaken), len(aside.unread)) == (2, 1)  # the retry, and its end
    assert outcomes(engine) == {("t0", "delivered"), ("t1", "suppressed"), ("t2", "dead"), ("t3", "delivered")}


def test_a_message_of_which_nothing_can_be_read_is_dead_as_a_whole(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(route=GROUPED)
    record(engine, an_event(1), an_event(2))
    with engine.begin() as connection:
        outbox.route(connection, NOW, plan)
        groups.flush(connection, NOW, plan)
        connection.execute(update(alert_event).values(payload="{}"))
    deliverer, world = a_deliverer(engine, Mail(), plan)
    with at_work(deliverer, world):
        world.until(dead=2)
    assert {entry.error for entry in history(engine)} == {UNREADABLE}


@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "a part"])
def test_people_hear_of_an_alert_that_cannot_be_read(engine: Engine, an_event: EventMaker, grouped: bool) -> None:
    plan = a_plan(route=GROUPED if grouped else "receiver: ops", failing_after=15 * MINUTE)
    routed(engine, plan, *(an_event(n) for n in range(1 + grouped)))
    transact(engine, lambda connection, now: groups.flush(connection, now, plan))
    with engine.begin() as connection:
        connection.execute(update(alert_event).where(_e.task_id == "t0").values(payload="{}"))
    mail = Mail()
    deliverer, world = a_deliverer(engine, mail, plan)
    with at_work(deliverer, world):
        world.until(dead=1, delivered=1 + grouped)
    (told,) = [text for text in mail.got if "Nobody was told of alert" in text]
    assert "through email: this version cannot read the event; upgrade, then replay." in " ".join(told.split())
