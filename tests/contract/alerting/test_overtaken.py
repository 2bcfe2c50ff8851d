"""A retry whose attempt has ended before it could be told: it is not told late, on every database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from alerting import escalations, groups, outbox
from alerting.config import read
from alerting.events import AlertEvent
from alerting.groups import Wave
from alerting.kinds import EventKind
from alerting.outbox import Aside, Lease
from alerting.overtaken import STALE_AFTER
from alerting.routes import Origin, Plan, SuppressedBy
from alerting.tables import alert_delivery
from tests.contract.alerting.conftest import NOW, followed

EventMaker = Callable[..., AlertEvent]
MINUTE = timedelta(minutes=1)
LATER = NOW + MINUTE
UNHEARD = "nobody was told here of what this ends: the retry was overtaken"
GROUPED = """
receivers: {ops: {email: ops@example.org}}
route: {receiver: ops, group_by: [run], group_wait: 30s, group_interval: 5m}
"""


def told(engine: Engine, *events: AlertEvent, plan: Plan | None = None) -> outbox.Routed:
    with engine.begin() as connection:
        outbox.record(connection, events)
        return outbox.route(connection, NOW, plan or Plan(), limit=5_000)


def leased(engine: Engine, limit: int = 10, aside: Aside | None = None, *, at: datetime = LATER) -> list[Lease]:
    with engine.begin() as connection:
        return outbox.lease(connection, at, MINUTE, limit, ["email"], aside=aside)


def tasks_of(lease: Lease) -> list[tuple[str, str | None]]:
    return [(event.kind.value, event.task_id) for event in (lease.event, *lease.others) if event is not None]


def rows(engine: Engine) -> list[Any]:
    with engine.begin() as connection:
        return list(connection.execute(select(alert_delivery).order_by(alert_delivery.c.id)))


@pytest.fixture
def a_retry(an_event: EventMaker) -> AlertEvent:
    return an_event(1, kind=EventKind.TASK_RETRY, try_number=1, max_tries=3)


@pytest.mark.parametrize(
    ("kind", "attempt", "reason"),
    [
        (EventKind.TASK_FAILED, 3, "overtaken: attempt 3 failed before this was sent"),
        (EventKind.TASK_RETRY, 2, "overtaken: attempt 2 failed before this was sent"),
    ],
)
def test_a_retry_is_suppressed_where_the_next_attempt_has_ended(
    engine: Engine, an_event: EventMaker, a_retry: AlertEvent, kind: EventKind, attempt: int | None, reason: str
) -> None:
    told(engine, a_retry)
    told(engine, an_event(1, kind=kind, try_number=attempt, max_tries=3))
    aside = Aside()
    (lease,) = leased(engine, aside=aside)
    assert tasks_of(lease) == [(kind.value, "t1")]
    first = rows(engine)[0]
    assert (first.state, first.error, first.held_by) == ("suppressed", reason, SuppressedBy.OVERTAKEN)
    assert aside.overtaken == [first.id]
    with engine.begin() as connection:
        assert [entry.error for entry in outbox.message_of(connection, first.id)] == [reason]


def test_a_retry_is_told_where_the_next_attempt_was_quicker_than_the_message(
    engine: Engine, an_event: EventMaker, a_retry: AlertEvent
) -> None:
    told(engine, a_retry)
    told(engine, an_event(1, try_number=2, max_tries=3))
    soon = a_retry.occurred_at + STALE_AFTER - timedelta(milliseconds=1)
    assert [tasks_of(lease)[0][0] for lease in leased(engine, at=soon)] == ["task_retry", "task_failed"]


@pytest.mark.parametrize("change", [{"task_id": "t2"}, {"map_index": 3}, {"run_id": "r2"}, {"dag_id": "other"}])
def test_a_retry_is_told_whatever_becomes_of_other_tasks(
    engine: Engine, an_event: EventMaker, a_retry: AlertEvent, change: dict[str, Any]
) -> None:
    told(engine, a_retry)
    told(engine, an_event(1, try_number=3, **change))
    assert [tasks_of(lease)[0][0] for lease in leased(engine)] == ["task_retry", "task_failed"]


def test_a_retry_that_was_tried_and_waits_for_another_try_is_suppressed_too(
    engine: Engine, an_event: EventMaker, a_retry: AlertEvent
) -> None:
    told(engine, a_retry)
    (lease,) = leased(engine)
    with engine.begin() as connection:
        assert outbox.retry(connection, lease, LATER, "refused")
    told(engine, an_event(1, try_number=3))
    assert [tasks_of(lease) for lease in leased(engine)] == [[("task_failed", "t1")]]
    assert [row.state for row in rows(engine)] == ["suppressed", "sending"]


def test_after_an_outage_all_that_was_overtaken_is_set_aside_at_once(engine: Engine, an_event: EventMaker) -> None:
    told(engine, *(an_event(n, kind=EventKind.TASK_RETRY, try_number=1, occurred_at=NOW) for n in range(600)))
    told(engine, *(an_event(n, try_number=2) for n in range(600)), an_event(700, kind=EventKind.TASK_RETRY))
    aside = Aside()
    assert len(leased(engine, limit=3, aside=aside)) == 3
    assert len(aside.overtaken) > 500
    everything = [*leased(engine, limit=1000, aside=aside)]
    assert len(everything) == 598
    assert len(aside.overtaken) == len(set(aside.overtaken)) == 600
    assert tasks_of(everything[-1]) == [("task_retry", "t700")]


def test_a_group_tells_the_failure_and_not_the_retry_before_it(engine: Engine, an_event: EventMaker) -> None:
    plan = Plan(routing=read(GROUPED, Path("alerting.yml"), {}))
    told(engine, *(an_event(n, kind=EventKind.TASK_RETRY, try_number=1) for n in (1, 2)), plan=plan)
    told(engine, an_event(1, try_number=2), plan=plan)
    with engine.begin() as connection:
        assert groups.flush(connection, LATER, plan) == Wave(("email",), overtaken=1)
    (lease,) = leased(engine)
    assert tasks_of(lease) == [("task_retry", "t2"), ("task_failed", "t1")]


@pytest.mark.parametrize(
    ("overtaken", "left"),
    [((1,), ["t2", "t3"]), ((2,), ["t1", "t3"]), ((1, 2), ["t3"]), ((1, 2, 3), [])],
)
def test_a_message_about_several_goes_on_with_what_is_still_true(
    engine: Engine, an_event: EventMaker, overtaken: tuple[int, ...], left: list[str]
) -> None:
    """The wave was formed while its receiver was away; the row that carries it may be the one that is overtaken."""
    plan = Plan(routing=read(GROUPED, Path("alerting.yml"), {}))
    told(engine, *(an_event(n, kind=EventKind.TASK_RETRY, try_number=1) for n in (1, 2, 3)), plan=plan)
    with engine.begin() as connection:
        groups.flush(connection, LATER, plan)
    told(engine, *(an_event(n, try_number=2, emails=()) for n in overtaken))
    leases = leased(engine)
    assert [task for lease in leases for _, task in tasks_of(lease)] == left
    for lease in leases:
        with engine.begin() as connection:
            assert outbox.confirm(connection, lease, LATER)
    states = [row.state for row in rows(engine) if row.channel]
    assert (states.count("delivered"), states.count("suppressed")) == (len(left), len(overtaken))


def test_an_escalation_of_a_message_goes_on_where_the_row_that_carries_it_is_overtaken(
    engine: Engine, an_event: EventMaker
) -> None:
    text = GROUPED.replace("ops@example.org", "ops@example.org, escalate: {after: 10m, to: lead}")
    text = text.replace("receivers: {", "receivers: {lead: {email: lead@example.org}, ")
    text = text.replace("group_by", "routes: [{matchers: dag=nowhere, receiver: lead}], group_by")
    plan = Plan(routing=read(text, Path("alerting.yml"), {}))
    told(engine, an_event(1, kind=EventKind.TASK_RETRY, max_tries=3), an_event(2), plan=plan)
    with engine.begin() as connection:
        wave = groups.flush(connection, LATER, plan)
        assert wave is not None
        assert escalations.start(connection, LATER, plan, wave.channels) == 1
    told(engine, a_recovery(an_event), plan=plan)
    (lease,) = leased(engine, at=LATER + MINUTE)
    with engine.begin() as connection:
        assert outbox.retry(connection, lease, LATER + 60 * MINUTE, "mail is away")
    assert [row.state for row in rows(engine)][:2] == ["suppressed", "pending"]
    goes_on = followed(engine, plan, LATER + 11 * MINUTE)
    assert goes_on is not None
    assert goes_on.origins == (Origin.ESCALATION,)


def a_recovery(an_event: EventMaker, n: int = 1, attempt: int | None = 2) -> AlertEvent:
    return an_event(n, kind=EventKind.TASK_RECOVERED, try_number=attempt, max_tries=3, emails=())


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (2, "overtaken: attempt 2 succeeded before this was sent"),
        (None, "overtaken: the task succeeded before this was sent"),
    ],
)
def test_whoever_never_heard_of_a_retry_is_not_told_that_it_succeeded(
    engine: Engine, an_event: EventMaker, a_retry: AlertEvent, attempt: int | None, reason: str
) -> None:
    told(engine, a_retry)
    told(engine, a_recovery(an_event, attempt=attempt))
    aside = Aside()
    assert leased(engine, aside=aside) == []
    assert [(row.state, row.error, row.held_by) for row in rows(engine)] == [
        ("suppressed", reason, SuppressedBy.OVERTAKEN),
        ("suppressed", UNHEARD, SuppressedBy.OVERTAKEN),
    ]
    assert aside.overtaken == [row.id for row in rows(engine)]


def test_the_end_is_suppressed_also_where_it_is_taken_before_the_retry(
    engine: Engine, an_event: EventMaker, a_retry: AlertEvent
) -> None:
    """The retry was tried, and waits longer for its next try than its end for its first."""
    told(engine, a_retry)
    (lease,) = leased(engine)
    with engine.begin() as connection:
        assert outbox.retry(connection, lease, LATER + MINUTE, "refused")
    told(engine, a_recovery(an_event))
    assert leased(engine) == []
    assert [row.error for row in rows(engine)] == ["refused", UNHEARD]
    assert leased(engine, at=LATER + MINUTE) == []
    assert [row.state for row in rows(engine)] == ["suppressed"] * 2


def test_the_end_is_told_where_the_retry_was_delivered_or_is_being_sent(
    engine: Engine, an_event: EventMaker, a_retry: AlertEvent
) -> None:
    told(engine, a_retry, an_event(2, kind=EventKind.TASK_RETRY, max_tries=3))
    first, _ = leased(engine, at=NOW + timedelta(seconds=5))
    with engine.begin() as connection:
        assert outbox.confirm(connection, first, NOW)
    told(engine, a_recovery(an_event, 1), a_recovery(an_event, 2))
    at = NOW + timedelta(seconds=30)
    assert [tasks_of(lease) for lease in leased(engine, at=at)] == [
        [("task_recovered", "t1")],
        [("task_recovered", "t2")],
    ]


def test_the_end_is_told_where_a_failure_before_the_retry_was_told(
    engine: Engine, an_event: EventMaker, a_retry: AlertEvent
) -> None:
    """It failed for good, was cleared, failed and will be tried again."""
    told(engine, an_event(1))
    (failure,) = leased(engine)
    with engine.begin() as connection:
        assert outbox.confirm(connection, failure, NOW)
    told(engine, a_retry)
    told(engine, a_recovery(an_event))
    assert [tasks_of(lease) for lease in leased(engine)] == [[("task_recovered", "t1")]]


def test_the_end_is_suppressed_only_where_the_retry_was_overtaken(
    engine: Engine, an_event: EventMaker, a_retry: AlertEvent
) -> None:
    """The room was told of the retry while the mail server was away."""
    plan = "channels: {room: 'json://localhost/x'}\nreceivers: {ops: {email: ops@b.org, channels: room}}\n"
    routing = read(plan + "route: {receiver: ops, group_by: off}", Path("alerting.yml"), {})
    told(engine, a_retry, plan=Plan(routing=routing))
    soon = a_retry.occurred_at + timedelta(seconds=1)
    with engine.begin() as connection:
        (lease,) = outbox.lease(connection, soon, MINUTE, 10, ["room"])
        assert outbox.confirm(connection, lease, soon)
    told(engine, a_recovery(an_event), plan=Plan(routing=routing))
    assert leased(engine) == []
    with engine.begin() as connection:
        (end,) = outbox.lease(connection, LATER, MINUTE, 10, ["room"])
    assert tasks_of(end) == [("task_recovered", "t1")]


def test_a_group_tells_neither_an_overtaken_retry_nor_its_end(engine: Engine, an_event: EventMaker) -> None:
    plan = Plan(routing=read(GROUPED, Path("alerting.yml"), {}))
    told(engine, *(an_event(n, kind=EventKind.TASK_RETRY, try_number=1) for n in (1, 2)), plan=plan)
    told(engine, an_event(3), a_recovery(an_event, 1), a_recovery(an_event, 3), plan=plan)
    with engine.begin() as connection:
        assert groups.flush(connection, LATER, plan) == Wave(("email",), overtaken=2)
    (lease,) = leased(engine)
    assert tasks_of(lease) == [("task_retry", "t2"), ("task_failed", "t3"), ("task_recovered", "t3")]
