"""depends_on_past and wait_for_downstream, by Airflow's rules (airflow.ti_deps.deps.prev_dagrun_dep)."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.metastore.states import TaskState
from engine.metastore.store import Store
from tests.contract.metastore.stage import FAILURE, SKIP, SUCCESS, Stage, bash, empty

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def days(stage: Stage, *names: str, **more: Any) -> None:
    """Queue and start a run for each name, a day after the other."""
    for number, name in enumerate(names):
        values = {"run_type": "scheduled", "logical_date": DAY + timedelta(days=number), **more}
        assert stage.create("dag", name, **values)
    stage.start_runs()


def end(stage: Stage, run_id: str, task_id: str, outcome: Any) -> Any:
    return stage.finish((stage.rows(run_id)[task_id].token, outcome))


def test_a_task_waits_for_its_predecessor_and_goes_on_in_the_transaction_of_its_end(stage: Stage) -> None:
    stage.dag("dag", bash("t", depends_on_past=True))
    days(stage, "one", "two", "three")
    assert [stage.states(run)["t"] for run in ("one", "two", "three")] == ["scheduled", None, None]
    stage.begin()
    assert end(stage, "one", "t", SUCCESS).scheduled == 1
    assert [stage.states(run)["t"] for run in ("one", "two", "three")] == ["success", "scheduled", None]
    stage.play()
    assert stage.run_row("three").state == "success"


@pytest.mark.parametrize(("outcome", "then"), [(SUCCESS, "scheduled"), (SKIP, "scheduled"), (FAILURE, None)])
def test_success_and_skip_count_and_failure_does_not(stage: Stage, outcome: Any, then: str | None) -> None:
    stage.dag("dag", bash("t", depends_on_past=True))
    days(stage, "one", "two")
    stage.begin()
    end(stage, "one", "t", outcome)
    assert stage.states("two")["t"] == then


def test_a_retry_is_waited_for(stage: Stage) -> None:
    stage.dag("dag", bash("t", depends_on_past=True, retries=1))
    days(stage, "one", "two")
    stage.begin()
    end(stage, "one", "t", FAILURE)
    assert stage.states("two")["t"] is None


def test_both_the_upstream_and_the_past_must_allow_it_in_either_order(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b", "a", depends_on_past=True))
    days(stage, "one", "two")
    stage.begin()
    end(stage, "two", "a", SUCCESS)
    assert stage.states("two")["b"] is None
    end(stage, "one", "a", SUCCESS)
    stage.begin()
    end(stage, "one", "b", SUCCESS)
    assert stage.states("two")["b"] == "scheduled"


def test_a_task_skipped_by_its_upstream_does_not_wait_unless_it_says_so(stage: Stage) -> None:
    patient = bash("p", "a", depends_on_past=True, wait_for_past_depends_before_skipping=True)
    stage.dag("dag", bash("a"), bash("b", "a", depends_on_past=True), patient)
    days(stage, "one", "two")
    stage.begin()
    end(stage, "two", "a", SKIP)
    assert (stage.states("two")["b"], stage.states("two")["p"]) == ("skipped", None)
    end(stage, "one", "a", SKIP)
    assert stage.states("two")["p"] == "skipped"
    assert stage.run_row("two").state == "success"


def test_with_wait_for_downstream_what_stands_behind_the_predecessor_counts_too(stage: Stage) -> None:
    stage.dag("dag", bash("a", depends_on_past=True, wait_for_downstream=True), bash("b", "a"), bash("c", "b"))
    days(stage, "one", "two")
    stage.begin()
    end(stage, "one", "a", SUCCESS)
    assert stage.states("two")["a"] is None
    stage.begin()
    assert end(stage, "one", "b", SUCCESS).scheduled == 2, "c of its own run, and a of the next"
    assert stage.states("two")["a"] == "scheduled"


def test_with_catchup_a_manual_run_is_no_predecessor(stage: Stage) -> None:
    stage.dag("dag", bash("t", depends_on_past=True), catchup=True)
    days(stage, "one", run_type="manual")
    stage.create("dag", "two", run_type="scheduled", logical_date=DAY + timedelta(days=1))
    stage.start_runs()
    assert stage.states("two")["t"] == "scheduled"


def test_without_catchup_a_manual_run_is_one(stage: Stage) -> None:
    stage.dag("dag", bash("t", depends_on_past=True))
    days(stage, "one", run_type="manual")
    stage.create("dag", "two", run_type="scheduled", logical_date=DAY + timedelta(days=1))
    stage.start_runs()
    assert stage.states("two")["t"] is None


def test_a_run_without_a_logical_date_waits_for_nobody(stage: Stage) -> None:
    stage.dag("dag", bash("t", depends_on_past=True))
    stage.trigger("dag", "one", "two")
    assert stage.states("two")["t"] == "scheduled"


def test_a_predecessor_that_has_not_started_is_waited_for(stage: Stage) -> None:
    stage.dag("dag", bash("t", depends_on_past=True), max_active_runs=1)
    stage.create("dag", "late", logical_date=DAY + timedelta(days=1))
    stage.create("dag", "early", logical_date=DAY)
    stage.start_runs()
    assert stage.states("late")["t"] is None
    stage.set_slots("dag_runs", "dag", 2)
    stage.start_runs()
    stage.play()
    assert stage.run_row("late").state == "success"


def test_a_new_task_waits_where_earlier_runs_did_not_have_it_unless_its_first_time_is_ignored(stage: Stage) -> None:
    stage.dag("dag", bash("old"))
    days(stage, "one")
    stage.play()
    renew(
        stage,
        bash("old"),
        bash("t", depends_on_past=True),
        bash("i", depends_on_past=True, ignore_first_depends_on_past=True),
    )
    stage.create("dag", "two", logical_date=DAY + timedelta(days=5))
    stage.start_runs()
    assert (stage.states("two")["t"], stage.states("two")["i"]) == (None, "scheduled")


def renew(stage: Stage, *tasks: Any, **more: Any) -> str:
    return stage.new_version("dag", *tasks, **more)


def test_a_dag_that_depends_on_the_past_only_now_is_found_by_the_sweep(stage: Stage) -> None:
    stage.dag("dag", bash("t"))
    days(stage, "one")
    renew(stage, bash("t", depends_on_past=True))
    stage.create("dag", "two", logical_date=DAY + timedelta(days=5))
    stage.start_runs()
    stage.begin()
    end(stage, "one", "t", SUCCESS)
    assert stage.states("two")["t"] is None
    assert stage.reconsider_overlooked().scheduled == 1
    assert stage.states("two")["t"] == "scheduled"


def test_empty_tasks_pass_through_all_runs_at_once(stage: Stage) -> None:
    stage.dag("dag", bash("gate"), empty("t", "gate", depends_on_past=True), empty("u", "t", wait_for_downstream=True))
    days(stage, "one", "two", "three")
    stage.begin()
    end(stage, "three", "gate", SUCCESS)
    end(stage, "two", "gate", SUCCESS)
    assert stage.states("two")["t"] is None
    end(stage, "one", "gate", SUCCESS)
    assert {stage.run_row(run).state for run in ("one", "two", "three")} == {"success"}
    assert stage.used() == {}


def test_clearing_and_marking_the_predecessor_lets_the_next_go_on(stage: Stage) -> None:
    stage.dag("dag", bash("t", depends_on_past=True))
    days(stage, "one", "two", "three")
    stage.begin()
    end(stage, "one", "t", FAILURE)
    stage.mark(TaskState.SUCCESS, "t", run_id="one")
    assert stage.states("two")["t"] == "scheduled"
    stage.begin()
    end(stage, "two", "t", FAILURE)
    stage.clear("t", run_id="two")
    stage.start_runs()
    stage.play()
    assert stage.run_row("three").state == "success"


def test_two_schedulers_never_overlook_one_another(server_store: Store) -> None:
    """One ends the predecessor while the other starts the successor's run."""
    stage = Stage(server_store)
    stage.dag("dag", bash("t", depends_on_past=True), max_active_runs=100)
    other = stage.beside()
    for number in range(0, 40, 2):
        stage.create("dag", f"r{number}", logical_date=DAY + timedelta(days=number))
        stage.create("dag", f"r{number + 1}", logical_date=DAY + timedelta(days=number + 1))
        stage.start_runs(1)
        token = stage.begin(owner=f"o{number}").get("t")
        assert token, number
        threads = [
            threading.Thread(target=lambda t=token: stage.finish((t, SUCCESS))),
            threading.Thread(target=lambda: other.start_runs(1)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stage.states(f"r{number + 1}")["t"] == "scheduled"
        (last,) = stage.begin(owner=f"p{number}").values()
        stage.finish((last, SUCCESS))
    other.store.close()
