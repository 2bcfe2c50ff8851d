"""How long a DAG's last runs and their tasks took, and how the tasks of some runs stand.

What a person marked says nothing of how long it takes, and neither does the run that it is in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select

from engine.metastore.forecast import History, Seen
from engine.metastore.marks import IS_NO_MEASURE, LAST_ATTEMPT
from engine.metastore.states import RunState, TaskState
from engine.metastore.tables import DagRun, TaskAttempt, TaskInstance

_RUNS: Final = (
    select(DagRun.id, DagRun.start_date, DagRun.end_date)
    .where(DagRun.dag_id == bindparam("dag"), DagRun.state == RunState.SUCCESS)
    .order_by(DagRun.end_date.desc())
    .limit(bindparam("limit"))
)
_TASKS: Final = (
    select(TaskInstance.run_pk, TaskInstance.task_id, TaskInstance.state, TaskInstance.scheduled_at)
    .add_columns(TaskInstance.start_date, TaskInstance.end_date, TaskInstance.ready_at, TaskInstance.sensing_since)
    .add_columns(IS_NO_MEASURE.label("is_no_measure"))
    .outerjoin(TaskAttempt, LAST_ATTEMPT)
    .where(TaskInstance.run_pk.in_(bindparam("runs", expanding=True)))
)
_NO_MEASURE: Final = (
    select(TaskInstance.run_pk)
    .outerjoin(TaskAttempt, LAST_ATTEMPT)
    .where(TaskInstance.run_pk.in_(bindparam("runs", expanding=True)), IS_NO_MEASURE)
    .distinct()
)


def last_durations(connection: Connection, dag_id: str, limit: int) -> History:
    """Of the last successful runs, for each task: seconds from when it was ready to its end; 0 where it was skipped."""
    runs = connection.execute(_RUNS, {"dag": dag_id, "limit": limit}).scalars().all()
    return durations(seen_of(connection, runs).values())


def last_runtimes(connection: Connection, dag_id: str, limit: int) -> list[timedelta]:
    """Of the last successful runs, the latest first. One in which a person marked something counts for nothing."""
    runs = connection.execute(_RUNS, {"dag": dag_id, "limit": limit}).all()
    ids = {"runs": [run.id for run in runs]}
    left_out = set(connection.execute(_NO_MEASURE, ids).scalars()) if runs else set()
    return [run.end_date - run.start_date for run in runs if run.id not in left_out and run.start_date and run.end_date]


def durations(runs: Iterable[dict[str, Seen]]) -> History:
    """The same of runs that were read already."""
    took: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for task_id, seen in run.items():
            if seen.is_no_measure:
                continue
            if seen.state == TaskState.SKIPPED:
                took[task_id].append(0.0)
            elif seen.state == TaskState.SUCCESS and seen.began_at and seen.ended_at:
                took[task_id].append((seen.ended_at - seen.began_at).total_seconds())
    return took


def seen_of(connection: Connection, run_pks: Collection[int]) -> dict[int, dict[str, Seen]]:
    """How each task of these runs stands, by run and task. One statement."""
    runs: dict[int, dict[str, Seen]] = {run_pk: {} for run_pk in run_pks}
    if run_pks:
        for row in connection.execute(_TASKS, {"runs": sorted(run_pks)}):
            runs[row.run_pk][row.task_id] = Seen(
                row.state, _began(row), row.end_date, row.ready_at, bool(row.is_no_measure)
            )
    return runs


def _began(row: Row[Any]) -> datetime | None:
    """When it was ready. A sensor that gave its slot back has become ready many times: the first counts."""
    return min(filter(None, (row.scheduled_at, row.start_date, row.sensing_since)), default=None)
