"""dagrun_timeout: a run that is over its time fails once, and what has not ended in it is skipped."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from engine.metastore.announce import Announcer
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.store import Tx
from engine.metastore.tables import Base, CallbackRequest, DagRun
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash

EVENTS = Base.metadata.tables["alert_event"]
ENDED = Outcome(Cause.ENDED, error="ended because its run timed out")


@pytest.fixture
def late(stage: Stage) -> Stage:
    """A run over its time: one task has succeeded, one runs, one waits for its retry, one for its upstream."""
    tasks = (bash("done"), bash("busy"), bash("again", retries=1), bash("behind", "busy"))
    stage.dag("dag", *tasks, dagrun_timeout_seconds=60.0, callbacks=("on_failure",))
    stage.trigger("dag")
    tokens = stage.begin()
    stage.finish((tokens["done"], SUCCESS), (tokens["again"], FAILURE))
    overdue(stage)
    return stage


def overdue(stage: Stage, *run_ids: str) -> None:
    def work(tx: Tx) -> None:
        mine = DagRun.run_id.in_(run_ids or ("run",))
        tx.connection.execute(update(DagRun).where(mine).values(deadline=tx.now - timedelta(seconds=1)))

    stage.store.run(work)


def test_the_deadline_is_stored_when_the_run_starts(stage: Stage) -> None:
    stage.dag("dag", bash("t"), dagrun_timeout_seconds=90.0)
    stage.create("dag")
    assert stage.run_row().deadline is None
    begun = stage.start_runs().runs[0]
    row = stage.run_row()
    assert row.deadline == row.start_date + timedelta(seconds=90) == begun.deadline


def test_a_run_within_its_time_goes_on(stage: Stage) -> None:
    stage.dag("dag", bash("t"), dagrun_timeout_seconds=90.0)
    stage.trigger("dag")
    assert stage.expire().runs == []
    assert stage.run_row().state == "running"


def test_what_has_not_ended_is_skipped_and_what_has_stays(late: Stage) -> None:
    changes = late.expire()
    assert [(change.state, change.timed_out_after) for change in changes.runs] == [("failed", timedelta(seconds=60))]
    assert late.states() == {"done": "success", "busy": "running", "again": "skipped", "behind": "skipped"}
    assert late.run_row().state == "failed"
    assert late.run_row().end_date is not None


def test_what_runs_is_ended_and_then_skipped(late: Stage) -> None:
    token = late.rows()["busy"].token
    late.expire()
    assert late.requested() == {token: "ended because its run timed out"}
    assert late.used() == {("pool", "default_pool"): 1, ("dag_tasks", "dag"): 1}, "it runs until it has ended"
    late.finish((token, ENDED))
    assert late.states()["busy"] == "skipped"
    assert late.requested() == {}
    assert late.used() == {}
    assert late.run_row().unfinished == 0
    assert late.run_row().state == "failed"
    assert [row.cause for row in late.attempts()][1] == "ended"


def test_a_supervisor_that_dies_meanwhile_changes_nothing_of_that(late: Stage) -> None:
    late.expire()
    late.rescue("supervisor-1")
    assert late.states()["busy"] == "skipped"
    assert late.used() == {}


def test_a_run_times_out_once(late: Stage) -> None:
    assert len(late.expire().runs) == 1
    assert late.expire().runs == []


def test_a_batch_is_bounded(stage: Stage) -> None:
    stage.dag("dag", bash("t"), dagrun_timeout_seconds=60.0)
    stage.trigger("dag", "a", "b", "c")
    overdue(stage, "a", "b", "c")
    assert [len(stage.expire(limit=2).runs) for _ in range(3)] == [2, 1, 0]


def test_a_run_that_timed_out_makes_room_for_the_next(stage: Stage) -> None:
    stage.dag("dag", bash("t"), dagrun_timeout_seconds=60.0, max_active_runs=1)
    stage.trigger("dag", "run", "next")
    overdue(stage)
    assert stage.run_row("next").state == "queued"
    stage.expire()
    assert [change.run.run_id for change in stage.start_runs().runs] == ["next"]


def test_the_failure_is_told_once_with_its_reason(late: Stage) -> None:
    ledger = Ledger(Announcer("http://windsock"))
    late.store.run(lambda tx: ledger.expire_runs(tx, 100))
    late.store.run(lambda tx: ledger.expire_runs(tx, 100))
    with late.store.read() as connection:
        events = connection.execute(select(EVENTS).where(EVENTS.c.kind == "run_failed")).all()
        requests = connection.execute(select(CallbackRequest.__table__)).all()
    assert len(events) == 1
    assert '"run timed out: it took longer than its dagrun_timeout of 0:01:00"' in events[0].payload
    assert [(one.kind, one.scope, one.payload["reason"]) for one in requests] == [("on_failure", "dag", "timed_out")]
