"""Runs that are due: following what the dag processor stored, and creating scheduled runs.

Both verbs are bounded batches inside the caller's transaction and may be run by any number of schedulers: rows are
claimed with locks, and the unique key (dag_id, logical_date) has the last word.
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, bindparam, exists, func, select, update

from engine.authoring.serialized import ContinuousSchedule, SerializedDag
from engine.authoring.timetables import DataInterval, NextRun, next_interval
from engine.metastore import budgets, sla
from engine.metastore.errors import NotFound
from engine.metastore.graphs import Graphs
from engine.metastore.runs import AT_LIMIT
from engine.metastore.states import RunState, RunType
from engine.metastore.store import Tx
from engine.metastore.tables import Base, Budget, Dag, DagRun, DagSchedule
from engine.metastore.transitions.creating import insert_run

log = logging.getLogger(__name__)

_SCHEDULE: Final = Base.metadata.tables[DagSchedule.__tablename__]
_BUDGET: Final = Base.metadata.tables[Budget.__tablename__]

_CHANGED = (
    select(
        Dag.dag_id,
        Dag.version,
        Dag.is_active,
        DagSchedule.dag_id.label("known"),
        DagSchedule.next_interval_start,
        DagSchedule.next_interval_end,
    )
    .outerjoin(DagSchedule, DagSchedule.dag_id == Dag.dag_id)
    .where(
        Dag.dag_id > bindparam("after"),
        (Dag.is_active.is_(True) & (DagSchedule.version.is_(None) | (DagSchedule.version != Dag.version)))
        | (Dag.is_active.is_(False) & DagSchedule.version.is_not(None)),
    )
    .order_by(Dag.dag_id)
    .limit(bindparam("limit"))
)
_DUE = (
    select(*_SCHEDULE.c)
    .where(
        _SCHEDULE.c.next_run_after <= bindparam("now"),
        _SCHEDULE.c.is_paused.is_(False),
        _SCHEDULE.c.dag_id.not_in(AT_LIMIT),
        exists().where(Dag.dag_id == _SCHEDULE.c.dag_id, Dag.is_active.is_(True)),  # not one that is being deleted
    )
    .order_by(_SCHEDULE.c.next_run_after)
    .limit(bindparam("limit"))
)
_EARLIEST: Final = select(func.min(DagSchedule.next_run_after)).where(DagSchedule.is_paused.is_(False))
_NEXT_DUE: Final = select(func.min(DagSchedule.next_run_after)).where(
    DagSchedule.is_paused.is_(False), DagSchedule.next_run_after > bindparam("now")
)


def sync_schedules(tx: Tx, graphs: Graphs, *, paused_at_creation: bool, limit: int) -> int:
    """Take over new and changed DAG versions: when they run next, and their limits. Returns how many there were.

    A version that cannot be read is told and left as it is; it counts for nothing and holds up no other.
    """
    taken, after = 0, ""
    while taken < limit:
        rows = tx.connection.execute(_CHANGED, {"after": after, "limit": limit - taken}).all()
        if not rows:
            break
        taken += sum(_take_over(tx, graphs, row, paused_at_creation) for row in rows)
        after = rows[-1].dag_id
    return taken


def _take_over(tx: Tx, graphs: Graphs, row: Any, paused_at_creation: bool) -> bool:
    if not row.is_active:
        _unfollow(tx, row.dag_id)
        return True
    dag = _read(tx, graphs, row.dag_id, row.version)
    if dag is not None:
        _follow(tx, dag, row, paused_at_creation)
    return dag is not None


def _read(tx: Tx, graphs: Graphs, dag_id: str, version: str) -> SerializedDag | None:
    """A DAG version, or None, told in the log, where this program cannot read it, as after a downgrade."""
    try:
        return graphs.get(tx.connection, dag_id, version).dag
    except NotFound as error:
        log.error("DAG %s is not scheduled until its file is parsed anew: %s", dag_id, error)
        return None


def _unfollow(tx: Tx, dag_id: str) -> None:
    values = {"version": None, "next_interval_start": None, "next_interval_end": None, "next_run_after": None}
    tx.connection.execute(update(DagSchedule).where(DagSchedule.dag_id == dag_id).values(values))


def _follow(tx: Tx, dag: SerializedDag, row: Any, paused_at_creation: bool) -> None:
    next_run = _next_run(dag, _last_scheduled(tx, dag.dag_id), tx.now)
    values = {"version": row.version, **_next_columns(next_run)}
    if row.known is None:
        paused = paused_at_creation if dag.is_paused_upon_creation is None else dag.is_paused_upon_creation
        new = {"dag_id": dag.dag_id, "is_paused": paused, "awaited_since": tx.now, **values}
        tx.connection.execute(tx.dialect.insert_ignore(_SCHEDULE).values(new))
    else:
        tx.connection.execute(update(DagSchedule).where(DagSchedule.dag_id == dag.dag_id).values(values))
    _set_limit(tx, budgets.DAG_TASKS, dag.dag_id, dag.max_active_tasks)
    _set_limit(tx, budgets.DAG_RUNS, dag.dag_id, dag.max_active_runs)


def _set_limit(tx: Tx, kind: str, name: str, slots: int) -> None:
    row = {"kind": kind, "name": name, "slots": slots, "used": 0}
    tx.connection.execute(tx.dialect.insert_ignore(_BUDGET).values(row))
    changed = update(Budget).where(Budget.kind == kind, Budget.name == name, Budget.slots != slots)
    tx.connection.execute(changed.values(slots=slots))


def _last_scheduled(tx: Tx, dag_id: str) -> DataInterval | None:
    statement = (
        select(DagRun.data_interval_start, DagRun.data_interval_end)
        .where(DagRun.dag_id == dag_id, DagRun.run_type == RunType.SCHEDULED)
        .order_by(DagRun.logical_date.desc())
        .limit(1)
    )
    row = tx.connection.execute(statement).first()
    return DataInterval(row.data_interval_start, row.data_interval_end) if row else None


def _next_run(dag: SerializedDag, last: DataInterval | None, now: datetime) -> NextRun | None:
    return next_interval(dag.schedule, dag.start_date, dag.end_date, dag.catchup, last, now)


def _next_columns(next_run: NextRun | None) -> dict[str, datetime | None]:
    return {
        "next_interval_start": next_run.interval.start if next_run else None,
        "next_interval_end": next_run.interval.end if next_run else None,
        "next_run_after": next_run.run_after if next_run else None,
    }


def create_due_runs(tx: Tx, graphs: Graphs, limit: int) -> int:
    """Queue one run for each DAG whose next interval is over, and move those DAGs on; returns how many runs.

    A DAG with max_active_runs queued or running runs stays as it is: it is looked at again when one of them ends.
    """
    statement = _DUE.with_for_update(skip_locked=True) if tx.dialect.locks_rows else _DUE
    due = tx.connection.execute(statement, {"now": tx.now, "limit": limit}).all()
    active = _active_runs(tx, [row.dag_id for row in due])  # behind the lock: another scheduler may have created some
    made: list[sla.Made] = []
    for row in due:
        dag = _read(tx, graphs, row.dag_id, row.version)
        if dag is None:
            _unfollow(tx, row.dag_id)  # sync_schedules() follows it again as soon as it can be read
        elif active[row.dag_id] < dag.max_active_runs:
            made += _create(tx, dag, row)
    sla.promise(tx, made)
    return len(made)


def _active_runs(tx: Tx, dag_ids: list[str]) -> Counter[str]:
    if not dag_ids:
        return Counter()
    statement = (
        select(DagRun.dag_id, func.count())
        .where(DagRun.dag_id.in_(dag_ids), DagRun.state.in_([RunState.QUEUED, RunState.RUNNING]), DagRun.lane.is_(None))
        .group_by(DagRun.dag_id)
    )
    return Counter({row[0]: row[1] for row in tx.connection.execute(statement)})


def _create(tx: Tx, dag: SerializedDag, row: Row[Any]) -> list[sla.Made]:
    last = DataInterval(row.next_interval_start, row.next_interval_end)
    if isinstance(dag.schedule, ContinuousSchedule):
        last = DataInterval(last.start, tx.now)  # it lasts until the run is made, however long that had to wait
    values = {
        "dag_id": dag.dag_id,
        "run_id": f"scheduled__{row.next_interval_start.isoformat()}",
        "run_type": RunType.SCHEDULED,
        "version": row.version,
        "logical_date": row.next_interval_start,
        "data_interval_start": last.start,
        "data_interval_end": last.end,
        "run_after": row.next_run_after,
    }
    created = insert_run(tx, values)
    moved = update(DagSchedule).where(
        DagSchedule.dag_id == dag.dag_id, DagSchedule.next_run_after == row.next_run_after
    )
    tx.connection.execute(moved.values(_next_columns(_next_run(dag, last, tx.now))))
    awaited = row.awaited_since is None or last.end >= row.awaited_since
    return [sla.Made(dag, values, awaited)] if created else []


def earliest(tx: Tx) -> datetime | None:
    """When the first scheduled run is due, or has been for some time. In the future: nobody need look for due runs."""
    return tx.connection.execute(_EARLIEST).scalar()


def next_due(tx: Tx) -> datetime | None:
    """When the next scheduled run is due, runs that are due already left out."""
    return tx.connection.execute(_NEXT_DUE, {"now": tx.now}).scalar()
