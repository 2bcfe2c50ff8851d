"""Rows that make no sense are refused by the database itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import DBAPIError, StatementError

from engine.metastore.tables import Budget, DagRun, TaskInstance
from tests.contract.metastore.stage import Stage, bash

NOW = datetime(2026, 11, 23, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def task(stage: Stage) -> Stage:
    stage.dag("dag", bash("task"))
    stage.trigger("dag")
    return stage


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("ck_task_instance_end", {"state": "success", "end_date": None}),
        ("ck_task_instance_end", {"state": "scheduled", "end_date": NOW}),
        ("ck_task_instance_end", {"state": None, "end_date": NOW}),
        ("ck_task_instance_token", {"state": "queued", "token": None}),
        ("ck_task_instance_token", {"state": "running", "token": None}),
        ("ck_task_instance_token", {"state": "scheduled", "token": "t"}),
        ("ck_task_instance_token", {"state": None, "token": "t"}),
        ("ck_task_instance_token", {"state": "success", "end_date": NOW, "token": "t"}),
    ],
)
def test_an_impossible_task_instance_is_refused(task: Stage, constraint: str, values: dict) -> None:
    with pytest.raises(DBAPIError, match=constraint), task.store.begin() as tx:
        tx.connection.execute(update(TaskInstance).values(values))


@pytest.mark.parametrize(
    "values",
    [
        {"state": "success", "end_date": None},
        {"state": "running", "end_date": NOW},
        {"state": "queued", "end_date": NOW},
    ],
)
def test_an_impossible_run_is_refused(task: Stage, values: dict) -> None:
    with pytest.raises(DBAPIError, match="ck_dag_run_end"), task.store.begin() as tx:
        tx.connection.execute(update(DagRun).values(values))


def test_two_attempts_cannot_hold_one_token(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b"))
    stage.trigger("dag")
    with pytest.raises(DBAPIError, match="token"), stage.store.begin() as tx:
        tx.connection.execute(update(TaskInstance).values(state="queued", token="t", owner="o"))


def test_a_task_stands_in_a_run_once(task: Stage) -> None:
    row = {**task.rows()["task"]._mapping, "id": 4711}
    with pytest.raises(DBAPIError), task.store.begin() as tx:
        tx.connection.execute(insert(TaskInstance).values(row))


def test_a_task_instance_needs_its_run(task: Stage) -> None:
    row = {**task.rows()["task"]._mapping, "id": 4711, "run_pk": 4711}
    with pytest.raises(DBAPIError), task.store.begin() as tx:
        tx.connection.execute(insert(TaskInstance).values(row))


def test_a_deleted_run_takes_its_tasks_and_attempts_with_it(task: Stage) -> None:
    task.play()
    with task.store.begin() as tx:
        tx.connection.exec_driver_sql("DELETE FROM dag_run")
        assert tx.connection.execute(select(func.count()).select_from(TaskInstance)).scalar() == 0
    assert task.attempts() == []


def test_budgets_are_never_negative(stage: Stage) -> None:
    with pytest.raises(DBAPIError, match="ck_budget_used"), stage.store.begin() as tx:
        tx.connection.execute(update(Budget).values(used=-1))


def test_ids_differ_by_case_and_accent_on_every_database(stage: Stage) -> None:
    for dag_id in ("dag", "DAG", "dág"):
        stage.dag(dag_id, bash("a"))
        stage.trigger(dag_id, f"run of {dag_id}!")
    assert sorted(one.run.dag_id for one in stage.claim()) == sorted(["dag", "DAG", "dág"])


def test_a_naive_datetime_is_refused(task: Stage) -> None:
    with pytest.raises(StatementError, match="no time zone"), task.store.begin() as tx:
        tx.connection.execute(update(TaskInstance).values(ready_at=datetime(2026, 11, 23)))  # noqa: DTZ001


@pytest.mark.parametrize("offset", [0, 5.5, -8])
def test_an_instant_comes_back_as_it_went_in_with_microseconds_and_in_utc(task: Stage, offset: float) -> None:
    instant = NOW.astimezone(timezone(timedelta(hours=offset)))
    with task.store.begin() as tx:
        tx.connection.execute(update(TaskInstance).values(ready_at=instant))
    with task.store.read() as connection:
        back = connection.execute(select(TaskInstance.ready_at)).scalar_one()
        later = select(TaskInstance.id).where(TaskInstance.ready_at > instant - timedelta(microseconds=1))
        assert connection.execute(later).scalar() is not None
    assert back == NOW
    assert back.utcoffset() == timedelta(0)


def test_the_clock_is_the_databases_and_runs_forward(stage: Stage) -> None:
    with stage.store.begin() as tx:
        first = tx.now
    with stage.store.begin() as tx:
        second = tx.now
    assert first.tzinfo is not None
    assert first < second
    assert abs((second - datetime.now(UTC)).total_seconds()) < 60
