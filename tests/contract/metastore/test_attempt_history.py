"""How long a task took lately, as a mail shows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from engine.metastore import attempt_history
from engine.metastore.store import Store
from engine.metastore.tables import TaskAttempt, TaskInstance
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def ran(stage: Stage, count: int, dag_id: str = "dag") -> None:
    """Runs of the DAG; the attempts in the n-th take n seconds, and the third fails."""
    for number in range(1, count + 1):
        stage.create(dag_id, f"{dag_id}_{number}")
        stage.start_runs()
        stage.play({"t": FAILURE if number == 3 else SUCCESS})
        with stage.store.begin() as tx:
            ids = select(TaskInstance.id).where(TaskInstance.run_id == f"{dag_id}_{number}")
            times = {"start_date": BEGIN, "end_date": BEGIN + timedelta(seconds=number)}
            tx.connection.execute(update(TaskAttempt).where(TaskAttempt.ti_id.in_(ids)).values(**times))


def seconds(store: Store, dag_id: str = "dag", task_id: str = "t", count: int = 30) -> list[float]:
    with store.read() as connection:
        return [attempt.seconds for attempt in attempt_history.latest(connection, dag_id, task_id, count=count)]


def test_the_last_attempts_come_oldest_first_and_say_which_failed(stage: Stage, store: Store) -> None:
    stage.dag("dag", bash("t"), bash("other"))
    ran(stage, 5)
    assert seconds(store) == [1, 2, 3, 4, 5]
    assert seconds(store, count=2) == [4, 5]
    with store.read() as connection:
        assert [attempt.failed for attempt in attempt_history.latest(connection, "dag", "t")] == [
            False,
            False,
            True,
        ] + [False] * 2


def test_other_dags_and_tasks_do_not_count(stage: Stage, store: Store) -> None:
    for dag_id in ("dag", "another"):
        stage.dag(dag_id, bash("t"))
        ran(stage, 2, dag_id)
    assert seconds(store) == [1, 2]
    assert seconds(store, task_id="nosuch") == []
    assert seconds(store, dag_id="nosuch") == []
