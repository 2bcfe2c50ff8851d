"""An escalation comes also where its first receiver could not be told: on every database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from alerting import escalations, groups, outbox, patience, silences, throttle
from alerting.config import read
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.matchers import parse_matcher
from alerting.outbox import Lease
from alerting.routes import Origin, Plan, SuppressedBy
from alerting.routing import Limit
from alerting.tables import alert_delivery, alert_follow_up
from alerting.telling import Told
from tests.contract.alerting.conftest import MINUTE, NOW, buried, followed
from tests.contract.alerting.following import (
    ESCALATING,
    a_plan,
    acknowledge,
    delivered,
    event_ids,
    recovery,
    rows,
    told_to,
)

EventMaker = Callable[..., AlertEvent]
BOSS = "  boss: {email: boss@example.org}"
TO_LEAD = Told((Origin.ESCALATION,), ("email",))


def recorded(engine: Engine, plan: Plan, now: datetime, *events: AlertEvent) -> int:
    """How many clocks of escalations began."""
    with engine.begin() as connection:
        outbox.record(connection, events)
        return escalations.start(connection, now, plan, outbox.route(connection, now, plan).channels)


def retried(engine: Engine, now: datetime, later: datetime) -> None:
    """All that is due is to be tried again then."""
    with engine.begin() as connection:
        for lease in outbox.lease(connection, now, MINUTE, 100, ["email"]):
            assert outbox.retry(connection, lease, later, "mail is away")


def held_for_an_hour(engine: Engine, now: datetime, plan: Plan) -> None:
    """Mail has had what it may, and what waits for it is excused."""
    rate = Limit(1, timedelta(hours=1))
    with engine.begin() as connection:
        assert throttle.pause(connection, now, "email", rate) is None
        throttle.count(connection, now, "email", rate)
        assert patience.excuse(connection, now + MINUTE, "email", rate, plan.give_up_after) == 1


def note_of(leases: list[Lease]) -> str:
    (event,) = [lease.event for lease in leases if lease.receiver == "lead"]
    assert event is not None
    return str(event.note)


def clocks(engine: Engine) -> list[datetime]:
    with engine.begin() as connection:
        return list(connection.execute(select(alert_follow_up.c.due_at).order_by(alert_follow_up.c.id)).scalars())


def test_what_died_goes_on_once_and_says_that_nobody_was_told(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(ESCALATING)
    recorded(engine, plan, NOW, an_event(1))
    buried(engine, plan, NOW)
    assert followed(engine, plan, NOW + 9 * MINUTE) is None
    assert followed(engine, plan, NOW + 10 * MINUTE) == TO_LEAD
    assert followed(engine, plan, NOW + timedelta(days=1)) is None
    assert note_of(delivered(engine, plan, NOW + 10 * MINUTE)) == (
        "ops could not be told through email (550 no such user), and nobody has acknowledged it: "
        f"windsock alerts ack {event_ids(engine)[0]}"
    )
    assert told_to(engine) == {("ops", "dead"): 1, ("lead", "delivered"): 1}


def test_what_was_routed_before_the_file_said_so_goes_on_after_its_death(engine: Engine, an_event: EventMaker) -> None:
    assert recorded(engine, a_plan(), NOW, an_event(1)) == 0
    plan = a_plan(ESCALATING)
    buried(engine, plan, NOW + timedelta(hours=1))
    assert followed(engine, plan, NOW + timedelta(hours=1) + 9 * MINUTE) is None
    assert followed(engine, plan, NOW + timedelta(hours=1) + 10 * MINUTE) == TO_LEAD


def test_what_dies_after_it_went_on_does_not_go_on_again(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(ESCALATING)
    recorded(engine, plan, NOW, an_event(1))
    followed(engine, plan, NOW + 11 * MINUTE)
    buried(engine, plan, NOW + 20 * MINUTE)
    followed(engine, plan, NOW + timedelta(days=1))
    assert [row.receiver for row in rows(engine)] == ["ops", "lead"]


@pytest.mark.parametrize("tried", [True, False], ids=["tried", "untried"])
def test_what_waits_for_a_channel_that_is_away_goes_on(engine: Engine, an_event: EventMaker, tried: bool) -> None:
    """Behind one that is tried, a channel that is down leaves the others untried."""
    plan = a_plan(ESCALATING)
    recorded(engine, plan, NOW, an_event(1))
    if tried:
        retried(engine, NOW, NOW + timedelta(hours=1))
    assert followed(engine, plan, NOW + 10 * MINUTE) is None  # it may be under way
    assert followed(engine, plan, NOW + 11 * MINUTE) == TO_LEAD
    waits = "mail is away; it is tried on" if tried else "it waits for that channel"
    with engine.begin() as connection:
        (note,) = connection.execute(
            select(alert_delivery.c.note).where(alert_delivery.c.origin == Origin.ESCALATION.value)
        ).scalars()
    assert note == (
        f"ops could not be told through email for 11m ({waits}), and nobody has acknowledged it: "
        f"windsock alerts ack {event_ids(engine)[0]}"
    )
    delivered(engine, plan, NOW + timedelta(hours=1))
    followed(engine, plan, NOW + timedelta(days=1))
    assert told_to(engine) == {("ops", "delivered"): 1, ("lead", "delivered"): 1}


@pytest.mark.parametrize("tried", [True, False], ids=["tried", "untried"])
def test_what_waits_for_the_rate_of_its_channel_says_so_and_since_when(
    engine: Engine, an_event: EventMaker, tried: bool
) -> None:
    plan = a_plan(ESCALATING)
    recorded(engine, plan, NOW, an_event(1))
    if tried:
        retried(engine, NOW, NOW + timedelta(seconds=1))
    held_for_an_hour(engine, NOW, plan)
    followed(engine, plan, NOW + 11 * MINUTE)
    error = "mail is away; " if tried else ""
    assert rows(engine)[-1].note.startswith(
        f"ops could not be told through email for 11m ({error}it waits for the rate of email), and nobody"
    )


@pytest.mark.parametrize("tried", [True, False], ids=["tried", "untried"])
def test_what_the_rate_of_its_channel_held_before_waits_for_the_channel_now(
    engine: Engine, an_event: EventMaker, tried: bool
) -> None:
    plan = a_plan(ESCALATING.replace("after: 10m", "after: 6h"))
    recorded(engine, plan, NOW, an_event(1))
    if tried:
        retried(engine, NOW, NOW + timedelta(seconds=1))
    held_for_an_hour(engine, NOW, plan)
    followed(engine, plan, NOW + timedelta(hours=6, minutes=1))
    waits = "mail is away; it is tried on" if tried else "it waits for that channel"
    assert rows(engine)[-1].note.startswith(f"ops could not be told through email for 6h1m ({waits}), and nobody")


def test_whoever_was_reached_late_has_all_the_time_to_answer(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(ESCALATING)
    recorded(engine, plan, NOW, an_event(1))
    retried(engine, NOW, NOW + 8 * MINUTE)
    delivered(engine, plan, NOW + 8 * MINUTE)
    assert clocks(engine) == [NOW + 18 * MINUTE]
    assert followed(engine, plan, NOW + 17 * MINUTE) is None
    assert followed(engine, plan, NOW + 18 * MINUTE) == TO_LEAD
    assert note_of(delivered(engine, plan, NOW + 18 * MINUTE)).startswith("ops was told 10m ago, and nobody")


def test_what_comes_late_says_how_long_ago_it_was(engine: Engine, an_event: EventMaker) -> None:
    """No notifier lived over night, and nobody is to believe that it was ten minutes ago."""
    plan = a_plan(ESCALATING)
    recorded(engine, plan, NOW, an_event(1))
    delivered(engine, plan, NOW)
    followed(engine, plan, NOW + timedelta(hours=9, seconds=7))
    leases = delivered(engine, plan, NOW + timedelta(hours=9, seconds=7))
    assert note_of(leases).startswith("ops was told 9h ago, and nobody")


MUTED = """
receivers:
  ops: {email: ops@example.org, escalate: {after: 10m, to: lead}}
  lead: {email: lead@example.org}
mute_windows: {always: {windows: [{dates: [2026-01-01..2027-01-01]}]}}
route:
  receiver: ops
  routes: [{matchers: dag=daily, receiver: ops, continue: true}, {matchers: dag=daily, receiver: lead, mute: always}]
"""


@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "grouped"])
def test_whoever_was_held_back_by_a_mute_window_is_told_in_the_line_that_says_so(
    engine: Engine, an_event: EventMaker, *, grouped: bool
) -> None:
    text = MUTED.replace("receiver: ops,", "receiver: ops, group_by: [dag], group_wait: 0s,") if grouped else MUTED
    plan = Plan(routing=read(text, Path("alerting.yml"), {}))
    recorded(engine, plan, NOW, an_event(1), an_event(2))
    with engine.begin() as connection:
        groups.flush(connection, NOW, plan)
    delivered(engine, plan, NOW)
    assert told_to(engine) == {("ops", "delivered"): 2, ("lead", "suppressed"): 2}
    lines = [row.id for row in rows(engine)]
    messages = 1 if grouped else 2
    told = Told((Origin.ESCALATION,) * messages, ("email",) * messages)
    assert followed(engine, plan, NOW + 10 * MINUTE) == told
    leases = delivered(engine, plan, NOW + 10 * MINUTE)
    assert sorted(event.task_id or "" for lease in leases for event in (lease.event, *lease.others) if event) == [
        "t1",
        "t2",
    ]
    assert {event.note for lease in leases for event in (lease.event, *lease.others) if event} != {None}
    assert [row.id for row in rows(engine)] == lines
    assert told_to(engine) == {("ops", "delivered"): 2, ("lead", "delivered"): 2}
    assert {(row.error, row.held_by) for row in rows(engine)} == {(None, None)}


def test_whoever_is_held_back_still_has_one_line_that_says_so(engine: Engine, an_event: EventMaker) -> None:
    plan = Plan(routing=read(MUTED, Path("alerting.yml"), {}))
    recorded(engine, plan, NOW, an_event(1))
    delivered(engine, plan, NOW)
    with engine.begin() as connection:
        silences.add(
            connection, NOW, [parse_matcher("dag=daily")],
            author="alice", comment="", starts_at=NOW, ends_at=NOW + timedelta(hours=1),
        )  # fmt: skip
    assert followed(engine, plan, NOW + 10 * MINUTE) == Told((), (), (SuppressedBy.SILENCE,))
    assert told_to(engine) == {("ops", "delivered"): 1, ("lead", "suppressed"): 1}


def test_the_chain_goes_on_where_nobody_can_be_told(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(ESCALATING, lead="escalate: {after: 5m, to: boss}", top=BOSS)
    recorded(engine, plan, NOW, an_event(1))
    for minutes in (0, 10):
        followed(engine, plan, NOW + minutes * MINUTE)
        buried(engine, plan, NOW + minutes * MINUTE)
    assert followed(engine, plan, NOW + 15 * MINUTE) == TO_LEAD
    assert told_to(engine) == {("ops", "dead"): 1, ("lead", "dead"): 1, ("boss", "pending"): 1}


def test_what_died_stops_when_it_is_acknowledged_or_over(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(ESCALATING)
    recorded(engine, plan, NOW, an_event(1), an_event(2))
    buried(engine, plan, NOW)
    acknowledge(engine, event_ids(engine)[0])
    recorded(engine, plan, NOW + MINUTE, recovery(an_event, 2))
    assert followed(engine, plan, NOW + 10 * MINUTE) == Told()
    assert "lead" not in {receiver for receiver, _ in told_to(engine)}


def test_a_group_that_died_goes_on_as_one_message(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(ESCALATING, route="{group_by: [dag], group_wait: 0s}")
    assert recorded(engine, plan, NOW, *(an_event(n) for n in range(3))) == 0  # it waits on purpose
    with engine.begin() as connection:
        wave = groups.flush(connection, NOW + MINUTE, plan)
        assert wave is not None
        assert escalations.start(connection, NOW + MINUTE, plan, wave.channels) == 1
    buried(engine, plan, NOW + MINUTE)
    assert clocks(engine) == [NOW + 11 * MINUTE]
    assert followed(engine, plan, NOW + 11 * MINUTE) == TO_LEAD
    (lease,) = delivered(engine, plan, NOW + 11 * MINUTE)
    assert len(lease.others) == 2


def test_beside_a_fallback_each_is_told_in_its_time(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(f"{ESCALATING}, fallback: boss", top=BOSS)
    recorded(engine, plan, NOW, an_event(1))
    buried(engine, plan, NOW)
    assert told_to(engine) == {("ops", "dead"): 1, ("boss", "pending"): 1}
    assert followed(engine, plan, NOW + 10 * MINUTE) == TO_LEAD


def test_a_fallback_that_is_the_next_one_as_well_is_told_once(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(f"{ESCALATING}, fallback: lead")
    recorded(engine, plan, NOW, an_event(1))
    buried(engine, plan, NOW)
    assert followed(engine, plan, NOW + 10 * MINUTE) == Told()
    assert told_to(engine) == {("ops", "dead"): 1, ("lead", "pending"): 1}


@pytest.mark.parametrize("kind", [EventKind.TASK_RETRY, EventKind.TEST, EventKind.NOTIFIED])
def test_what_is_no_trouble_has_no_clock(engine: Engine, an_event: EventMaker, kind: EventKind) -> None:
    plan = a_plan(ESCALATING)
    assert recorded(engine, plan, NOW, an_event(1, kind=kind)) == 0
    buried(engine, plan, NOW)
    assert clocks(engine) == []


def test_a_repetition_has_no_clock(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(f"{ESCALATING}, repeat_interval: 1h")
    recorded(engine, plan, NOW, an_event(1))
    buried(engine, plan, NOW)
    followed(engine, plan, NOW + timedelta(hours=1))
    buried(engine, plan, NOW + timedelta(hours=1))
    with engine.begin() as connection:
        turns = select(func.max(alert_delivery.c.turn)).where(alert_delivery.c.receiver == "ops")
        assert connection.execute(turns).scalar() == 1
        origins = select(alert_follow_up.c.origin)
        assert connection.execute(origins).scalars().all() == [Origin.REPEAT.value]
