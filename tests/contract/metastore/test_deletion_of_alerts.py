"""Deleting a DAG whose alert carries a message that tells of another DAG too: the message goes on without it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from alerting import follow_ups, groups, outbox
from alerting.config import read
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.outbox import Lease
from alerting.routes import Plan
from alerting.tables import alert_delivery, alert_follow_up
from engine.metastore import deletion
from engine.metastore.errors import InUse
from engine.metastore.store import Store

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)  # before the database's own clock: every lease of it has run out
MINUTE = timedelta(minutes=1)
ROUTING = """
receivers:
  ops: {email: ops@example.org, escalate: {to: lead, after: 10m}}
  lead: {email: lead@example.org}
route: {receiver: ops, group_by: [event], group_wait: 30s, group_interval: 5m}
"""
PLAN = Plan(routing=read(ROUTING, Path("alerting.yml"), {}))


def failure(dag_id: str, task_id: str = "t") -> AlertEvent:
    about: dict[str, Any] = {"dag_id": dag_id, "run_id": "r", "task_id": task_id, "try_number": 1, "max_tries": 1}
    return AlertEvent(kind=EventKind.TASK_FAILED, occurred_at=NOW, emails=(), **about)


@pytest.fixture
def wave(store: Store) -> Store:
    """One message about a failure of the DAG that goes, which carries it, and two of the DAG that stays."""
    with store.begin() as tx:
        outbox.record(tx.connection, [failure("gone"), failure("kept", "t1"), failure("kept", "t2")])
        outbox.route(tx.connection, NOW, PLAN)
        while groups.flush(tx.connection, NOW + MINUTE, PLAN):
            pass
    return store


def lease(store: Store, now: datetime) -> list[Lease]:
    with store.begin() as tx:
        return outbox.lease(tx.connection, now, MINUTE, 10, ["email"])


def confirm(store: Store, one: Lease, now: datetime) -> None:
    with store.begin() as tx:
        assert outbox.confirm(tx.connection, one, now)
        follow_ups.schedule(tx.connection, now, one, PLAN)


def tasks_of(one: Lease) -> list[tuple[str | None, str | None]]:
    return [(event.dag_id, event.task_id) for event in (one.event, *one.others) if event]


KEPT = [("kept", "t1"), ("kept", "t2")]


def test_what_waits_is_told_without_it(wave: Store) -> None:
    deletion.delete_dag(wave, "gone")
    (left,) = lease(wave, NOW + MINUTE)
    assert tasks_of(left) == KEPT
    confirm(wave, left, NOW + MINUTE)
    with wave.read() as connection:
        assert set(connection.execute(select(alert_delivery.c.state)).scalars()) == {"delivered"}


def test_what_waits_to_be_tried_again_keeps_its_attempts_and_its_moment(wave: Store) -> None:
    (first,) = lease(wave, NOW + MINUTE)
    assert tasks_of(first) == [("gone", "t"), *KEPT]
    with wave.begin() as tx:
        assert outbox.retry(tx.connection, first, NOW + 5 * MINUTE, "451 later")
    deletion.delete_dag(wave, "gone")
    assert lease(wave, NOW + 4 * MINUTE) == []
    (again,) = lease(wave, NOW + 5 * MINUTE)
    assert (tasks_of(again), again.attempts) == (KEPT, 2)


def test_what_was_delivered_is_still_escalated(wave: Store) -> None:
    (sent,) = lease(wave, NOW + MINUTE)
    confirm(wave, sent, NOW + MINUTE)
    deletion.delete_dag(wave, "gone")
    with wave.begin() as tx:
        assert follow_ups.follow_up(tx.connection, NOW + 20 * MINUTE, PLAN) is not None
        assert tx.connection.execute(select(alert_follow_up.c.id)).all() == []
    (escalated,) = lease(wave, NOW + 20 * MINUTE)
    assert tasks_of(escalated) == KEPT
    assert "lead@example.org" in escalated.addresses


def test_a_dead_message_is_replayed_as_a_whole(wave: Store) -> None:
    (first,) = lease(wave, NOW + MINUTE)
    with wave.begin() as tx:
        assert outbox.bury(tx.connection, first, "550 no such user")
    deletion.delete_dag(wave, "gone")
    with wave.begin() as tx:
        assert outbox.replay(tx.connection, NOW + MINUTE, MINUTE) == 2
    (again,) = lease(wave, NOW + MINUTE)
    assert tasks_of(again) == KEPT


def test_while_it_is_being_sent_the_deletion_is_refused_and_nothing_of_it_changes(wave: Store) -> None:
    (sent,) = lease(wave, NOW + MINUTE)
    with wave.begin() as tx:
        tx.connection.execute(
            update(alert_delivery).where(alert_delivery.c.id == sent.id).values(due_at=tx.now + MINUTE)
        )
    with pytest.raises(InUse, match=r"a message about gone and other DAGs is being sent.*windsock dags delete gone"):
        deletion.delete_dag(wave, "gone")
    confirm(wave, sent, NOW + MINUTE)
    deletion.delete_dag(wave, "gone")
    with wave.read() as connection:
        states = connection.execute(select(alert_delivery.c.state)).scalars().all()
    assert states == ["delivered", "delivered"]


def test_a_message_that_nobody_sends_any_more_is_sent_again_without_it(wave: Store) -> None:
    lease(wave, NOW + MINUTE)
    deletion.delete_dag(wave, "gone")
    (again,) = lease(wave, NOW + 5 * MINUTE)
    assert tasks_of(again) == KEPT


def test_of_two_the_one_that_stays_is_told_alone(store: Store) -> None:
    with store.begin() as tx:
        outbox.record(tx.connection, [failure("gone"), failure("kept")])
        outbox.route(tx.connection, NOW, PLAN)
        groups.flush(tx.connection, NOW + MINUTE, PLAN)
    deletion.delete_dag(store, "gone")
    (left,) = lease(store, NOW + MINUTE)
    assert (tasks_of(left), left.wave) == ([("kept", "t")], None)
