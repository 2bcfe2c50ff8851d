"""Reading XCom values."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from engine.metastore.tables import DagRun, TaskInstance, XCom


def pull(connection: Connection, dag_id: str, run_id: str, task_ids: Collection[str], key: str) -> dict[str, str]:
    """JSON texts that tasks of a run left under `key`, by task id."""
    statement = (
        select(TaskInstance.task_id, XCom.value)
        .join(XCom, XCom.ti_id == TaskInstance.id)
        .join(DagRun, DagRun.id == TaskInstance.run_pk)
        .where(
            DagRun.dag_id == dag_id,
            DagRun.run_id == run_id,
            TaskInstance.task_id.in_(sorted(task_ids)),
            XCom.key == key,
        )
    )
    return {row.task_id: row.value for row in connection.execute(statement)}


def pull_prior(connection: Connection, dag_id: str, run_id: str, task_ids: Collection[str], key: str) -> dict[str, str]:
    """JSON texts by task id: what each task left last, in that run or one of an earlier logical date."""
    this = select(DagRun.logical_date).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id).scalar_subquery()
    statement = (
        select(XCom.value)
        .join(TaskInstance, XCom.ti_id == TaskInstance.id)
        .join(DagRun, DagRun.id == TaskInstance.run_pk)
        .where(DagRun.dag_id == dag_id, DagRun.logical_date <= this, XCom.key == key)
        .order_by(DagRun.logical_date.desc())
        .limit(1)
    )
    found = {
        task_id: connection.execute(statement.where(TaskInstance.task_id == task_id)).scalar()
        for task_id in sorted(task_ids)
    }
    return {task_id: value for task_id, value in found.items() if value is not None}
