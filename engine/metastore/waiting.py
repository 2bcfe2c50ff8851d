"""``scheduler.task_queued_timeout``: attempts that nobody could start in time.

Unlike Airflow's queue, into which a task comes when it has its slot already, this is the whole wait of a ready task:
for a slot of its pool, of its DAG, of an executor. An attempt that waited for too long is charged and has failed, so
that the next try, or whoever is told, comes in time. The time for which its DAG is paused does not count, nor that for
which no scheduler was at work.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, select

from engine.authoring.serialized import SerializedTask
from engine.metastore.changes import Changes, Finished
from engine.metastore.database import Tx
from engine.metastore.errors import NotFound
from engine.metastore.graphs import Graphs
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.runs import Runs
from engine.metastore.states import TaskState
from engine.metastore.tables import Base, DagSchedule, TaskInstance
from engine.metastore.transitions import claiming, finishing
from engine.metastore.why import Reason, decide
from engine.metastore.why_facts import facts_of_ready

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
_EXPLAINED: Final = 20  # in one transaction; a crowd waits for one reason
_WAITS: Final = (
    (TI.c.state == TaskState.SCHEDULED)
    & TI.c.sensing_since.is_(None)
    & TI.c.dag_id.not_in(select(DagSchedule.dag_id).where(DagSchedule.is_paused.is_(True)))
)
_LATE: Final = (
    select(TI).where(_WAITS, TI.c.scheduled_at <= bindparam("before")).order_by(TI.c.id).limit(bindparam("limit"))
)
_OLDEST: Final = select(func.min(TI.c.scheduled_at)).where(_WAITS)


def oldest(tx: Tx) -> datetime | None:
    """Since when the task waits that has waited longest."""
    return tx.connection.execute(_OLDEST).scalar()


def expire_waiting(tx: Tx, graphs: Graphs, runs: Runs, timeout: timedelta, limit: int) -> Changes:
    """Let attempts fail that are ready for longer than `timeout`.

    1. Lock them; those that another scheduler claims at this moment are passed over.
    2. Claim them for nobody, which charges the attempt. 3. Finish them, with what they waited for as the reason.
    """
    statement = _LATE.with_for_update(skip_locked=True) if tx.dialect.locks_rows else _LATE
    rows = tx.connection.execute(statement, {"before": tx.now - timeout, "limit": limit}).all()
    if not rows:
        return Changes()
    reasons = [_reason(tx, graphs, runs, row, timeout) for row in rows[:_EXPLAINED]]
    reasons += [_sentence(timeout)] * (len(rows) - len(reasons))
    claimed = claiming.claim_for_nobody(tx, runs, rows)
    ended = [
        Finished(one.token, Outcome(Cause.QUEUED, error=reason), hostname="")
        for one, reason in zip(claimed, reasons, strict=True)
    ]
    return finishing.finish(tx, graphs, runs, ended)


def _reason(tx: Tx, graphs: Graphs, runs: Runs, row: Row[Any], timeout: timedelta) -> str:
    answer = decide(facts_of_ready(tx.connection, row, _task_of(tx, graphs, runs, row), tx.now))
    if answer.reason is Reason.NEXT:
        return _sentence(timeout)
    return f"{_sentence(timeout)}: {answer.sentence}"


def _task_of(tx: Tx, graphs: Graphs, runs: Runs, row: Row[Any]) -> SerializedTask | None:
    """What its DAG says of a task instance; None where that cannot be read."""
    run = runs.get(tx.connection, [row.run_pk])[row.run_pk]
    try:
        return graphs.get(tx.connection, row.dag_id, run.version).tasks[row.task_id]
    except NotFound:
        return None


def _sentence(timeout: timedelta) -> str:
    return f"waited longer for a slot than scheduler.task_queued_timeout of {timeout.total_seconds():g} s"
