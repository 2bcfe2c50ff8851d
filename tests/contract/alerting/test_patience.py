"""What waits for a channel on purpose is no alarm, and what it does not take is told to others: on every database."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select, update

from alerting import departures, failing, fallbacks, groups, heartbeat, outbox, patience, throttle
from alerting.channels import Channel, Delivered, Message
from alerting.config import read
from alerting.database import transact
from alerting.deliver import Deliverer
from alerting.events import AlertEvent
from alerting.groups import Wave
from alerting.kinds import EventKind
from alerting.lanes import Worker
from alerting.outbox import Lease
from alerting.render import Renderer
from alerting.routes import Origin, Plan
from alerting.routing import Limit
from alerting.tables import alert_delivery, alert_event
from alerting.telling import Told
from tests.contract.alerting.conftest import MINUTE, NOW
from tests.contract.alerting.following import recorded, rows
from tests.integration.alerting.running import NoMail, record

EventMaker = Callable[..., AlertEvent]
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
RATE = Limit(1, HOUR)
FAILING_AFTER = timedelta(minutes=15)
RULES = """
channels: {room: 'json://127.0.0.1:9/'}
receivers:
  ops: {channels: room, fallback: {to: lead, after: 5m}}
  lead: {email: lead@example.org}
route: {receiver: ops}
"""
BY_RUN = RULES.replace("{receiver: ops}", "{receiver: ops, group_by: [run], group_wait: 0s}")
PLAN = Plan(routing=read(RULES, Path("alerting.yml"), {}))
HASTY = replace(PLAN, give_up_after=3 * HOUR)
GROUPED = Plan(routing=read(BY_RUN, Path("alerting.yml"), {}), give_up_after=3 * HOUR)
_d, _e = alert_delivery.c, alert_event.c


def leased(engine: Engine, now: datetime, *, retries_first: bool = True) -> list[Lease]:
    """As a deliverer does where the room has a rate."""
    with engine.begin() as connection:
        return outbox.lease(connection, now, MINUTE, 1, ["room"], retries_first=retries_first)


def tried(engine: Engine, now: datetime, again_at: datetime, **options: bool) -> None:
    """The room answers 503 to what is due first."""
    (lease,) = leased(engine, now, **options)
    with engine.begin() as connection:
        assert outbox.retry(connection, lease, again_at, "error 503")


def filled(engine: Engine, now: datetime) -> None:
    """The room has had what it may for now."""
    with engine.begin() as connection:
        assert throttle.pause(connection, now, "room", RATE) is None
        throttle.count(connection, now, "room", RATE)


def accepted(engine: Engine, now: datetime) -> None:
    """The room takes what is due first."""
    (lease,) = leased(engine, now)
    with engine.begin() as connection:
        assert outbox.confirm(connection, lease, now)


def excused(engine: Engine, now: datetime, plan: Plan = PLAN) -> int:
    with engine.begin() as connection:
        return patience.excuse(connection, now, "room", RATE, plan.give_up_after)


def alarms(engine: Engine, now: datetime) -> int:
    with engine.begin() as connection:
        return failing.look(connection, now, FAILING_AFTER, ["room"])


def fallen_back(engine: Engine, now: datetime, **options: Any) -> Told | None:
    with engine.begin() as connection:
        late = patience.late(connection, now, PLAN, ["room"], **options)
        return fallbacks.fall_back_all(connection, now, PLAN, late)


def test_what_waits_for_the_rate_sets_off_no_alarm_and_is_not_given_up_for_it(
    engine: Engine, an_event: EventMaker
) -> None:
    recorded(engine, PLAN, NOW, an_event(1), an_event(2))
    filled(engine, NOW)
    later = NOW + 16 * MINUTE
    assert [excused(engine, later) for _ in range(2)] == [2, 0]
    assert alarms(engine, later) == 0
    with engine.begin() as connection:
        assert heartbeat.oldest_untold(connection) == NOW + HOUR
    (lease,) = leased(engine, NOW + HOUR)
    assert lease.give_up_at == NOW + HOUR + PLAN.give_up_after


def test_what_waits_for_the_rate_says_until_when(engine: Engine, an_event: EventMaker) -> None:
    recorded(engine, PLAN, NOW, an_event(1))
    filled(engine, NOW)

    def held_until() -> datetime | None:
        with engine.begin() as connection:
            return outbox.listing(connection)[0].held_until

    assert held_until() is None
    assert excused(engine, NOW + MINUTE) == 1
    assert held_until() == NOW + HOUR


def test_what_nobody_sends_though_the_rate_allows_it_is_an_alarm(engine: Engine, an_event: EventMaker) -> None:
    recorded(engine, PLAN, NOW, an_event(1))
    assert excused(engine, NOW) == 0
    filled(engine, NOW)
    assert excused(engine, NOW) == 1
    assert excused(engine, NOW + HOUR) == 0
    assert [alarms(engine, NOW + HOUR + minutes * MINUTE) for minutes in (14, 15)] == [0, 1]


def test_what_was_refused_once_and_waits_for_the_rate_sets_off_no_alarm(engine: Engine, an_event: EventMaker) -> None:
    recorded(engine, PLAN, NOW, an_event(1))
    filled(engine, NOW)
    tried(engine, NOW, NOW + SECOND)
    assert [excused(engine, NOW + minutes * MINUTE) for minutes in (1, 2)] == [1, 0]
    assert alarms(engine, NOW + 16 * MINUTE) == 0
    assert fallen_back(engine, NOW + 16 * MINUTE) is None
    with engine.begin() as connection:
        assert heartbeat.oldest_untold(connection) == NOW + HOUR


def test_what_was_refused_again_and_again_while_others_are_taken_is_told_and_not_given_up(
    engine: Engine, an_event: EventMaker
) -> None:
    recorded(engine, PLAN, NOW, an_event(1))
    for n in range(outbox.IN_VAIN):
        tried(engine, NOW + n * SECOND, NOW + (n + 1) * SECOND)
    filled(engine, NOW)
    recorded(engine, PLAN, NOW, an_event(2))
    accepted(engine, NOW + SECOND)
    assert excused(engine, NOW + 2 * MINUTE) == 0
    assert alarms(engine, NOW + 15 * MINUTE) == 1
    (lease,) = leased(engine, NOW + HOUR)
    assert lease.give_up_at == NOW + HOUR + PLAN.give_up_after


def test_where_a_channel_takes_nothing_it_is_not_the_rate_that_messages_wait_for(
    engine: Engine, an_event: EventMaker
) -> None:
    recorded(engine, PLAN, NOW, *(an_event(n) for n in range(outbox.IN_VAIN + 1)))
    accepted(engine, NOW)
    for hour in range(1, outbox.IN_VAIN + 1):
        start = NOW + hour * HOUR
        filled(engine, start)
        tried(engine, start, start + SECOND, retries_first=False)  # each of them once
        excused(engine, start + MINUTE)
    assert alarms(engine, start + 14 * MINUTE) == 0
    assert alarms(engine, start + 15 * MINUTE) == 1
    assert {row.give_up_at for row in rows(engine) if row.state == "pending"} == {start + PLAN.give_up_after}


def overtaken(engine: Engine, now: datetime, an_event: EventMaker) -> None:
    """What the first row tells of is over."""
    record(engine, an_event(1, try_number=2, max_tries=2))
    (lease,) = leased(engine, now)
    assert lease.event is not None
    assert lease.event.task_id == "t2"


def deleted(engine: Engine, now: datetime, _an_event: EventMaker) -> None:
    """The event of the first row is deleted."""
    with engine.begin() as connection:
        first = connection.execute(select(_e.id).order_by(_e.id).limit(1)).scalar_one()
        assert departures.hand_over(connection, now, [first])


@pytest.mark.parametrize("gone", [overtaken, deleted])
def test_what_the_rate_excused_is_excused_for_whichever_row_carries_the_message(
    engine: Engine, an_event: EventMaker, gone: Callable[..., None]
) -> None:
    recorded(engine, GROUPED, NOW, an_event(1, kind=EventKind.TASK_RETRY, max_tries=2), an_event(2))
    with engine.begin() as connection:
        assert groups.flush(connection, NOW, GROUPED) == Wave(("room",))
    for hour in range(5):  # others go first
        filled(engine, NOW + hour * HOUR)
        assert excused(engine, NOW + hour * HOUR, GROUPED) == 1
    gone(engine, NOW + 5 * HOUR, an_event)
    with engine.begin() as connection:
        about = select(_e.id).where(_e.task_id == "t2").scalar_subquery()
        heir = connection.execute(select(alert_delivery).where(_d.event_id == about)).one()
    assert (heir.waiting_since, heir.give_up_at) == (NOW + 5 * HOUR, NOW + 8 * HOUR)


def test_a_slow_rate_and_a_refusal_keep_no_message_from_being_delivered(engine: Engine, an_event: EventMaker) -> None:
    """The others wait for longer than a message may that nothing holds."""
    recorded(engine, HASTY, NOW, *(an_event(n) for n in range(8)))
    for hour in range(9):
        now = NOW + hour * HOUR
        filled(engine, now)
        (lease,) = leased(engine, now)
        assert now <= lease.give_up_at
        with engine.begin() as connection:
            if hour == 0:
                assert outbox.retry(connection, lease, now + SECOND, "error 503")
            else:
                assert outbox.confirm(connection, lease, now)
        excused(engine, now + MINUTE, HASTY)
    assert {row.state for row in rows(engine)} == {"delivered"}


def test_what_was_refused_once_does_not_wait_for_all_that_waits_for_the_rate(
    engine: Engine, an_event: EventMaker
) -> None:
    recorded(engine, PLAN, NOW, *(an_event(n) for n in range(3)))
    first = rows(engine)[0].id
    tried(engine, NOW, NOW + HOUR - SECOND)
    assert [lease.id for lease in leased(engine, NOW + HOUR)] == [first]


def test_a_retry_that_is_not_due_yet_holds_up_nothing(engine: Engine, an_event: EventMaker) -> None:
    recorded(engine, PLAN, NOW, *(an_event(n) for n in range(2)))
    second = rows(engine)[1].id
    tried(engine, NOW, NOW + HOUR)
    assert [lease.id for lease in leased(engine, NOW + HOUR - SECOND)] == [second]


def test_a_message_that_nobody_takes_holds_up_the_others_for_a_few_tries_and_still_has_its_turn(
    engine: Engine, an_event: EventMaker
) -> None:
    recorded(engine, PLAN, NOW, an_event(0))
    recorded(engine, PLAN, NOW + SECOND, *(an_event(n) for n in range(1, 4)))
    bad, *others = [row.id for row in rows(engine)]
    sent: list[int] = []
    for hour in range(8):
        now = NOW + hour * HOUR + MINUTE
        (lease,) = leased(engine, now)
        sent.append(lease.id)
        with engine.begin() as connection:
            if lease.id == bad:
                assert outbox.retry(connection, lease, now + MINUTE, "error 503")
            else:
                assert outbox.confirm(connection, lease, now)
        if hour == 3:  # one that is newer than its last try comes after it
            recorded(engine, PLAN, NOW + 3 * HOUR + 3 * MINUTE, an_event(9))
    newest = rows(engine)[-1].id
    assert sent == [*[bad] * outbox.IN_VAIN, *others, bad, newest]


def test_the_deliverer_asks_for_retries_first_where_a_channel_has_a_rate(engine: Engine, an_event: EventMaker) -> None:
    text = """
    channels: {room: {url: 'json://127.0.0.1:9/', rate: {messages: 9, per: 1h}}}
    receivers: {ops: {channels: room}}
    route: {receiver: ops}
    """
    plan = Plan(routing=read(text, Path("alerting.yml"), {}))
    subject = Deliverer(engine, [Room(), NoMail()], Renderer(lambda *_: [], str), plan)
    recorded(engine, plan, NOW, an_event(0), an_event(1))
    tried(engine, NOW, NOW + HOUR)
    (lease,), *_ = subject._sender.lease("room")
    assert lease.attempts == 2


def test_what_is_not_taken_for_too_long_is_told_to_the_fallback_once_and_stays_pending(
    engine: Engine, an_event: EventMaker
) -> None:
    recorded(engine, PLAN, NOW, an_event(1), an_event(2))
    tried(engine, NOW, NOW + HOUR)
    assert fallen_back(engine, NOW + 5 * MINUTE - timedelta(seconds=1)) is None
    assert fallen_back(engine, NOW + 5 * MINUTE) == Told((Origin.FALLBACK,), ("email",))
    assert fallen_back(engine, NOW + 6 * MINUTE) is None
    first, second, told = rows(engine)
    assert (first.state, first.fell_back_to, second.fell_back_to) == ("pending", "lead", None)
    assert (
        told.note == "Meant for ops, which could not be told through room: it has not taken it for 5m; it is tried on"
    )


def test_what_was_not_tried_falls_back_by_its_age_only_where_the_channel_is_down_here(
    engine: Engine, an_event: EventMaker
) -> None:
    recorded(engine, PLAN, NOW, an_event(1))
    assert fallen_back(engine, NOW + 5 * MINUTE) is None
    assert fallen_back(engine, NOW + 5 * MINUTE, untried=True) == Told((Origin.FALLBACK,), ("email",))


class Room:
    """Where this deliverer sends nothing."""

    name = "room"
    concurrency = 1

    def send(self, message: Message) -> Delivered:
        raise AssertionError("this test sends nothing")


class OpenRoom(Room):
    def send(self, message: Message) -> Delivered:
        return Delivered()


@pytest.fixture
def cut_off(engine: Engine) -> Deliverer:
    """A deliverer that does not reach the room."""
    channels: list[Channel] = [Room(), NoMail()]
    return Deliverer(engine, channels, Renderer(lambda *_: [], str), PLAN)


def record_now(engine: Engine, *events: AlertEvent) -> None:
    with engine.begin() as connection:
        outbox.record(connection, events)
    transact(engine, lambda connection, now: outbox.route(connection, now, PLAN))


def fails(subject: Deliverer, after_seconds: float | None = None) -> None:
    """The room does not take what it was given, and perhaps asks to be left alone for so long."""
    subject._lanes["room"].failed(Worker(), after_seconds)


def test_who_does_not_reach_a_channel_leaves_its_messages_to_a_deliverer_that_does(
    engine: Engine, an_event: EventMaker, cut_off: Deliverer
) -> None:
    record_now(engine, an_event(1))

    def accept(connection: Any, now: datetime) -> bool:
        (lease,) = outbox.lease(connection, now, MINUTE, 1, ["room"])
        return outbox.confirm(connection, lease, now)

    assert transact(engine, accept)
    record_now(engine, an_event(2))
    fails(cut_off)
    assert not cut_off._fall_back_from("room", HOUR)
    with engine.begin() as connection:  # the other one has not come to it for too long
        waiting = alert_delivery.c.state == "pending"
        connection.execute(update(alert_delivery).where(waiting).values(waiting_since=NOW))
    assert cut_off._fall_back_from("room", HOUR)


def test_where_nobody_reaches_a_channel_its_messages_fall_back_at_once(
    engine: Engine, an_event: EventMaker, cut_off: Deliverer
) -> None:
    record_now(engine, an_event(1))
    fails(cut_off)
    assert cut_off._fall_back_from("room", HOUR)


def too_old(connection: Connection, event_id: int) -> None:
    connection.execute(update(alert_delivery).where(_d.event_id == event_id).values(give_up_at=NOW))


def unreadable(connection: Connection, event_id: int) -> None:
    connection.execute(update(alert_event).where(_e.id == event_id).values(payload="{"))


@pytest.mark.parametrize("spoil", [too_old, unreadable])
def test_what_is_not_sent_takes_nobodys_place_in_the_rate(
    engine: Engine, an_event: EventMaker, spoil: Callable[[Connection, int], None]
) -> None:
    rated = RULES.replace("'json://127.0.0.1:9/'", "{url: 'json://127.0.0.1:9/', rate: {messages: 1, per: 1h}}")
    plan = Plan(routing=read(rated, Path("alerting.yml"), {}))
    record_now(engine, an_event(1), an_event(2))
    with engine.begin() as connection:
        spoil(connection, connection.execute(select(func.min(_e.id))).scalar_one())
    room = OpenRoom()
    subject = Deliverer(engine, [NoMail(), room], Renderer(lambda *_: [], str), plan)
    for _ in range(2):
        assert subject._sender.deliver_next(subject._lanes["room"], Worker())
    assert [row.state for row in rows(engine) if row.channel == "room"] == ["dead", "delivered"]


def test_a_channel_that_nobody_has_tried_for_hours_is_tried_before_a_message_falls_back(
    engine: Engine, an_event: EventMaker, cut_off: Deliverer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What opened the breaker was overtaken, so that nothing was left to send."""
    fails(cut_off)
    left_alone = cut_off._lanes["room"].left_alone_for
    later = time.monotonic() + left_alone + 1
    monkeypatch.setattr("alerting.lanes.time.monotonic", lambda: later)
    record_now(engine, an_event(1))
    assert not cut_off._fall_back_from("room", HOUR)
    fails(cut_off)
    assert cut_off._fall_back_from("room", HOUR)


def test_a_channel_that_asks_to_be_left_alone_is_not_tried_before_a_message_falls_back(
    engine: Engine, an_event: EventMaker, cut_off: Deliverer
) -> None:
    fails(cut_off, after_seconds=3600.0)
    record_now(engine, an_event(1))
    assert cut_off._fall_back_from("room", HOUR)
