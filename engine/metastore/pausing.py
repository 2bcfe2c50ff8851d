"""The pause switch of a DAG."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, exists, select, update

from engine.metastore.database import Tx
from engine.metastore.errors import NotFound
from engine.metastore.states import TaskState
from engine.metastore.tables import Base, Dag, DagSchedule, SlaDeadline, TaskInstance

_SCHEDULE: Final = Base.metadata.tables[DagSchedule.__tablename__]
_TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
_SLA: Final = Base.metadata.tables[SlaDeadline.__tablename__]
# The time for which a DAG is paused is no wait for a slot (engine.metastore.waiting).
_WAIT_ANEW: Final = (
    update(_TI)
    .where(_TI.c.dag_id == bindparam("dag"), _TI.c.state == TaskState.SCHEDULED)
    .values(scheduled_at=bindparam("b_now"))
)
# As sla_missed does while the pause lasts: where no scheduler looked, nothing would tell afterwards that there was one.
_CAME_DUE_IN_THE_PAUSE: Final = exists().where(
    _SCHEDULE.c.dag_id == _SLA.c.dag_id,
    _SCHEDULE.c.is_paused.is_(True),
    _SCHEDULE.c.paused_at.is_(None) | (_SCHEDULE.c.paused_at < _SLA.c.due_at),
)
_CANCEL: Final = (
    update(_SLA)
    .where(_SLA.c.dag_id == bindparam("dag"), _SLA.c.state == "open", _SLA.c.due_at <= bindparam("b_now"))
    .where(_CAME_DUE_IN_THE_PAUSE)
    .values(state="cancelled")
)


def set_paused(tx: Tx, dag_id: str, *, paused: bool) -> bool:
    """Pause a DAG or let it go on, also before the scheduler has met it; returns whether that changed anything.

    The deadlines that came due in the pause end with it. Wake the scheduler afterwards: queued runs may wait. Raises
    NotFound for a DAG that is not there.
    """
    if tx.connection.scalar(select(Dag.dag_id).where(Dag.dag_id == dag_id)) is None:
        raise NotFound(f"there is no DAG {dag_id!r}")
    new = {"dag_id": dag_id, "is_paused": False}
    tx.connection.execute(tx.dialect.insert_ignore(_SCHEDULE).values(new))
    if not paused:
        tx.connection.execute(_CANCEL, {"dag": dag_id, "b_now": tx.now})
    turn = update(_SCHEDULE).where(_SCHEDULE.c.dag_id == dag_id, _SCHEDULE.c.is_paused.is_(not paused))
    since = {"paused_at": tx.now} if paused else {"paused_at": None, "awaited_since": tx.now}
    changed = tx.connection.execute(turn.values(is_paused=paused, **since)).rowcount == 1
    if changed and not paused:
        tx.connection.execute(_WAIT_ANEW, {"dag": dag_id, "b_now": tx.now})
    return changed
