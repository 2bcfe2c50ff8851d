"""Creating, starting and ending runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import select, update

from engine.metastore.errors import Duplicate, NotFound, Refused
from engine.metastore.states import RunState
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Dag, DagRun, DagSchedule
from engine.metastore.transitions import creating
from engine.metastore.triggering import trigger
from tests.contract.metastore.stage import FAILURE, Stage, bash

T = TypeVar("T")

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def test_a_run_id_is_taken_once_per_dag(stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    stage.dag("other", bash("a"))
    assert stage.create("dag", "run")
    assert not stage.create("dag", "run")
    assert stage.create("other", "run")
    assert stage.create("dag", "Run")


def test_a_logical_date_is_taken_once_per_dag(stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    stage.dag("other", bash("a"))
    assert stage.create("dag", "one", logical_date=MONDAY)
    assert not stage.create("dag", "two", logical_date=MONDAY)
    assert not stage.create("dag", "three", logical_date=MONDAY.astimezone(tz=None))
    assert stage.create("dag", "four", logical_date=MONDAY + timedelta(microseconds=1))
    assert stage.create("other", "one", logical_date=MONDAY)


def test_runs_without_a_logical_date_may_be_many(stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    assert stage.create("dag", "one")
    assert stage.create("dag", "two")


def test_a_refused_run_leaves_the_rest_of_its_transaction_alone(stage: Stage) -> None:
    version = stage.dag("dag", bash("a"))
    row = {"dag_id": "dag", "run_type": "manual", "version": version, "conf": {}, "run_after": MONDAY}
    with stage.store.begin() as tx:
        told = [creating.insert_run(tx, {**row, "run_id": run_id}) for run_id in ("one", "one", "two")]
    assert told == [True, False, True]
    assert {change.run.run_id for change in stage.start_runs().runs} == {"one", "two"}


def test_a_started_run_has_its_tasks_and_only_the_first_are_ready(stage: Stage) -> None:
    version = stage.dag("dag", bash("a", retries=2, priority_weight=7, pool_slots=2), bash("b", "a"))
    stage.create("dag", conf={"key": ["value", 1]}, logical_date=MONDAY)
    changes = stage.start_runs()
    (change,) = changes.runs
    assert (change.state, change.run.run_id, change.run.version) == (RunState.RUNNING, "run", version)
    assert change.run.conf == {"key": ["value", 1]}
    assert change.run.logical_date == MONDAY
    assert changes.scheduled == 1
    assert stage.states() == {"a": "scheduled", "b": None}
    a = stage.rows()["a"]
    assert (a.max_tries, a.priority_rank, a.pool_slots, a.try_number, a.up_total) == (3, -7, 2, 0, 0)
    run = stage.run_row()
    assert (run.state, run.unfinished, run.end_date) == ("running", 2, None)
    assert run.start_date == change.run.start_date


def test_starting_again_does_nothing(stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    stage.trigger("dag")
    assert stage.start_runs().runs == []
    assert stage.used() == {("dag_runs", "dag"): 1}


def test_runs_of_a_paused_dag_wait(stage: Stage) -> None:
    stage.dag("paused", bash("a"), paused=True)
    stage.dag("dag", bash("a"))
    stage.trigger("paused", "waits")
    stage.trigger("dag", "goes")
    assert stage.run_row("waits").state == "queued"
    assert stage.run_row("goes").state == "running"
    with stage.store.begin() as tx:
        tx.connection.execute(update(DagSchedule).values(is_paused=False))
    assert [change.run.run_id for change in stage.start_runs().runs] == ["waits"]


def test_runs_start_oldest_first_within_max_active_runs(stage: Stage) -> None:
    stage.dag("dag", bash("a"), max_active_runs=2)
    stage.dag("other", bash("a"))
    stage.trigger("dag", "one", "two", "three", "four")
    stage.trigger("other", "other")
    assert [stage.run_row(run_id).state for run_id in ("one", "two", "three", "four", "other")] == [
        "running", "running", "queued", "queued", "running",
    ]  # fmt: skip
    assert stage.used() == {("dag_runs", "dag"): 2, ("dag_runs", "other"): 1}
    stage.play()
    assert [change.run.run_id for change in stage.start_runs().runs] == ["three", "four"]


def test_start_runs_takes_no_more_than_its_limit_and_comes_to_every_dag(stage: Stage) -> None:
    stage.dag("many", bash("a"), max_active_runs=1)
    stage.dag("last", bash("a"))
    for run_id in ("one", "two", "three", "four"):
        stage.create("many", run_id)
    stage.create("last", "last")
    started = [change.run.run_id for _ in range(2) for change in stage.start_runs(limit=2).runs]
    assert started == ["one", "last"]


def test_a_run_without_tasks_succeeds_at_once(stage: Stage) -> None:
    stage.dag("dag")
    stage.create("dag")
    changes = stage.start_runs()
    assert [change.state for change in changes.runs] == [RunState.RUNNING, RunState.SUCCESS]
    run = stage.run_row()
    assert run.state == "success"
    assert run.end_date is not None
    assert stage.used() == {}


def test_a_run_whose_version_is_missing_is_told_and_holds_up_no_other(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.dag("dag", bash("a"))
    stage.create("dag", version="0" * 32)
    stage.create("dag", "good")
    stage.start_runs()
    assert [one.run.run_id for one in stage.claim()] == ["good"]
    assert f"version {'0' * 32} of DAG 'dag' is not in the metastore" in caplog.text


def test_a_run_keeps_the_version_it_was_created_with(stage: Stage) -> None:
    stage.dag("dag", bash("old"))
    stage.create("dag")
    with stage.store.begin() as tx:
        tx.connection.exec_driver_sql("DELETE FROM dag")
        tx.connection.exec_driver_sql("DELETE FROM dag_schedule")
        tx.connection.exec_driver_sql("DELETE FROM budget WHERE kind <> 'pool'")
    stage.dag("dag", bash("new"))
    stage.create("dag", "second")
    stage.start_runs()
    assert set(stage.states("run")) == {"old"}
    assert set(stage.states("second")) == {"new"}


def test_a_run_ends_with_its_last_task_and_gives_its_slot_back(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b"))
    stage.trigger("dag")
    tokens = stage.begin()
    assert stage.finish((tokens["a"], FAILURE)).runs == []
    assert stage.run_row().unfinished == 1
    (ended,) = stage.finish((tokens["b"], FAILURE)).runs
    assert (ended.state, ended.failed_tasks) == (RunState.FAILED, ("a", "b"))
    run = stage.run_row()
    assert (run.state, run.unfinished, run.end_date) == ("failed", 0, ended.end_date)
    assert stage.used() == {}


# -- what somebody asks for


def ask(stage: Stage, dag_id: str = "dag", **values: Any) -> str:
    return stage.store.run(lambda tx: creating.create_run(tx, dag_id, **values))


def test_a_run_that_is_asked_for_is_of_the_newest_version_and_of_now(stage: Stage) -> None:
    version = stage.dag("dag", bash("a"))
    run_id = ask(stage, conf={"key": 1}, triggered_by="somebody")
    run = stage.run_row(run_id)
    assert run_id == f"manual__{run.logical_date.isoformat()}"
    assert (run.state, run.version, run.conf, run.triggered_by) == ("queued", version, {"key": 1}, "somebody")
    assert run.logical_date == run.run_after == run.queued_at


def test_a_run_that_is_asked_for_twice_is_refused_in_words(stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    ask(stage, run_id="one", logical_date=MONDAY)
    with pytest.raises(Duplicate, match="'dag' already has a run 'one'"):
        ask(stage, run_id="one", logical_date=MONDAY + timedelta(days=1))
    with pytest.raises(Duplicate, match="or one with logical date 2026-11-23T00:00:00"):
        ask(stage, run_id="two", logical_date=MONDAY)


class AnswerLost(Store):
    """Commits, does not hear of it, and does the work again, as after a lost connection."""

    def run(self, work: Callable[[Tx], T]) -> T:
        with self.begin() as tx:
            work(tx)
        with self.begin() as tx:
            return work(tx)


@pytest.mark.parametrize("wanted", [{}, {"run_id": "mine"}, {"logical_date": MONDAY}])
def test_a_run_is_made_once_though_the_answer_to_its_commit_is_lost(stage: Stage, wanted: dict[str, Any]) -> None:
    stage.dag("dag", bash("a"))
    store = AnswerLost(stage.store.url.render_as_string(hide_password=False))
    run_id = trigger(store, "dag", **wanted)
    store.close()
    with stage.store.read() as connection:
        assert list(connection.execute(select(DagRun.run_id)).scalars()) == [run_id]
    with pytest.raises(Duplicate):
        trigger(stage.store, "dag", run_id=run_id)


def test_a_run_of_a_dag_that_is_not_there_is_refused_in_words(stage: Stage) -> None:
    stage.dag("gone", bash("a"))
    with stage.store.begin() as tx:
        tx.connection.execute(update(Dag).values(is_active=False))
    for dag_id in ("gone", "never"):
        with pytest.raises(NotFound, match=f"there is no DAG '{dag_id}'"):
            ask(stage, dag_id)


def test_a_long_queue_of_one_dag_does_not_hide_the_runs_of_others(stage: Stage) -> None:
    stage.dag("busy", bash("a"), max_active_runs=2)
    stage.dag("late", bash("a"))
    for number in range(5):
        stage.create("busy", f"run{number}")
    stage.create("late")
    started = [(change.run.dag_id, change.run.run_id) for change in stage.start_runs(limit=3).runs]
    assert started == [("busy", "run0"), ("busy", "run1"), ("late", "run")]


@pytest.mark.parametrize("run_id", ["manual__2026-11-23T14:00:00+00:00", "a~b@c,d.e-f_g", "x" * 250])
def test_a_run_may_be_named(stage: Stage, run_id: str) -> None:
    stage.dag("dag", bash("a"))
    assert ask(stage, run_id=run_id) == run_id


@pytest.mark.parametrize("run_id", ["", ".", "..", "a/b", "a b", "a\n", "é", "a%2Fb", "a?b", "x" * 251])
def test_a_run_id_that_no_path_or_url_could_hold_is_refused_in_words(stage: Stage, run_id: str) -> None:
    stage.dag("dag", bash("a"))
    with pytest.raises(Refused, match="a run id has 1 to 250 letters"):
        ask(stage, run_id=run_id)
