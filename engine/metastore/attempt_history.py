"""How long a task took lately: what a mail about it shows as a picture."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, select

from engine.metastore.states import TaskState
from engine.metastore.tables import Base, DagRun, TaskAttempt, TaskInstance

_RUNS_LOOKED_AT: Final = 60  # a task that was skipped or never ran in many of them shows fewer attempts
_RUN: Final = Base.metadata.tables[DagRun.__tablename__]
_TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
_ATTEMPT: Final = Base.metadata.tables[TaskAttempt.__tablename__]
_LATEST: Final = (
    select(_RUN.c.id)
    .where(_RUN.c.dag_id == bindparam("dag_id"))
    .order_by(_RUN.c.id.desc())
    .limit(_RUNS_LOOKED_AT)
    .subquery("latest")
)
_ATTEMPTS: Final = (  # by ix_dag_run_dag, uq_task_instance_key and the attempts' primary key
    select(_ATTEMPT.c.start_date, _ATTEMPT.c.end_date, _ATTEMPT.c.state)
    .join(_TI, _TI.c.id == _ATTEMPT.c.ti_id)
    .join(_LATEST, _LATEST.c.id == _TI.c.run_pk)
    .where(_TI.c.task_id == bindparam("task_id"), _TI.c.map_index == bindparam("map_index"))
    .order_by(_ATTEMPT.c.end_date.desc())
    .limit(bindparam("count"))
)
_FAILED: Final = (TaskState.FAILED, TaskState.UP_FOR_RETRY)


class Attempt(NamedTuple):
    """One that has ended."""

    seconds: float
    failed: bool


def latest(connection: Connection, dag_id: str, task_id: str, map_index: int = -1, count: int = 30) -> list[Attempt]:
    """The last attempts of the task that have ended, the oldest first."""
    named = {"dag_id": dag_id, "task_id": task_id, "map_index": map_index, "count": count}
    rows = connection.execute(_ATTEMPTS, named).all()
    return [Attempt((end - start).total_seconds(), state in _FAILED) for start, end, state in reversed(rows)]
