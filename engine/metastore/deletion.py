"""Removing all that the metastore holds of a DAG, a bounded transaction after the other.

1. The first transaction locks the DAG's row, takes the DAG out of the schedule, and refuses while anything of it is
   queued or runs. Whoever makes a run reads the row under a lock: their run is seen here, or they find no active DAG.
   A scheduler that makes a run that is due holds the schedule's row until it is written.
2. What has a ``dag_id`` is deleted, table by table, what refers to others first; what refers to that goes with it.
   Messages that tell of other DAGs too go on without its alerts (:mod:`alerting.departures`).
3. The last takes its budgets and the DAG itself.

Steps 2 and 3 lock the DAG's row, too, and refuse where a file has brought it back, or something of its past was cleared
and runs: a slot that something holds is never deleted with it. That is looked at behind the locks of what is deleted.
Locks are taken in this order: the DAG, task instances, runs, budgets.

Whatever is killed or refused in between, the same again removes the rest. :func:`tables_of` is taken from the tables
themselves, so that a new one is not forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, delete, func, select, tuple_, update

from alerting import departures, troubles
from alerting.kinds import EventKind
from alerting.tables import alert_event
from engine.metastore import budgets
from engine.metastore.backfills import lane_of
from engine.metastore.database import Tx
from engine.metastore.errors import InUse, NotFound
from engine.metastore.states import RunState, TaskState
from engine.metastore.store import Store
from engine.metastore.tables import Backfill, Base, Budget, Dag, DagRun, DagSchedule, LogShipment, TaskInstance

AT_ONCE: Final = 500  # rows of one transaction, and what refers to them
_MOST_NAMED: Final = 5
_DAG: Final = Base.metadata.tables[Dag.__tablename__]
_SCHEDULE: Final = Base.metadata.tables[DagSchedule.__tablename__]
_BUDGET: Final = Base.metadata.tables[Budget.__tablename__]
_BACKFILL: Final = Base.metadata.tables[Backfill.__tablename__]
_SHIPMENT: Final = Base.metadata.tables[LogShipment.__tablename__]
_RUN: Final = Base.metadata.tables[DagRun.__tablename__]
_TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
_EVENT: Final = Base.metadata.tables[alert_event.name]


def tables_of() -> list[Table]:
    """The tables with a ``dag_id``, those that refer to others first; the DAG's own is the last."""
    found = [table for table in reversed(Base.metadata.sorted_tables) if "dag_id" in table.columns]
    return [*(table for table in found if table is not _DAG), _DAG]


def counts(connection: Connection, dag_id: str) -> dict[str, int]:
    """How many rows each table holds of a DAG; tables without any are left out."""
    numbers = {
        table.name: connection.execute(select(func.count()).where(_is_of(table, dag_id))).scalar_one()
        for table in tables_of()
    }
    return {name: number for name, number in numbers.items() if number}


def delete_dag(store: Store, dag_id: str, progress: Callable[[int], None] = lambda _: None) -> int:
    """Delete all of a DAG; returns how many rows with its dag_id there were, and tells `progress` after each step.

    Raises InUse while something of it is queued or runs, where it comes back meanwhile, and while a message is being
    sent that tells of other DAGs too; NotFound where nothing of it is there.
    """
    store.run(lambda tx: _close(tx, dag_id))
    deleted = 0
    for table in tables_of()[:-1]:
        while number := store.run(lambda tx, table=table: _delete_some(tx, table, dag_id)):  # type: ignore[misc]
            deleted += number
            progress(deleted)
    return deleted + store.run(lambda tx: _finish(tx, dag_id))


def file_of(connection: Connection, dag_id: str) -> str | None:
    """The file that defines it; None where none does."""
    return connection.execute(
        select(_DAG.c.fileloc).where(_DAG.c.dag_id == dag_id, _DAG.c.is_active.is_(True))
    ).scalar()


def forget_shipments(tx: Tx, folder: str) -> int:
    """Ship no more of the logs in this folder of the log folder; returns how many waited."""
    inside = _SHIPMENT.c.path.startswith(f"{folder}/", autoescape=True)
    return tx.connection.execute(delete(_SHIPMENT).where(inside)).rowcount


def _close(tx: Tx, dag_id: str) -> None:
    if not counts(tx.connection, dag_id):
        raise NotFound(f"there is no DAG {dag_id!r}, and nothing is left of one")
    _lock(tx, dag_id)
    tx.connection.execute(update(_DAG).where(_DAG.c.dag_id == dag_id).values(is_active=False, updated_at=tx.now))
    tx.connection.execute(delete(_SCHEDULE).where(_SCHEDULE.c.dag_id == dag_id))
    refuse_while_active(tx.connection, dag_id)  # behind both locks: what was made meanwhile is there by now


def _lock(tx: Tx, dag_id: str) -> Any:
    """The DAG's row, locked until the transaction ends; None where it is gone already."""
    statement = select(_DAG.c.is_active, _DAG.c.fileloc).where(_DAG.c.dag_id == dag_id)
    return tx.connection.execute(statement.with_for_update() if tx.dialect.locks_rows else statement).first()


def _refuse_if_back(tx: Tx, dag_id: str) -> None:
    """Raises InUse where the DAG has come back since it was closed; else it stays away until the transaction ends."""
    dag = _lock(tx, dag_id)
    if dag is not None and dag.is_active:
        raise InUse(
            f"{dag_id} has come back while it was deleted: {dag.fileloc} defines it. Some of its past is gone. Remove "
            f"the file, then delete the rest: windsock dags delete {dag_id}"
        )


def refuse_while_active(connection: Connection, dag_id: str) -> None:
    """Raises InUse while something of the DAG is queued or runs."""
    if active := _active_runs(connection, dag_id):
        more = f" and {len(active) - _MOST_NAMED} more" if len(active) > _MOST_NAMED else ""
        raise InUse(
            f"{dag_id} has runs that are queued or running: {', '.join(active[:_MOST_NAMED])}{more}. Wait for their "
            f"end, or end them: windsock dags set-state {dag_id} RUN failed"
        )


def _active_runs(connection: Connection, dag_id: str) -> Sequence[str]:
    """Runs that are not over, or in which an attempt still ends."""
    live = select(_RUN.c.run_id).where(_RUN.c.dag_id == dag_id, _RUN.c.state.in_([RunState.QUEUED, RunState.RUNNING]))
    ending = select(_TI.c.run_id).where(_TI.c.dag_id == dag_id, _TI.c.state.in_([TaskState.QUEUED, TaskState.RUNNING]))
    return sorted(connection.execute(live.union(ending)).scalars())


def _is_of(table: Table, dag_id: str) -> ColumnElement[bool]:
    """Through its runs where it refers to them: that is what is indexed."""
    by_run = table.columns.get("run_pk")
    if by_run is not None and by_run.foreign_keys:
        return by_run.in_(select(_RUN.c.id).where(_RUN.c.dag_id == dag_id))
    own: ColumnElement[bool] = table.c.dag_id == dag_id
    return own


def _delete_some(tx: Tx, table: Table, dag_id: str) -> int:
    _refuse_if_back(tx, dag_id)
    found = _some(tx, table, dag_id)
    refuse_while_active(tx.connection, dag_id)  # behind their locks: somebody may have cleared one just now
    if found and table is _BACKFILL:
        tx.connection.execute(delete(_BUDGET).where(_BUDGET.c.name.in_([lane_of(number) for (number,) in found])))
    if found and table is _EVENT and not departures.hand_over(tx.connection, tx.now, [number for (number,) in found]):
        raise InUse(
            f"a message about {dag_id} and other DAGs is being sent just now. Some of {dag_id} is gone. Delete "
            f"the rest in a minute: windsock dags delete {dag_id}"
        )
    if found:
        tx.connection.execute(delete(table).where(tuple_(*table.primary_key.columns).in_(found)))
    return len(found)


def _some(tx: Tx, table: Table, dag_id: str) -> list[Any]:
    """Keys of some rows of a DAG, locked. Read before they are deleted: MySQL deletes by no limited subquery."""
    keys = list(table.primary_key.columns)
    statement = select(*keys).where(_is_of(table, dag_id)).limit(AT_ONCE)
    if tx.dialect.locks_rows:
        statement = statement.with_for_update()
    return [tuple(row) for row in tx.connection.execute(statement)]


def _finish(tx: Tx, dag_id: str) -> int:
    _refuse_if_back(tx, dag_id)
    refuse_while_active(tx.connection, dag_id)
    named = (_BUDGET.c.name == dag_id) & _BUDGET.c.kind.in_([budgets.DAG_TASKS, budgets.DAG_RUNS])
    tx.connection.execute(delete(_BUDGET).where(named))
    troubles.end_one(tx.connection, EventKind.RUN_FAILED, dag_id)
    return tx.connection.execute(delete(_DAG).where(_DAG.c.dag_id == dag_id)).rowcount
