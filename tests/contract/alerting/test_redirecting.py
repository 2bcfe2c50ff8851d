"""Dead deliveries that go elsewhere when they are sent again, the same on every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, func, select, update

from alerting import addressees, database, groups, outbox, redirecting
from alerting.channels import Refusal
from alerting.config import read
from alerting.events import AlertEvent
from alerting.groups import Draft
from alerting.outbox import Entry, Lease
from alerting.routes import Plan, Target
from alerting.tables import alert_delivery, alert_follow_up
from tests.contract.alerting.conftest import buried, followed

EventMaker = Callable[..., AlertEvent]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
FILE = """\
channels: {room: json://a/b}
receivers:
  ops: {email: [gone@example.org, boss@example.org]}
  lead: {email: lead@example.org, channels: [room]}
route:
  receiver: ops
  routes:
    - {matchers: dag=elsewhere, receiver: lead}
"""
GROUPED = FILE.replace("receiver: ops\n  routes", "receiver: ops\n  group_by: [dag]\n  group_wait: 0s\n  routes")


def a_plan(text: str = FILE) -> Plan:
    return Plan(routing=read(text, Path("alerting.yml"), {}))


def leased(engine: Engine, *channels: str) -> list[Lease]:
    with engine.begin() as connection:
        return outbox.lease(connection, NOW + MINUTE, MINUTE, 50, channels or ("email", "room"))


def dead(engine: Engine, text: str, *events: AlertEvent) -> None:
    with engine.begin() as connection:
        outbox.record(connection, events)
        outbox.route(connection, NOW, a_plan(text))
        groups.flush(connection, NOW, a_plan(text))
    for lease in leased(engine):
        with engine.begin() as connection:
            assert outbox.bury(connection, lease, "550 no such user")


def corrected(engine: Engine, text: str) -> list[str]:
    with engine.begin() as connection:
        told = list(map(str, redirecting.correct(connection, a_plan(text))))
        outbox.replay(connection, NOW + MINUTE, DAY)
    return told


def redirected(engine: Engine, to: str, text: str = FILE) -> int:
    plan = a_plan(text)
    receiver = plan.receiver(to)
    assert receiver is not None
    with engine.begin() as connection:
        return redirecting.redirect(connection, NOW + MINUTE, DAY, receiver, plan, ["room"])


def states_of(engine: Engine) -> set[tuple[str | None, str | None, str]]:
    return {(entry.receiver, entry.channel, entry.state) for entry in entries(engine)}


def entries(engine: Engine) -> list[Entry]:
    with engine.begin() as connection:
        return outbox.listing(connection)


def test_a_dead_mail_goes_to_the_address_that_its_receiver_has_now(engine: Engine, an_event: EventMaker) -> None:
    dead(engine, FILE, an_event(1))
    (told,) = corrected(engine, FILE.replace("gone@", "oncall@"))
    number = entries(engine)[0].number
    assert told == f"{number}: to oncall@example.org instead of gone@example.org"
    (lease,) = leased(engine)
    assert lease.addresses == ("boss@example.org", "oncall@example.org")


def test_what_is_right_already_stays_as_it_is(engine: Engine, an_event: EventMaker) -> None:
    dead(engine, FILE, an_event(1))
    assert corrected(engine, FILE) == []
    assert leased(engine)[0].addresses == ("gone@example.org", "boss@example.org")


def test_an_address_that_has_no_successor_is_told_with_what_to_do(engine: Engine, an_event: EventMaker) -> None:
    alone = FILE.replace("[gone@example.org, boss@example.org]", "gone@example.org")
    dead(engine, alone, an_event(1))
    (told,) = corrected(engine, FILE.replace("email: [gone@example.org, boss@example.org]", "channels: [room]"))
    number = entries(engine)[0].number
    assert told.startswith(f"{number}: ops does not name gone@example.org any more")
    assert told.endswith(f"windsock alerts replay {number} --to RECEIVER")
    assert leased(engine)[0].addresses == ("gone@example.org",)


def test_a_mail_whose_addresses_can_be_none_fails_again(engine: Engine, an_event: EventMaker) -> None:
    dead(engine, FILE, an_event(1))

    def in_vain(*stored: str) -> list[str]:
        with engine.begin() as connection:
            connection.execute(update(alert_delivery).values(address=addressees.encoded(stored)))
            return redirecting.in_vain(connection)

    number = entries(engine)[0].number
    sentence = f"{number}: no mail address is stored with it (bob, @), so it fails again; to tell somebody: "
    assert in_vain("bob", "@") == [f"{sentence}windsock alerts replay {number} --to RECEIVER"]
    assert in_vain("bob", "ops@example.org") == []
    assert in_vain() == []


def test_who_has_heard_of_it_gets_no_second_mail(engine: Engine, an_event: EventMaker) -> None:
    alone = FILE.replace("[gone@example.org, boss@example.org]", "gone@example.org")
    both = alone.replace("routes:\n", "routes:\n    - {matchers: dag=~.*, receiver: lead, continue: true}\n")
    both += "    - {matchers: dag=~.*, receiver: ops}\n"
    with engine.begin() as connection:
        outbox.record(connection, [an_event(1)])
        outbox.route(connection, NOW, a_plan(both))
    for lease in leased(engine):
        with engine.begin() as connection:
            if lease.addresses == ("gone@example.org",):
                outbox.bury(connection, lease, "550 no such user")
            else:
                outbox.confirm(connection, lease, NOW)
    (told,) = corrected(engine, both.replace("gone@", "lead@"))
    assert "nor anybody else who has not heard of it" in told


def refused(engine: Engine, *addresses: str) -> None:
    """Each of these addresses refuses the mail for good, for a reason of its own; the others take it."""
    with engine.begin() as connection:
        (lease,) = outbox.lease(connection, NOW, MINUTE, 10, ["email"])
        never = [Refusal((address,), f"550 {address} is no user") for address in addresses]
        assert outbox.confirm(connection, lease, NOW, never=never)


def test_who_is_on_another_mail_that_is_sent_again_gets_no_second_one(engine: Engine, an_event: EventMaker) -> None:
    text = FILE.replace("[gone@example.org,", "[full@example.org, gone@example.org,")
    with engine.begin() as connection:
        outbox.record(connection, [an_event(1)])
        outbox.route(connection, NOW, a_plan(text))
    refused(engine, "full@example.org", "gone@example.org")
    (told,) = corrected(engine, text.replace("gone@", "oncall@"))
    assert told.endswith(": to oncall@example.org instead of gone@example.org")
    assert sorted(lease.addresses for lease in leased(engine)) == [("full@example.org",), ("oncall@example.org",)]


def test_who_is_to_have_the_mail_of_another_receiver_again_gets_no_second_one(
    engine: Engine, an_event: EventMaker
) -> None:
    text = FILE.replace("routes:\n", "routes:\n    - {matchers: dag=~.*, receiver: lead, continue: true}\n")
    text += "    - {matchers: dag=~.*, receiver: ops}\n"
    dead(engine, text, an_event(1))
    (told,) = corrected(engine, text.replace("gone@", "lead@"))
    assert told.endswith(": no more to gone@example.org")
    mails = [lease.addresses for lease in leased(engine, "email")]
    assert sorted(mails) == [("boss@example.org",), ("lead@example.org",)]


def test_a_mail_and_its_repetition_both_go_to_the_address_that_is_right_now(
    engine: Engine, an_event: EventMaker
) -> None:
    alone = FILE.replace("[gone@example.org, boss@example.org]", "gone@example.org, repeat_interval: 1h")
    dead(engine, alone, an_event(1))
    with engine.begin() as connection:
        (row,) = connection.execute(select(alert_delivery)).mappings().all()
        again = Target("email", ("gone@example.org",), receiver="ops", turn=1)
        like_it = {name: value for name, value in row.items() if name != "id"}
        connection.execute(alert_delivery.insert().values(like_it | {"turn": 1, "target": again.digest}))
    assert len(corrected(engine, alone.replace("gone@", "oncall@"))) == 2
    assert [lease.addresses for lease in leased(engine)] == [("oncall@example.org",)] * 2


def test_a_message_about_several_stays_one_at_the_new_address(engine: Engine, an_event: EventMaker) -> None:
    dead(engine, GROUPED, *(an_event(n) for n in range(3)))
    assert len(corrected(engine, GROUPED.replace("gone@", "oncall@"))) == 1
    (lease,) = leased(engine)
    assert lease.addresses == ("boss@example.org", "oncall@example.org")
    assert len(lease.others) == 2
    assert {entry.addresses for entry in entries(engine)} == {("boss@example.org", "oncall@example.org")}


def test_another_receiver_is_told_by_all_of_its_ways_and_once(engine: Engine, an_event: EventMaker) -> None:
    dead(engine, FILE, an_event(1))
    assert redirected(engine, "lead") == 2
    assert redirected(engine, "lead") == 0
    told = {(lease.channel, lease.addresses, lease.receiver) for lease in leased(engine)}
    assert told == {("email", ("lead@example.org",), "lead"), ("room", (), "lead")}
    assert {entry.error for entry in entries(engine)} == {None}


def test_another_receiver_gets_one_message_about_several_by_each_way(engine: Engine, an_event: EventMaker) -> None:
    dead(engine, GROUPED, *(an_event(n) for n in range(3)))
    assert redirected(engine, "lead", GROUPED) == 6
    leases = leased(engine)
    assert sorted((lease.channel, len(lease.others)) for lease in leases) == [("email", 2), ("room", 2)]
    for lease in leases:
        with engine.begin() as connection:
            assert outbox.confirm(connection, lease, NOW)
    assert {entry.state for entry in entries(engine)} == {"delivered"}


def test_what_was_kept_from_a_receiver_or_died_there_was_not_told_there(engine: Engine, an_event: EventMaker) -> None:
    """One line of it stays what it was, and the other becomes the message."""
    text = FILE.replace("routes:\n", "routes:\n    - {matchers: dag=~.*, receiver: ops, continue: true}\n")
    muted = text + "    - {matchers: dag=~.*, receiver: lead, mute: always}\n"
    muted += "mute_windows: {always: {windows: [{dates: [2026-01-01..2027-01-01]}]}}\n"
    dead(engine, muted, an_event(1))
    assert states_of(engine) == {
        ("ops", "email", "dead"),
        ("lead", "email", "suppressed"),
        ("lead", "room", "suppressed"),
    }
    assert redirected(engine, "lead", muted) == 2
    told = {(lease.channel, lease.addresses, lease.receiver) for lease in leased(engine)}
    assert told == {("email", ("lead@example.org",), "lead"), ("room", (), "lead")}
    assert states_of(engine) == {("ops", "email", "dead"), ("lead", "email", "sending"), ("lead", "room", "sending")}


def test_a_line_that_is_named_goes_to_a_receiver_whose_own_message_died(engine: Engine, an_event: EventMaker) -> None:
    text = FILE.replace("routes:\n", "routes:\n    - {matchers: dag=~.*, receiver: lead, continue: true}\n")
    text += "    - {matchers: dag=~.*, receiver: ops, group_by: [dag], group_wait: 0s}\n"
    dead(engine, text, an_event(1), an_event(2))
    of_ops = [entry.delivery_id for entry in entries(engine) if entry.receiver == "ops"]
    plan = a_plan(text)
    receiver = plan.receiver("lead")
    assert receiver is not None
    with engine.begin() as connection:
        ids = [key for key in of_ops if key is not None]
        assert redirecting.redirect(connection, NOW + MINUTE, DAY, receiver, plan, ["room"], ids[:1]) == 4
    assert {(lease.channel, lease.receiver) for lease in leased(engine)} == {("email", "lead"), ("room", "lead")}


def test_two_dead_messages_to_one_address_are_one_to_the_receiver_that_has_it(
    engine: Engine, an_event: EventMaker
) -> None:
    """Each had it for a fallback of its own. The other one stays dead."""
    text = FILE.replace("[gone@example.org, boss@example.org]}", "lead@example.org, fallback: room}")
    text = text.replace("routes:\n", "routes:\n    - {matchers: dag=~.*, receiver: ops, continue: true}\n")
    text = text.replace(", channels: [room]}", ", repeat_interval: 1h}\n  room: {channels: [room]}")
    text += "    - {matchers: dag=~.*, receiver: lead}\n"
    dead(engine, text, an_event(1))
    assert states_of(engine) == {("ops", "email", "dead"), ("lead", "email", "dead")}
    assert redirected(engine, "lead", text) == 1
    assert states_of(engine) == {("ops", "email", "dead"), ("lead", "email", "pending")}


def test_whoever_it_goes_to_has_a_fallback_as_if_it_were_new(engine: Engine, an_event: EventMaker) -> None:
    text = FILE.replace("boss@example.org]", "boss@example.org], fallback: lead")
    text = text.replace(
        "route:\n", "  boss: {email: head@example.org, fallback: last}\n  last: {channels: [room]}\nroute:\n"
    )
    text += "    - {matchers: dag=never, receiver: boss}\n"
    plan = a_plan(text)
    with engine.begin() as connection:
        outbox.record(connection, [an_event(1)])
        outbox.route(connection, NOW, plan)
    buried(engine, plan, NOW)
    buried(engine, plan, NOW, "room")
    buried(engine, plan, NOW)
    assert redirected(engine, "boss", text) == 1
    first = entries(engine)[0]
    assert (first.receiver, first.fell_back_to, first.heard_before) == ("boss", None, ())
    buried(engine, plan, NOW + MINUTE)
    assert entries(engine)[0].fell_back_to == "last"


def test_a_mail_that_the_old_address_took_late_is_not_taken_for_one_to_the_new_address(
    engine: Engine, an_event: EventMaker
) -> None:
    """The first deliverer had stalled; the second was refused; then the address was corrected."""
    with engine.begin() as connection:
        outbox.record(connection, [an_event(1)])
        outbox.route(connection, NOW, a_plan())
        (stalled,) = outbox.lease(connection, NOW, MINUTE, 1, ["email"])
    (second,) = leased(engine)
    with engine.begin() as connection:
        assert outbox.bury(connection, second, "550 no such user")
    corrected(engine, FILE.replace("gone@", "oncall@"))
    with engine.begin() as connection:
        assert not outbox.confirm(connection, stalled, NOW + MINUTE)
    (lease,) = leased(engine)
    assert lease.addresses == ("boss@example.org", "oncall@example.org")


@pytest.mark.parametrize("verb", ["correct", "redirect"])
def test_what_is_sent_elsewhere_is_locked_before_it_is_looked_at(
    engine: Engine, an_event: EventMaker, verb: str
) -> None:
    """Or it could be replayed and leased in between, and would go to one place and be told to have gone to another."""
    if engine.dialect.name == "sqlite":
        pytest.skip("has one writer at a time")
    dead(engine, FILE, an_event(1))
    free: list[int] = []

    def look(_c: object, _k: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE alert_delivery"):
            query = select(alert_delivery.c.id).where(alert_delivery.c.state == "dead")
            with engine.connect() as another:
                free.append(len(another.execute(query.with_for_update(skip_locked=True)).all()))

    event.listen(engine, "before_cursor_execute", look)
    try:
        if verb == "correct":
            corrected(engine, FILE.replace("gone@", "oncall@"))
        else:
            redirected(engine, "lead")
    finally:
        event.remove(engine, "before_cursor_execute", look)
    assert free
    assert set(free) == {0}


ESCALATING = """\
channels: {room: json://a/b}
receivers:
  ops: {email: ops@example.org, escalate: {after: 2h, to: boss}, repeat_interval: 1h}
  lead: {channels: [room], escalate: {after: 10m, to: boss}}
  boss: {email: boss@example.org}
route:
  receiver: ops
  routes:
    - {matchers: dag=elsewhere, receiver: lead}
"""


@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "a group"])
def test_what_is_sent_to_another_receiver_escalates_while_it_waits(
    engine: Engine, an_event: EventMaker, grouped: bool
) -> None:
    """And nothing follows it that the receiver before asked for."""
    text = ESCALATING.replace("receiver: ops\n  routes", "receiver: ops\n  group_by: [dag]\n  group_wait: 0s\n  routes")
    text = text if grouped else ESCALATING
    plan = a_plan(text)
    with engine.begin() as connection:
        outbox.record(connection, [an_event(n) for n in range(2)])
        outbox.route(connection, NOW, plan)
        groups.flush(connection, NOW, plan)
    buried(engine, plan, NOW)
    messages = 1 if grouped else 2
    assert steps_of(engine) == [("escalation", "ops"), ("repeat", "ops")] * messages
    assert redirected(engine, "lead", text) == 2
    assert steps_of(engine) == [("escalation", "lead")] * messages
    assert followed(engine, plan, NOW + 11 * MINUTE) is None
    assert followed(engine, plan, NOW + 12 * MINUTE)
    assert ("boss", "email", "pending") in states_of(engine)


def test_what_stays_of_a_message_keeps_what_is_to_follow_it(engine: Engine, an_event: EventMaker) -> None:
    """The other receiver has heard of the second alert."""
    text = ESCALATING.replace("receiver: ops\n  routes", "receiver: ops\n  group_by: [dag]\n  group_wait: 0s\n  routes")
    plan = a_plan(text)
    with engine.begin() as connection:
        outbox.record(connection, [an_event(1), an_event(2)])
        outbox.route(connection, NOW, plan)
        groups.flush(connection, NOW, plan)
    buried(engine, plan, NOW)
    with engine.begin() as connection:
        second = connection.execute(select(func.max(alert_delivery.c.event_id))).scalar_one()
        outbox.add(connection, NOW, [Draft(second, an_event(2), Target("room", receiver="lead"))], DAY)
    assert redirected(engine, "lead", text) == 1
    assert steps_of(engine) == [("escalation", "lead"), ("escalation", "ops"), ("repeat", "ops")]


def steps_of(engine: Engine) -> list[tuple[str, str]]:
    """What is to follow, and the receiver that asks for it."""
    query = select(alert_follow_up.c.origin, alert_delivery.c.receiver)
    query = query.join(alert_delivery, alert_delivery.c.id == alert_follow_up.c.delivery_id)
    with engine.begin() as connection:
        rows = connection.execute(query.order_by(alert_delivery.c.id, alert_follow_up.c.origin)).all()
    return [(row.origin, row.receiver) for row in rows]


@contextmanager
def longest_lists(engine: Engine) -> Iterator[list[int]]:
    """How many values each statement has that reads, changes or deletes: databases take so many and no more."""
    found: list[int] = []

    def look(_c: object, _k: object, statement: str, values: Sized, _x: object, many: bool) -> None:
        if not many and statement.startswith(("SELECT", "UPDATE", "DELETE")):
            found.append(len(values))

    event.listen(engine, "before_cursor_execute", look)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", look)


@pytest.mark.parametrize("named", [False, True], ids=["all", "named"])
@pytest.mark.parametrize("verb", ["correct", "redirect", "to a channel"])
def test_however_many_are_sent_again_no_statement_grows_with_them(
    engine: Engine, an_event: EventMaker, monkeypatch: pytest.MonkeyPatch, verb: str, named: bool
) -> None:
    """The few thousand of an outage are what it is for. Here ten are many."""
    text = FILE.replace("{email: [gone@example.org, boss@example.org]}", "{email: gone@example.org, channels: [room]}")
    events = 60
    monkeypatch.setattr(database, "BATCH", 10)
    with engine.begin() as connection:
        outbox.record(connection, [an_event(n) for n in range(events)])
        outbox.route(connection, NOW, a_plan(text))
        connection.execute(update(alert_delivery).values(state="dead", due_at=None))
        ids = list(connection.execute(select(alert_delivery.c.id)).scalars()) if named else None
    plan = a_plan(text.replace("gone@", "oncall@"))
    lead = plan.receiver("lead")
    assert lead is not None
    with longest_lists(engine) as lengths, engine.begin() as connection:
        if verb == "redirect":
            assert redirecting.redirect(connection, NOW, DAY, lead, plan, ["room"], ids) == 2 * events
        elif verb == "correct":
            assert len(redirecting.correct(connection, plan, ids)) == events
            assert outbox.replay(connection, NOW, DAY, ids) == 2 * events
        else:
            assert outbox.replay(connection, NOW, DAY, ids, "another", ["room"]) == events
    assert max(lengths) < 40


def test_what_waits_for_a_channel_that_is_gone_goes_along(engine: Engine, an_event: EventMaker) -> None:
    text = GROUPED.replace("json://a/b}", "json://a/b, old: json://c/d}").replace(
        "{email: [", "{channels: [old], email: ["
    )
    with engine.begin() as connection:
        outbox.record(connection, [an_event(n) for n in range(2)])
        outbox.route(connection, NOW, a_plan(text))
        groups.flush(connection, NOW, a_plan(text))
        connection.execute(alert_delivery.delete().where(alert_delivery.c.channel == "email"))
    assert redirected(engine, "lead") == 4
    assert sorted((lease.channel, len(lease.others)) for lease in leased(engine)) == [("email", 1), ("room", 1)]
    assert leased(engine, "old") == []
