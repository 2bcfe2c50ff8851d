"""The facts that explain why a task waits, read from a real metastore."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select

from alerting.clock import database_now
from engine.metastore import processes
from engine.metastore.pausing import set_paused
from engine.metastore.processes import Identity, identify
from engine.metastore.states import ProcessKind
from engine.metastore.tables import DagSchedule, DagVersion, TaskInstance
from engine.metastore.why import decide
from engine.metastore.why_facts import facts_of_ready, facts_of_run
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash


@pytest.fixture
def scheduler(stage: Stage) -> Identity:
    identity = identify(ProcessKind.SCHEDULER)
    stage.store.run(lambda tx: processes.register(tx, identity, {"parallelism": 4}))
    return identity


def why(stage: Stage, task_id: str, run_id: str = "run", dag_id: str = "dag") -> str:
    with stage.store.read() as connection:
        facts = facts_of_run(connection, dag_id, run_id, database_now(connection), timedelta(seconds=30))
    assert facts is not None
    answer = decide(facts[task_id])
    return f"{answer.reason}: {answer.sentence}"


@pytest.mark.usefixtures("scheduler")
def test_a_full_pool_is_told_with_who_uses_it(stage: Stage) -> None:
    stage.pool("gpu", 3)
    stage.dag("other", bash("heavy", pool="gpu", pool_slots=2))
    stage.dag("dag", bash("a", pool="gpu", priority_weight=9), bash("b", pool="gpu"))
    stage.trigger("other", "first")
    stage.claim()
    stage.trigger("dag")
    assert why(stage, "a").startswith("next: ")
    stage.claim()
    assert why(stage, "a").startswith("starting: ")
    assert why(stage, "b") == "pool_full: 3 of 3 slots of the pool 'gpu' are used by other.heavy (2) and dag.a"
    stage.set_slots("pool", "gpu", 1)
    assert why(stage, "b") == "pool_full: 3 of 1 slots of the pool 'gpu' are used by other.heavy (2) and dag.a"


@pytest.mark.usefixtures("scheduler")
def test_pools_that_are_missing_or_too_small_are_told(stage: Stage) -> None:
    stage.pool("small", 1)
    stage.dag("dag", bash("a", pool="nope"), bash("b", pool="small", pool_slots=2))
    stage.trigger("dag")
    assert stage.claim() == []
    assert why(stage, "a").startswith("pool_missing: it names the pool 'nope'")
    assert why(stage, "b").startswith("pool_too_small: it needs 2 slots of the pool 'small', which has 1 in all")


@pytest.mark.usefixtures("scheduler")
def test_the_limits_of_the_dag_and_of_the_task_are_told(stage: Stage) -> None:
    stage.dag("dag", bash("limited", max_active_tis_per_dag=1), bash("free"), max_active_tasks=2, max_active_runs=2)
    for run in ("one", "two", "three", "four"):
        stage.create("dag", run)
    stage.start_runs()
    stage.claim(slots=1)
    assert "1 of 1 allowed attempts of limited" in why(stage, "limited", "two")
    stage.claim(slots=1)
    assert why(stage, "free", "two").startswith("dag_full: 2 of 2 tasks of dag are running (max_active_tasks)")
    told = why(stage, "free", "four")
    assert told.startswith("run_queued: its run is queued: 2 of 2 runs of dag are running")
    assert told.endswith("and 1 queued run comes first")


@pytest.mark.usefixtures("scheduler")
def test_parallelism_is_told_when_every_slot_is_taken(stage: Stage) -> None:
    stage.dag("dag", *(bash(f"t{n}") for n in range(5)))
    stage.trigger("dag")
    stage.claim(slots=4)
    assert why(stage, "t4") == "parallelism: 4 of 4 slots of the scheduler are in use (core.parallelism)"


@pytest.mark.usefixtures("scheduler")
def test_upstream_retries_and_ends_are_told(stage: Stage) -> None:
    stage.dag("dag", bash("a", retries=1), bash("b", "a"))
    stage.trigger("dag")
    assert why(stage, "b") == "upstream: it waits for a (scheduled)"
    tokens = stage.begin()
    assert why(stage, "a").startswith("running: it is running since ")
    stage.finish((tokens["a"], FAILURE))
    assert "retry: attempt 1 of 2 failed (exited with code 1), and the next is due at " in why(stage, "a")
    stage.store.run(lambda tx: set_paused(tx, "dag", paused=True))
    assert why(stage, "a").startswith("paused: ")


def test_without_a_scheduler_that_is_the_reason_and_since_when(stage: Stage, scheduler: Identity) -> None:
    stage.dag("dag", bash("a"))
    stage.trigger("dag")
    stage.store.run(lambda tx: processes.end(tx, [scheduler.id]))
    assert why(stage, "a").startswith("no_scheduler: no scheduler is running; the last one was seen at 20")


@pytest.mark.usefixtures("scheduler")
def test_a_dag_that_no_scheduler_has_met_and_one_that_cannot_be_read_are_told(stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    stage.create("dag", "run")
    with stage.store.begin() as tx:
        tx.connection.execute(delete(DagSchedule))
    assert why(stage, "a").startswith("not_met: ")
    stage.dag("other", bash("a"))
    stage.trigger("other", "other")
    with stage.store.begin() as tx:
        tx.connection.execute(delete(DagVersion))
    assert why(stage, "a", "other", "other").startswith("unreadable: ")


@pytest.mark.usefixtures("scheduler")
def test_an_earlier_run_that_a_task_waits_for_is_told(stage: Stage) -> None:
    stage.dag("dag", bash("t", depends_on_past=True))
    for number, name in enumerate(("one", "two")):
        assert stage.create("dag", name, run_type="scheduled", logical_date=datetime(2026, 1, 1 + number, tzinfo=UTC))
    stage.start_runs()
    assert why(stage, "t", "two").startswith("earlier_run: it waits for its own success in the run before, one ")


def test_a_run_that_is_not_there_has_no_facts(stage: Stage) -> None:
    with stage.store.read() as connection:
        assert facts_of_run(connection, "dag", "run", database_now(connection), timedelta(seconds=30)) is None


@pytest.mark.usefixtures("scheduler")
def test_a_task_that_ended_is_told_as_ended(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b"))
    stage.trigger("dag")
    tokens = stage.begin()
    stage.finish((tokens["a"], SUCCESS))
    assert why(stage, "a").startswith("ended: it has ended in attempt 1 of 1 at 20")


@pytest.mark.usefixtures("scheduler")
def test_what_the_time_limit_of_its_run_skipped_says_so(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b", "a"), dagrun_timeout_seconds=0.001)
    stage.trigger("dag")
    stage.expire()
    assert why(stage, "b").endswith("as skipped, because its run went on for longer than its dagrun_timeout")


@pytest.mark.usefixtures("scheduler")
def test_a_scheduler_that_ends_a_long_wait_finds_the_same_reason_in_fewer_statements(stage: Stage) -> None:
    stage.pool("gpu", 1)
    stage.pool("small", 1)
    waits = (bash("b", pool="gpu"), bash("c", pool="nope"), bash("d", pool="small", pool_slots=2))
    stage.dag("dag", bash("a", pool="gpu", priority_weight=9), *waits)
    stage.dag("narrow", bash("x", priority_weight=8), bash("y"), max_active_tasks=1)
    stage.dag("limited", bash("t", max_active_tis_per_dag=1, priority_weight=7), max_active_runs=2)
    stage.dag("more", bash("m"), bash("n"))
    stage.trigger("dag")
    stage.trigger("narrow")
    stage.trigger("limited", "run", "other")
    assert len(stage.claim()) == 3
    stage.trigger("more")
    assert len(stage.claim(slots=1)) == 1
    found = {(row.dag_id, row.task_id): _as_a_scheduler(stage, row) for row in _ready(stage)}
    assert {key: told.partition(":")[0] for key, told in found.items()} == {
        ("dag", "b"): "pool_full",
        ("dag", "c"): "pool_missing",
        ("dag", "d"): "pool_too_small",
        ("narrow", "y"): "dag_full",
        ("limited", "t"): "task_full",
        ("more", "n"): "parallelism",
    }
    run_ids = {(row.dag_id, row.task_id): row.run_id for row in _ready(stage)}
    assert found == {(dag, task): why(stage, task, run_ids[dag, task], dag) for dag, task in found}


def _ready(stage: Stage) -> list[Any]:
    with stage.store.read() as connection:
        return list(connection.execute(select(TaskInstance).where(TaskInstance.state == "scheduled")))


def _as_a_scheduler(stage: Stage, row: Any) -> str:
    with stage.store.read() as connection:
        version = stage.runs.get(connection, [row.run_pk])[row.run_pk].version
        task = stage.graphs.get(connection, row.dag_id, version).tasks[row.task_id]
        answer = decide(facts_of_ready(connection, row, task, database_now(connection)))
    return f"{answer.reason}: {answer.sentence}"
