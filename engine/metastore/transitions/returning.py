"""Attempts are taken back from owners: from those that never started them, never got them, or died."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Select, bindparam, select, update

from engine.metastore import budgets
from engine.metastore.advance import locked
from engine.metastore.changes import Changes, Finished
from engine.metastore.database import Tx
from engine.metastore.definitions import tasks_of
from engine.metastore.graphs import Graphs
from engine.metastore.one_of import one_of
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.runs import Runs
from engine.metastore.states import TaskState
from engine.metastore.tables import Base, TaskInstance
from engine.metastore.transitions.claiming import CHARGE
from engine.metastore.transitions.finishing import HELD, finish

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
_RELEASE = (
    update(TI)
    .where(one_of(TI.c.token, "tokens"), TI.c.state == TaskState.QUEUED)
    .values(state=TaskState.SCHEDULED, token=None, owner=None, queued_at=None, try_number=TI.c.try_number - CHARGE)
)
_DISOWN = (
    update(TI)
    .where(one_of(TI.c.token, "tokens"), TI.c.state.in_([TaskState.QUEUED, TaskState.RUNNING]))
    .values(
        state=TaskState.SCHEDULED,
        token=None,
        owner=None,
        queued_at=None,
        start_date=None,
        try_number=TI.c.try_number - CHARGE,
    )
)
_OWNED: Final[Select[Any]] = (
    select(TI.c.id, TI.c.token, TI.c.state, TI.c.run_pk, TI.c.dag_id, TI.c.run_id, TI.c.task_id)
    .where(one_of(TI.c.owner, "owners"))
    .order_by(TI.c.id)
    .limit(bindparam("limit"))
)


def release(tx: Tx, tokens: Collection[str]) -> int:
    """Put claimed attempts back that were never started, without charge. Returns how many there were."""
    held = tx.connection.execute(locked(tx, HELD), {"tokens": list(tokens), "held_state": TaskState.QUEUED}).all()
    if held:
        tx.connection.execute(_RELEASE, {"tokens": [row.token for row in held]})
        budgets.give(tx, budgets.task_amounts((row.dag_id, row.pool, row.pool_slots) for row in held))
    return len(held)


def disown(tx: Tx, owner: str, known: Collection[str]) -> int:
    """Put back what was given to `owner` but never reached it, without charge: only the owner itself can know.

    `known` are the tokens that did reach it. Returns how many were put back.
    """
    statement = select(TI).where(TI.c.owner == owner, TI.c.ending.is_(None)).order_by(TI.c.id)
    lost = [row for row in tx.connection.execute(locked(tx, statement)) if row.token not in known]
    if lost:
        tx.connection.execute(_DISOWN, {"tokens": [row.token for row in lost]})
        budgets.give(tx, budgets.task_amounts((row.dag_id, row.pool, row.pool_slots) for row in lost))
    return len(lost)


def rescue(tx: Tx, graphs: Graphs, runs: Runs, owners: Collection[str], limit: int) -> tuple[int, Changes]:
    """Take back what dead owners held: unstarted attempts are released, running ones end as lost.

    Returns how many were released, and the changes. Call again until both are nothing.
    """
    if not owners:
        return 0, Changes()
    rows = tx.connection.execute(_OWNED, {"owners": sorted(owners), "limit": limit}).all()
    released = release(tx, [row.token for row in rows if row.state == TaskState.QUEUED])
    running = [row for row in rows if row.state == TaskState.RUNNING]
    known = tasks_of(tx, graphs, runs, running)  # what cannot be judged stays as it is, and is looked at again
    lost = [Finished(row.token, Outcome(Cause.LOST), hostname="") for row in running if row.id in known]
    return released, finish(tx, graphs, runs, lost)
