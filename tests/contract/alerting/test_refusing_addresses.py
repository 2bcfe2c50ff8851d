"""One mail address of several that does not take a message: it alone waits, and mail is not called broken for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from alerting import failing, groups, outbox
from alerting.channels import Delivered, Failure, Message, Outcome, Refusal, Retry
from alerting.config import read
from alerting.deliver import Deliverer
from alerting.events import AlertEvent, decode
from alerting.follow_ups import schedule, schedule_for_refused
from alerting.kinds import EventKind
from alerting.outbox import Lease
from alerting.render import Renderer
from alerting.routes import Origin, Plan
from alerting.tables import alert_delivery, alert_event
from alerting.telling import Told
from tests.contract.alerting.conftest import MINUTE, NOW, followed
from tests.integration.alerting.running import Meter, Running, at_work, history
from tests.servers.processes import wait_until

EventMaker = Callable[..., AlertEvent]
AFTER = timedelta(minutes=15)
FULL, HERE = "full@example.org", "here@example.org"
ABOUT_FULL = f"email to {FULL}"
RULES = """
receivers:
  ops: {email: [full@example.org, here@example.org]OPTIONS}
  lead: {email: lead@example.org}
route:
  receiver: ops
  GROUPED
  routes: [{matchers: dag=nowhere, receiver: lead}]
"""


class PostOffice:
    """Mail that takes what is for anybody but FULL, until it takes that as well."""

    name = "email"
    concurrency = 1

    def __init__(self) -> None:
        self.takes_all = False
        self.got: list[tuple[tuple[str, ...], str]] = []

    def send(self, message: Message) -> Outcome:
        others = tuple(address for address in message.recipients if self.takes_all or address != FULL)
        if not others:
            return Retry(Failure.BUSY, "no recipient was taken: 452 mailbox full", addressee=True)
        self.got.append((others, message.subject))
        return Delivered(later=() if others == message.recipients else (Refusal((FULL,), "452 mailbox full"),))


def a_plan(options: str = "", grouped: str = "", give_up_after: timedelta = timedelta(days=1)) -> Plan:
    text = RULES.replace("OPTIONS", options and f", {options}").replace("GROUPED", grouped)
    return Plan(give_up_after=give_up_after, routing=read(text, Path("alerting.yml"), {}), failing_after=AFTER)


def at_the_post_office(
    engine: Engine, mail: PostOffice, *events: AlertEvent, plan: Plan | None = None, **states: int
) -> Deliverer:
    subject = Deliverer(engine, [mail], Renderer(lambda *_: [], str), plan or a_plan(), poll_seconds=0.05)
    world = Running(engine, Meter())
    with at_work(subject, world):
        world.record(*events)
        world.until(**states)
        wait_until(lambda: all(row.attempts for row in rows(engine) if row.state == "pending"), "a try of each")
        world.until(**states)
    return subject


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is refused for now is tried again while the test looks."""
    monkeypatch.setattr("alerting.settling.backoff", lambda _attempts: 3600.0)


def of_what_waits(engine: Engine, **values: datetime) -> None:
    """Changes the rows of what waits."""
    with engine.begin() as connection:
        connection.execute(alert_delivery.update().where(alert_delivery.c.state == "pending").values(**values))


def looked(engine: Engine, later: timedelta = timedelta()) -> int:
    with engine.begin() as connection:
        return failing.look(connection, datetime.now(UTC) + later, AFTER, ["email"])


def subjects(engine: Engine, kind: EventKind = EventKind.DELIVERY_FAILING) -> list[tuple[str | None, str]]:
    with engine.begin() as connection:
        found = select(alert_event.c.payload).where(alert_event.c.kind == kind.value).order_by(alert_event.c.id)
        events = [decode(payload) for payload in connection.execute(found).scalars()]
    return [(event.subject, (event.summary or "").partition(". ")[0]) for event in events if event is not None]


def rows(engine: Engine) -> list[Any]:
    with engine.begin() as connection:
        return list(connection.execute(select(alert_delivery).order_by(alert_delivery.c.id)).all())


def sent(engine: Engine, now: datetime, plan: Plan, **refusals: list[Refusal]) -> list[Lease]:
    """What is due is accepted, but for these addresses."""
    with engine.begin() as connection:
        leases = outbox.lease(connection, now, MINUTE, 100, ["email"])
        for lease in leases:
            assert outbox.confirm(connection, lease, now, again_at=now + MINUTE, **refusals)
            schedule(connection, now, lease, plan)
            if refusals.get("never"):
                schedule_for_refused(connection, now, lease, plan)
    return leases


def routed(engine: Engine, now: datetime, plan: Plan, *events: AlertEvent) -> None:
    with engine.begin() as connection:
        outbox.record(connection, events)
        outbox.route(connection, now, plan)
    with engine.begin() as connection:
        while groups.flush(connection, now, plan) is not None:
            pass


@pytest.mark.usefixtures("patient")
def test_the_others_are_told_now_and_it_waits_by_itself(engine: Engine, an_event: EventMaker) -> None:
    mail = PostOffice()
    began = datetime.now(UTC)
    at_the_post_office(engine, mail, an_event(1), an_event(2), plan=a_plan(), delivered=2, pending=2)
    assert [people for people, _ in mail.got] == [(HERE,)] * 2
    told = sorted((entry.state, entry.addresses, entry.error) for entry in history(engine))
    assert told == [("delivered", (HERE,), None)] * 2 + [("pending", (FULL,), "452 mailbox full")] * 2
    assert all(row.due_at > began + timedelta(minutes=30) for row in rows(engine) if row.state == "pending")


@pytest.mark.usefixtures("patient")
def test_what_it_waits_for_is_told_of_the_address_and_not_of_mail(engine: Engine, an_event: EventMaker) -> None:
    mail = PostOffice()
    at_the_post_office(engine, mail, an_event(1), delivered=1, pending=1)
    assert [looked(engine, timedelta(minutes=minutes)) for minutes in (14, 16, 17)] == [0, 1, 0]
    assert subjects(engine) == [(ABOUT_FULL, f"A message has waited for {ABOUT_FULL} for 16 minutes")]
    at_the_post_office(engine, mail, delivered=2, pending=1)
    assert mail.got[-1][0] == (HERE,)
    assert "Alerts are not delivered: email to full@example.org" in mail.got[-1][1]


@pytest.mark.usefixtures("patient")
def test_it_is_well_again_when_nothing_waits_for_it_any_more(engine: Engine, an_event: EventMaker) -> None:
    mail = PostOffice()
    at_the_post_office(engine, mail, an_event(1), delivered=1, pending=1)
    of_what_waits(engine, waiting_since=datetime.now(UTC) - timedelta(minutes=16))
    assert looked(engine) == 1
    mail.takes_all = True
    at_the_post_office(engine, mail, an_event(2), delivered=3, pending=1)
    assert looked(engine) == 0  # one message was taken, and another waits
    of_what_waits(engine, due_at=datetime.now(UTC))
    at_the_post_office(engine, mail, delivered=4)
    assert [looked(engine) for _ in range(2)] == [1, 0]
    assert subjects(engine, EventKind.DELIVERY_RECOVERED) == [(ABOUT_FULL, f"{FULL} takes messages again")]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("has_accepted", "subject"), [(True, ABOUT_FULL), (False, "email")], ids=["mail works", "mail may be broken"]
)
def test_where_nobody_else_is_told_it_is_the_addresses_only_beside_mail_that_was_taken(
    engine: Engine, an_event: EventMaker, has_accepted: bool, subject: str
) -> None:
    mail, plan = PostOffice(), Plan(failing_after=AFTER)
    if has_accepted:
        at_the_post_office(engine, mail, an_event(1, emails=(HERE,)), plan=plan, delivered=1)
    others = {"delivered": 1} if has_accepted else {}
    at_the_post_office(engine, mail, an_event(2, emails=(FULL,)), plan=plan, pending=1, **others)
    assert looked(engine, timedelta(minutes=16)) == 1
    assert [about for about, _ in subjects(engine)] == [subject]


@pytest.mark.usefixtures("patient")
def test_it_stays_the_addresses_however_long_ago_the_others_took_it(engine: Engine, an_event: EventMaker) -> None:
    mail = PostOffice()
    at_the_post_office(engine, mail, an_event(1), delivered=1, pending=1)
    taken = (alert_delivery.c.state == "delivered",)
    with engine.begin() as connection:
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(alert_delivery.update().where(*taken).values(delivered_at=long_ago))
    of_what_waits(engine, due_at=datetime.now(UTC))
    subject = Deliverer(engine, [mail], Renderer(lambda *_: [], str), a_plan(), poll_seconds=0.05)
    with at_work(subject):
        wait_until(lambda: [row.attempts for row in rows(engine) if row.state == "pending"] == [2], "a second attempt")
    assert looked(engine, timedelta(minutes=16)) == 1
    assert [about for about, _ in subjects(engine)] == [ABOUT_FULL]


@pytest.mark.usefixtures("patient")
def test_what_is_given_up_at_its_age_is_the_addresses_and_the_fallback_hears_for_whom_it_was(
    engine: Engine, an_event: EventMaker
) -> None:
    mail, plan = PostOffice(), a_plan("fallback: lead", give_up_after=timedelta(minutes=30))
    at_the_post_office(engine, mail, an_event(1), plan=plan, delivered=3, dead=1)
    reason = "given up after 1 attempt; the last: 452 mailbox full"
    assert subjects(engine) == [(ABOUT_FULL, f"A message through {ABOUT_FULL} was given up: {reason}")]
    (dead,) = [entry for entry in history(engine) if entry.state == "dead"]
    assert (dead.addresses, dead.error, dead.fell_back_to) == ((FULL,), reason, "lead")
    (note,) = [row.note for row in rows(engine) if row.origin == Origin.FALLBACK]
    assert note == f"Meant for {FULL} of ops, which could not be told through email: {reason}"


@pytest.mark.usefixtures("patient")
def test_what_was_refused_before_and_comes_too_late_is_the_addresses(engine: Engine, an_event: EventMaker) -> None:
    mail = PostOffice()
    at_the_post_office(engine, mail, an_event(1), delivered=1, pending=1)
    past = datetime.now(UTC) - timedelta(seconds=1)
    of_what_waits(engine, due_at=past, give_up_at=past)
    at_the_post_office(engine, mail, delivered=2, dead=1)
    assert [about for about, _ in subjects(engine)] == [ABOUT_FULL]


def test_what_is_replayed_is_no_more_known_to_be_refused(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan()
    routed(engine, NOW, plan, an_event(1))
    sent(engine, NOW, plan, never=[Refusal((FULL,), "550 no such user")])
    with engine.begin() as connection:
        assert outbox.replay(connection, NOW, timedelta(days=1)) == 1
        (lease,) = outbox.lease(connection, NOW, MINUTE, 1, ["email"])
        assert (lease.addresses, lease.refused) == ((FULL,), False)


@pytest.mark.parametrize("grouped", ["", "group_by: [dag]\n  group_wait: 0s"], ids=["alone", "grouped"])
@pytest.mark.parametrize("refused", ["later", "never"])
def test_the_end_is_told_to_those_who_heard_the_beginning_or_still_may(
    engine: Engine, an_event: EventMaker, refused: str, grouped: str
) -> None:
    plan = a_plan(grouped=grouped)
    routed(engine, NOW, plan, an_event(1), an_event(2))
    sent(engine, NOW, plan, **{refused: [Refusal((FULL,), "no")]})
    ends = [an_event(n, kind=EventKind.TASK_RECOVERED, try_number=2) for n in (1, 2)]
    later = NOW + timedelta(hours=1)
    routed(engine, later, plan, *ends)
    told = {row.address for row in rows(engine) if row.origin == Origin.RESOLVED}
    assert told == ({f'["{HERE}"]', f'["{FULL}"]'} if refused == "later" else {f'["{HERE}"]'})
    people = {lease.addresses for lease in sent(engine, later, plan)}
    assert people == ({(HERE,), (FULL,)} if refused == "later" else {(HERE,)})


def test_the_end_goes_to_those_who_may_have_heard_before_a_deliverer_died(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan()
    routed(engine, NOW, plan, an_event(1))
    with engine.begin() as connection:
        assert len(outbox.lease(connection, NOW, MINUTE, 1, ["email"])) == 1  # accepted, perhaps, and never confirmed
    routed(engine, NOW + MINUTE * 2, plan, an_event(1, kind=EventKind.TASK_RECOVERED, try_number=2))
    (end,) = [row for row in rows(engine) if row.origin == Origin.RESOLVED]
    assert end.address == f'["{FULL}","{HERE}"]'


@pytest.mark.parametrize("refused", ["later", "never"])
def test_a_repetition_is_told_to_those_who_have_it_and_tried_for_the_other(
    engine: Engine, an_event: EventMaker, refused: str
) -> None:
    plan = a_plan("repeat_interval: 1h")
    routed(engine, NOW, plan, an_event(1))
    sent(engine, NOW, plan, **{refused: [Refusal((FULL,), "no")]})
    if refused == "later":
        assert [lease.addresses for lease in sent(engine, NOW + MINUTE, plan)] == [(FULL,)]
    assert followed(engine, plan, NOW + timedelta(hours=2)) == Told((Origin.REPEAT,) * 2, ("email",) * 2)
    again = sent(engine, NOW + timedelta(hours=2), plan)
    assert sorted((lease.addresses, lease.turn) for lease in again) == [((FULL,), 1), ((HERE,), 1)]
