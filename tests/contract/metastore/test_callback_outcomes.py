"""What is written when a try of a callback has ended: its outcome, and what is told, in one transaction and once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Row, select, update

from alerting.events import AlertEvent, decode
from alerting.kinds import EventKind
from alerting.tables import alert_event
from engine.metastore import callbacks
from engine.metastore.announce import Announcer
from engine.metastore.ledger import Ledger
from engine.metastore.store import Tx
from engine.running.callback_outcomes import REQUEST, Retries, Settled, Subject, Try, give_back, put_off, settle
from engine.running.callback_words import Told
from tests.contract.metastore.stage import FAILURE, Stage, bash

ABOUT = Subject(run_id="run", owner="alice", tags=("nightly",), log_path="x/on_failure.log", url="http://localhost/x")
NOTICE = AlertEvent(
    kind=EventKind.TEST, occurred_at=datetime(2026, 1, 1, tzinfo=UTC), dag_id="another", receiver="ops", text="s3cret!"
)


@pytest.fixture
def request_row(stage: Stage) -> Row[Any]:
    """A request that this test has leased, as the failure of a task makes it."""
    stage.dag("dag", bash("t", callbacks=("on_failure",)))
    stage.trigger("dag")
    reports = [stage.report(stage.begin()["t"], FAILURE)]
    ledger = Ledger(Announcer("http://localhost"))
    stage.store.run(lambda tx: ledger.finish(tx, reports))
    stage.store.run(lambda tx: tx.connection.execute(update(REQUEST).values(token="mine", attempts=1)))
    return row(stage)


def row(stage: Stage) -> Row[Any]:
    with stage.store.read() as connection:
        return connection.execute(select(REQUEST)).one()


def end(stage: Stage, request: Row[Any], how: Try, retries: int = 1, token: str = "mine") -> Settled:
    def work(tx: Tx) -> Settled:
        policy = Retries(retries, 10.0)
        return settle(tx, request, token, how, ABOUT, policy, lambda text: text.replace("s3cret", "***"))

    return stage.store.run(work)


def events(stage: Stage, kind: str) -> list[AlertEvent]:
    with stage.store.read() as connection:
        found = connection.execute(select(alert_event.c.payload).where(alert_event.c.kind == kind)).scalars()
        return [event for event in map(decode, found) if event is not None]


def test_one_that_returned_is_done_with_the_end_of_its_output(stage: Stage, request_row: Row[Any]) -> None:
    assert end(stage, request_row, Try(None, output="telling")) is Settled.DONE
    after = row(stage)
    assert (after.state, after.error, after.output, after.log_path) == ("done", None, "telling", "x/on_failure.log")
    assert after.done_at is not None
    assert events(stage, "callback_failed") == []


def test_one_that_failed_is_tried_again_after_a_growing_pause_and_then_told_once(
    stage: Stage, request_row: Row[Any]
) -> None:
    failed = Try("tell: ValueError: no", left_over=[1], output="trace")
    pauses = []
    for _ in range(2):
        before = row(stage)
        assert end(stage, before, failed, retries=2) is Settled.RETRIED
        assert row(stage).lease_until is None
        pauses.append(row(stage).due_at - before.created_at)
    assert timedelta(seconds=10) <= pauses[0] < timedelta(seconds=20) <= pauses[1]
    assert events(stage, "callback_failed") == []
    assert end(stage, row(stage), failed, retries=2) is Settled.FAILED
    assert end(stage, row(stage), failed, retries=2) is Settled.LOST
    after = row(stage)
    assert (after.state, after.failures, after.left_over) == ("dead", 3, [1])
    (event,) = events(stage, "callback_failed")
    assert (event.dag_id, event.run_id, event.task_id, event.try_number) == ("dag", "run", "t", 1)
    assert (event.error, event.owner, event.tags, event.url) == (
        "tell: ValueError: no",
        "alice",
        ("nightly",),
        "http://localhost/x",
    )
    assert event.summary == "The on_failure_callback of the task failed after 3 tries; it is not called again."


def no_process(stage: Stage, *, since: timedelta | None = None) -> bool:
    """Lease it, as the notifier does, and find that no process can be made, for so long already."""

    def work(tx: Tx) -> bool:
        leased = {"token": "mine", "attempts": REQUEST.c.attempts + 1, "lease_until": tx.now + timedelta(minutes=1)}
        if since is not None:
            leased["unstarted_since"] = tx.now - since
        tx.connection.execute(update(REQUEST).values(leased))
        return put_off(tx, tx.connection.execute(select(REQUEST)).one(), "mine", "no process left")

    return stage.store.run(work)


def test_what_could_not_be_started_is_tried_again_and_again_and_no_try_counts(
    stage: Stage, request_row: Row[Any]
) -> None:
    pauses = []
    for minutes in (None, None, None, 1, 3, 14):
        assert no_process(stage, since=None if minutes is None else timedelta(minutes=minutes))
        after = row(stage)
        assert (after.state, after.attempts, after.failures, after.lease_until) == ("pending", 1, 0, None)
        assert after.error == "no process left"
        with stage.store.begin() as tx:
            pauses.append((after.due_at - tx.now).total_seconds())
    assert pauses == pytest.approx([2, 2, 2, 30, 60, 60], abs=1.5)
    assert end(stage, row(stage), Try(None)) is Settled.DONE
    assert (row(stage).unstarted_since, row(stage).error) == (None, None)


def test_what_cannot_be_started_for_a_quarter_of_an_hour_is_told_with_the_reason(
    stage: Stage, request_row: Row[Any]
) -> None:
    assert not no_process(stage, since=timedelta(minutes=15))
    reason = "could not be started for 15 minutes: no process could be made"
    assert end(stage, row(stage), Try(reason, "start", may_repeat=False, called=False)) is Settled.FAILED
    (event,) = events(stage, "callback_failed")
    assert (event.cause, event.error) == ("start", reason)
    assert event.summary == "The on_failure_callback of the task failed after no try; it is not called again."


def test_what_was_leased_and_not_begun_is_given_back_as_if_nothing_had_been(
    stage: Stage, request_row: Row[Any]
) -> None:
    with stage.store.begin() as tx:
        tx.connection.execute(update(REQUEST).values(lease_until=tx.now + timedelta(minutes=1)))
        give_back(tx, request_row, "another")
    assert row(stage).lease_until is not None
    stage.store.run(lambda tx: give_back(tx, request_row, "mine"))
    assert (row(stage).attempts, row(stage).lease_until, row(stage).due_at) == (0, None, request_row.due_at)


def test_whoever_lost_the_lease_writes_no_outcome(stage: Stage, request_row: Row[Any]) -> None:
    assert end(stage, request_row, Try("no", may_repeat=False), token="another") is Settled.LOST
    assert row(stage).state == "pending"
    assert events(stage, "callback_failed") == []


def test_what_it_told_is_an_event_of_its_own_dag_redacted_and_recorded_once(
    stage: Stage, request_row: Row[Any]
) -> None:
    told = (Told(0, NOTICE), Told(0, NOTICE), Told(1, NOTICE))
    for _ in range(2):
        end(stage, row(stage), Try("no", told=told), retries=5)
    found = events(stage, "notified")
    assert len(found) == 3
    assert {(event.dag_id, event.receiver, event.text) for event in found} == {("dag", "ops", "***!")}


def test_it_is_found_by_its_attempt_and_in_the_list(stage: Stage, request_row: Row[Any]) -> None:
    end(stage, request_row, Try("no", may_repeat=False, output="trace"))
    with stage.store.read() as connection:
        (by_attempt,) = callbacks.of_attempt(connection, "dag", "run", "t", -1, 1)
        assert callbacks.of_attempt(connection, "dag", "run", "t", -1, 2) == []
        assert callbacks.of_run(connection, stage.run_row().id) == []
        assert callbacks.listing(connection, limit=5, states=["dead"], dag_id="dag") == [by_attempt]
        assert callbacks.listing(connection, limit=5, states=["done"]) == []
        assert callbacks.get(connection, by_attempt.id) == by_attempt
    assert (by_attempt.run_id, by_attempt.task_id, by_attempt.state, by_attempt.output) == ("run", "t", "dead", "trace")
