"""Retries whose delay is over, and sensors that look again, become ready."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select, update

from engine.metastore.advance import locked
from engine.metastore.database import Tx
from engine.metastore.one_of import one_of
from engine.metastore.states import WAITING_TASK_STATES, TaskState
from engine.metastore.tables import Base, TaskInstance

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
_DUE = (
    select(TI.c.id)
    .where(TI.c.state.in_(WAITING_TASK_STATES), TI.c.ready_at <= bindparam("now"))
    .order_by(TI.c.ready_at)
    .limit(bindparam("limit"))
)
_PROMOTE = (
    update(TI)
    .where(one_of(TI.c.id, "ids"), TI.c.state.in_(WAITING_TASK_STATES))
    .values(state=TaskState.SCHEDULED, scheduled_at=bindparam("b_now"), ready_at=None)
)


def promote(tx: Tx, limit: int) -> int:
    """Make retries whose delay is over, and sensors that look again, ready; returns how many."""
    ids = tx.connection.execute(locked(tx, _DUE, skip=True), {"now": tx.now, "limit": limit}).scalars().all()
    if ids:
        tx.connection.execute(_PROMOTE, {"ids": ids, "b_now": tx.now})
    return len(ids)
