"""Dead deliveries that go elsewhere when they are sent again, the same on every database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine

from alerting import groups, outbox, redirecting
from alerting.config import read
from alerting.events import AlertEvent
from alerting.outbox import Entry, Lease
from alerting.routes import Plan
from alerting.tables import alert_delivery

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
