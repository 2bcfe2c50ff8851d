"""The pause switch of a DAG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Table, update

from engine.metastore.tables import DagSchedule

if TYPE_CHECKING:
    from engine.metastore.store import Store, Tx


def set_paused(store: Store, dag_id: str, *, paused: bool) -> bool:
    """Turn the switch; return whether it was the other way. The scheduler is woken, since queued runs may wait."""

    def work(tx: Tx) -> bool:
        table = DagSchedule.__table__
        assert isinstance(table, Table)  # noqa: S101  (declarative classes map tables)
        row = {"dag_id": dag_id, "is_paused": False}  # where the scheduler has not met the DAG yet
        tx.connection.execute(tx.dialect.insert_ignore(table).values(row))
        turn = update(DagSchedule).where(DagSchedule.dag_id == dag_id, DagSchedule.is_paused.is_(not paused))
        return tx.connection.execute(turn.values(is_paused=paused)).rowcount == 1

    changed = store.run(work)
    store.wake("scheduler")
    return changed
