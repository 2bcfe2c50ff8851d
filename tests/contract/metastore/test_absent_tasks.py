"""A task's own start_date and end_date: which runs have it, and what becomes of runs that lack one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from engine.metastore.sla import deadlines_of_run
from engine.metastore.states import TaskState
from engine.metastore.tables import Budget, CallbackRequest
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash, empty
from tests.contract.metastore.told import Telling

FIRST, SECOND, THIRD = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3))


def start(stage: Stage, date: datetime = FIRST, run_id: str = "run", **more: Any) -> Any:
    assert stage.create("dag", run_id, **{"run_type": "scheduled", "logical_date": date} | more)
    return stage.start_runs()


def used_runs(stage: Stage) -> int:
    with stage.store.read() as connection:
        used = select(Budget.used).where(Budget.kind == "dag_runs", Budget.name == "dag")
        return connection.execute(used).scalar_one()


def test_a_run_has_the_tasks_whose_dates_its_own_lies_within_both_included(stage: Stage) -> None:
    stage.dag("dag", bash("all"), bash("late", start_date=SECOND), bash("early", end_date=SECOND))
    tasks = {}
    for date in (FIRST, SECOND, THIRD):
        start(stage, date, str(date.day))
        tasks[date.day] = set(stage.states(str(date.day)))
    assert tasks == {1: {"all", "early"}, 2: {"all", "early", "late"}, 3: {"all", "late"}}
    stage.play()
    assert [stage.run_row(name).state for name in "123"] == ["success"] * 3


def test_a_backfill_has_them_all_as_in_airflow(stage: Stage) -> None:
    stage.dag("dag", bash("late", start_date=SECOND), bash("early", end_date=FIRST - timedelta(days=9)))
    start(stage, run_type="backfill")
    assert set(stage.states("run")) == {"late", "early"}


def test_a_run_that_has_none_of_its_tasks_is_a_success_at_once(stage: Stage) -> None:
    stage.dag("dag", empty("late", start_date=SECOND), bash("too", "late", start_date=SECOND))
    (began, ended) = start(stage).runs
    assert (began.state, ended.state, ended.stuck_tasks) == ("running", "success", ())
    assert (stage.states("run"), used_runs(stage)) == ({}, 0)


def test_what_waits_for_a_task_that_is_not_there_fails_the_run_when_the_rest_has_ended(stage: Stage) -> None:
    stage.dag("dag", bash("late", start_date=SECOND), bash("a"), bash("after", "late", "a"), bash("b"))
    start(stage)
    tokens = stage.begin()
    assert stage.finish((tokens["a"], SUCCESS)).runs == []
    (run,) = stage.finish((tokens["b"], SUCCESS)).runs
    assert (run.state, run.stuck_tasks, run.failed_tasks) == ("failed", ("after",), ())
    assert stage.states("run") == {"a": "success", "b": "success", "after": None}
    assert (stage.run_row("run").state, used_runs(stage)) == ("failed", 0)


def test_a_run_in_which_nothing_can_begin_fails_as_it_starts(stage: Stage) -> None:
    stage.dag("dag", bash("late", start_date=SECOND), bash("after", "late"))
    assert [change.state for change in start(stage).runs] == ["running", "failed"]
    assert used_runs(stage) == 0


def test_a_failed_parent_decides_whatever_else_is_waited_for(stage: Stage) -> None:
    stage.dag("dag", bash("late", start_date=SECOND), bash("a"), bash("after", "late", "a"))
    start(stage)
    (run,) = stage.finish((stage.begin()["a"], FAILURE)).runs
    assert (run.state, run.stuck_tasks) == ("failed", ())
    assert stage.states("run")["after"] == "upstream_failed"


def test_a_retry_keeps_the_run_alive(stage: Stage) -> None:
    stage.dag("dag", bash("late", start_date=SECOND), bash("a", retries=1), bash("after", "late", "a"))
    start(stage)
    assert stage.finish((stage.begin()["a"], FAILURE)).runs == []
    assert stage.run_row("run").state == "running"


def test_marking_what_waits_ends_the_run_well_and_clearing_it_ends_it_as_before(stage: Stage) -> None:
    stage.dag("dag", bash("late", start_date=SECOND), bash("a"), bash("after", "late", "a"))
    start(stage)
    stage.finish((stage.begin()["a"], SUCCESS))
    stage.clear("after")
    assert stage.run_row("run").state == "queued"
    stage.start_runs()
    assert stage.run_row("run").state == "failed"
    stage.mark(TaskState.SUCCESS, "after")
    stage.start_runs()
    assert (stage.run_row("run").state, used_runs(stage)) == ("success", 0)


@pytest.mark.parametrize(("catchup", "state"), [(True, "scheduled"), (False, None)])
def test_with_catchup_a_task_need_not_wait_for_a_run_before_its_own_start(
    stage: Stage, catchup: bool, state: str | None
) -> None:
    stage.dag("dag", bash("late", start_date=SECOND, depends_on_past=True), bash("a"), catchup=catchup)
    start(stage, FIRST, "one")
    start(stage, SECOND, "two")
    assert stage.states("two")["late"] == state


def test_a_task_that_is_not_there_promises_nothing(stage: Stage) -> None:
    stage.dag("dag", bash("late", start_date=SECOND, sla_seconds=60.0), bash("a", sla_seconds=60.0))
    start(stage)
    with stage.store.read() as connection:
        assert [one.task_id for one in deadlines_of_run(connection, stage.run_row("run").id)] == ["a"]


def test_a_stuck_run_is_told_with_what_waits_and_why(stage: Stage) -> None:
    told = Telling(stage)
    stage.dag("dag", bash("late", start_date=SECOND), bash("a"), bash("after", "late", "a"), callbacks=("on_failure",))
    told.trigger("dag", run_type="scheduled", logical_date=FIRST)
    told.attempt(a=SUCCESS)
    event = told.last()
    assert told.kinds() == ["run_failed"]
    assert event.cause == "stuck"
    assert event.summary == "The run failed: nothing in it can run any more."
    assert event.error == "waiting for tasks whose start_date or end_date leaves them out of this run: after"
    with stage.store.read() as connection:
        (payload,) = connection.execute(select(CallbackRequest.payload)).scalars()
    assert payload["reason"] == "all_tasks_deadlocked"
