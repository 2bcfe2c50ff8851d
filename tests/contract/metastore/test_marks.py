"""Marks leave the times of what has ended as they are, and tell only what has turned, on every database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from engine.cli.queries import task_states
from engine.metastore.durations import last_durations, last_runtimes
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.sla_replay import read_past
from engine.metastore.states import TaskState
from engine.metastore.tables import DagRun
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash, empty
from tests.contract.metastore.told import Telling, told

EXIT_3 = Outcome(Cause.EXIT, exit_code=3, error="exited with code 3")


@pytest.fixture
def telling(stage: Stage) -> Telling:
    return Telling(stage)


def times(row: Any) -> tuple[Any, Any]:
    return row.start_date, row.end_date


def end_run_later(stage: Stage, by: timedelta) -> None:
    """As if the run's last task had taken so long."""
    with stage.store.begin() as tx:
        tx.connection.execute(update(DagRun).values(end_date=stage.run_row().end_date + by))


def said(stage: Stage, run_id: str = "run") -> dict[str, tuple[str | None, str | None]]:
    """By task: that it was marked, and the error of its last attempt."""
    with stage.store.read() as connection:
        return {row["task_id"]: (row["marked"], row["error"]) for row in task_states(connection, "dag", run_id)}


# -- times


@pytest.mark.parametrize("state", [TaskState.SUCCESS, TaskState.SKIPPED, TaskState.FAILED])
def test_a_task_that_has_ended_keeps_its_end_and_so_does_its_run(stage: Stage, state: TaskState) -> None:
    stage.dag("dag", bash("t"), bash("other"))
    stage.trigger("dag")
    stage.play({"t": EXIT_3, "other": FAILURE})
    end_run_later(stage, timedelta(seconds=45))
    before, run = stage.rows()["t"], stage.run_row()
    stage.mark(state, "t")
    assert (stage.states()["t"], times(stage.rows()["t"])) == (state, times(before))
    assert (stage.run_row().state, times(stage.run_row())) == ("failed", times(run))
    assert (stage.run_row().clears, stage.start_runs().runs) == (0, [])


def test_a_run_that_a_mark_turns_keeps_its_start_and_its_end(stage: Stage) -> None:
    stage.dag("dag", bash("t"))
    stage.trigger("dag")
    stage.play({"t": EXIT_3})
    end_run_later(stage, timedelta(seconds=45))
    run = stage.run_row()
    stage.mark(TaskState.SUCCESS, "t")
    assert (stage.run_row().state, times(stage.run_row())) == ("success", times(run))
    assert stage.used() == {}


def test_a_run_does_not_end_before_a_task_of_it_that_was_ended_later(stage: Stage) -> None:
    stage.dag("dag", bash("t"), bash("slow"), dagrun_timeout_seconds=0.001)
    stage.trigger("dag")
    tokens = stage.begin()
    stage.expire()
    stage.finish(*((token, Outcome(Cause.ENDED)) for token in tokens.values()))
    stage.mark(TaskState.SUCCESS, "t")
    ends = [row.end_date for row in stage.rows().values()]
    assert (stage.run_row().state, stage.run_row().end_date) == ("success", max(ends))


def test_a_task_that_waits_for_its_retry_ended_when_its_attempt_did(stage: Stage) -> None:
    stage.dag("dag", bash("t", retries=2, retry_delay_seconds=0.0))
    stage.trigger("dag")
    stage.finish((stage.begin()["t"], EXIT_3))
    assert stage.promote() == 1
    stage.mark(TaskState.SUCCESS, "t")
    (attempt,) = stage.attempts()
    assert times(stage.rows()["t"]) == times(attempt)


def test_a_task_that_never_ran_ends_now(stage: Stage) -> None:
    stage.dag("dag", bash("t"))
    stage.trigger("dag")
    stage.finish((stage.begin()["t"], SUCCESS))
    stage.clear("t")
    stage.start_runs()
    (attempt,) = stage.attempts()
    stage.mark(TaskState.SUCCESS, "t")
    row = stage.rows()["t"]
    assert row.start_date is None
    assert row.end_date > attempt.end_date


def test_a_run_in_which_something_is_to_run_again_begins_anew(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b", "a"))
    stage.trigger("dag")
    stage.play({"a": FAILURE})
    stage.mark(TaskState.SUCCESS, "a")
    assert (stage.run_row().state, stage.run_row().start_date) == ("queued", None)
    stage.start_runs()
    assert stage.play() == [["b"]]


def test_a_run_whose_version_is_not_kept_is_judged_by_the_newest(stage: Stage) -> None:
    stage.dag("dag", bash("t"))
    stage.trigger("dag")
    stage.play({"t": FAILURE})
    version = stage.new_version("dag", bash("t"), empty("new"))
    with stage.store.begin() as tx:
        tx.connection.execute(update(DagRun).values(version="gone"))
    other = stage.beside()
    other.mark(TaskState.SUCCESS, "t")
    other.store.close()
    assert (stage.run_row().state, stage.run_row().version) == ("success", version)


# -- what is measured


def test_no_duration_is_learnt_from_what_was_marked(stage: Stage) -> None:
    stage.dag("dag", bash("t"), bash("u"), empty("e"))
    stage.trigger("dag", "good", "turned", "never")
    stage.play(lambda one: EXIT_3 if one.run.run_id == "turned" and one.task_id == "t" else SUCCESS)
    stage.clear("t", run_id="never")
    stage.start_runs()
    stage.mark(TaskState.SUCCESS, "t", run_id="turned")
    stage.mark(TaskState.SUCCESS, "t", run_id="never")
    assert [stage.run_row(name).state for name in ("good", "turned", "never")] == ["success"] * 3
    good = stage.run_row("good")
    with stage.store.read() as connection:
        assert last_runtimes(connection, "dag", 10) == [good.end_date - good.start_date]
        assert {task: len(took) for task, took in last_durations(connection, "dag", 10).items()} == {
            "t": 1,
            "u": 3,
            "e": 3,
        }


def test_no_run_with_a_mark_is_replayed(stage: Stage) -> None:
    stage.dag("dag", bash("t"))
    for run_id in ("good", "turned"):
        with stage.store.begin() as tx:
            now = tx.now
        assert stage.create("dag", run_id, run_type="scheduled", data_interval_end=now)
    stage.start_runs()
    stage.play(lambda one: EXIT_3 if one.run.run_id == "turned" else SUCCESS)
    stage.mark(TaskState.SUCCESS, "t", run_id="turned")
    with stage.store.read() as connection:
        assert [run.run_id for run in read_past(connection, "dag", 10)] == ["good"]


# -- what is said of a task


def test_a_marked_task_says_so_instead_of_the_error_of_its_attempt(stage: Stage) -> None:
    stage.dag("dag", bash("t"), bash("left"), bash("well"))
    stage.trigger("dag")
    stage.play({"t": EXIT_3, "left": EXIT_3})
    assert said(stage)["t"] == (None, "exited with code 3")
    stage.mark(TaskState.SUCCESS, "t")
    stage.mark(TaskState.FAILED, "well", "left")
    assert said(stage) == {
        "t": ("marked as successful", None),
        "left": (None, "exited with code 3"),
        "well": ("marked as failed", None),
    }
    assert [row.error for row in stage.attempts()] == ["exited with code 3", "exited with code 3", None]


def test_what_a_run_leaves_behind_was_not_marked(stage: Stage) -> None:
    stage.dag("dag", bash("t", retries=1), bash("u"), dagrun_timeout_seconds=0.001)
    stage.trigger("dag")
    tokens = stage.begin()
    stage.finish((tokens["t"], EXIT_3))
    stage.expire()
    assert stage.states()["t"] == "skipped"
    assert said(stage)["t"] == (None, "exited with code 3")


# -- what is told


def test_a_failed_run_that_is_still_failed_after_a_mark_is_not_told_again(telling: Telling) -> None:
    telling.stage.dag("dag", bash("a"), bash("b"), bash("c"), callbacks=("on_failure",))
    telling.trigger("dag")
    telling.attempt(a=FAILURE, b=FAILURE, c=FAILURE)
    known = telling.kinds()
    assert known.count("run_failed") == 1
    for task_id in ("a", "b"):
        telling.mark(TaskState.SUCCESS, task_id)
        telling.run(lambda tx: telling.ledger.start_runs(tx, 100))
    assert telling.kinds() == [*known, "task_recovered", "task_recovered"]
    telling.mark(TaskState.SUCCESS, "c")
    assert telling.kinds()[-2:] == ["task_recovered", "run_recovered"]
    assert telling.last().summary == (
        "A run of dag that had failed counts as successful now: its tasks were marked by hand."
    )


def test_a_run_that_is_found_to_be_as_failed_as_before_is_not_told_again(telling: Telling) -> None:
    telling.stage.dag("dag", bash("a"), bash("b", "a"), bash("c", "b"))
    telling.trigger("dag")
    telling.attempt(a=FAILURE)
    telling.mark(TaskState.FAILED, "a")
    telling.run(lambda tx: telling.ledger.start_runs(tx, 100))
    assert telling.stage.states() == {"a": "failed", "b": "upstream_failed", "c": "upstream_failed"}
    assert (telling.stage.run_row().state, telling.kinds()) == ("failed", ["task_failed", "run_failed"])


def test_a_run_that_runs_on_after_a_mark_and_fails_again_is_told_again(telling: Telling) -> None:
    telling.stage.dag("dag", bash("a"), bash("b", "a"))
    telling.trigger("dag")
    telling.attempt(a=FAILURE)
    telling.mark(TaskState.SUCCESS, "a")
    telling.run(lambda tx: telling.ledger.start_runs(tx, 100))
    telling.attempt(b=FAILURE)
    assert telling.kinds().count("run_failed") == 2


def test_a_successful_run_that_a_mark_turns_is_told_as_marked_each_time(telling: Telling) -> None:
    telling.stage.dag("dag", bash("t"))
    telling.trigger("dag")
    telling.attempt(t=SUCCESS)
    run = telling.stage.run_row()
    for _ in range(2):
        telling.mark(TaskState.FAILED, "t")
        failed = telling.last()
        assert failed.summary == "The run had succeeded and counts as failed now: a task of it was marked by hand."
        assert (failed.error, failed.started_at, failed.ended_at) == ("failed tasks: t", *times(run))
        telling.mark(TaskState.SUCCESS, "t")
    assert telling.kinds() == ["run_failed", "run_recovered"] * 2


def test_a_recovery_by_hand_happens_when_it_is_marked(telling: Telling) -> None:
    telling.stage.dag("dag", bash("t"))
    telling.trigger("dag")
    telling.attempt(t=FAILURE)
    telling.mark(TaskState.SUCCESS, "t")
    failed, _, recovered, run = told(telling.stage.store)
    assert recovered.ended_at == failed.ended_at == telling.stage.rows()["t"].end_date
    assert failed.occurred_at < recovered.occurred_at == run.occurred_at
