"""Pools: named slots that tasks of any DAG share, so that what they use is not overrun."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, func, select, update

from engine.metastore.budgets import POOL
from engine.metastore.database import Tx
from engine.metastore.errors import InUse, NotFound
from engine.metastore.states import TaskState
from engine.metastore.tables import Base, Budget, TaskInstance

DEFAULT_POOL: Final = "default_pool"
DEFAULT_SLOTS: Final = 128  # of it in a new metastore, as its first migration says

_BUDGET: Final = Base.metadata.tables[Budget.__tablename__]


class Pool(NamedTuple):
    """A pool now. `slots` is None where tasks wait for a pool that nobody has made."""

    name: str
    slots: int | None
    used: int
    waiting: int  # tasks that are ready for a slot


def list_pools(connection: Connection) -> list[Pool]:
    """Every pool that was made or is waited for, by name."""
    made = select(Budget.name, Budget.slots, Budget.used).where(Budget.kind == POOL)
    rows = {row.name: (row.slots, row.used) for row in connection.execute(made)}
    waiting = _waiting(connection)
    return [Pool(name, *rows.get(name, (None, 0)), waiting.get(name, 0)) for name in sorted({*rows, *waiting})]


def set_pool(tx: Tx, name: str, slots: int) -> bool:
    """Make a pool, or change how many slots it has; returns whether it is new.

    Fewer slots than are in use end nothing: the pool gives none until enough came back. Wake the scheduler afterwards.
    """
    row = {"kind": POOL, "name": name, "slots": slots, "used": 0}
    if tx.dialect.insert_new(tx.connection, _BUDGET, row):
        return True
    tx.connection.execute(update(Budget).where(Budget.kind == POOL, Budget.name == name).values(slots=slots))
    return False


def delete_pool(tx: Tx, name: str) -> None:
    """Remove a pool. Raises NotFound where there is none, InUse while tasks hold its slots or wait for them."""
    if name == DEFAULT_POOL:
        raise InUse(f"{DEFAULT_POOL} cannot be deleted: it is the pool of tasks that name none")
    if waiting := _waiting(tx.connection).get(name):
        raise InUse(f"tasks wait for slots of the pool {name!r} ({waiting}); let them run first")
    unused = delete(_BUDGET).where(Budget.kind == POOL, Budget.name == name, Budget.used == 0)
    if tx.connection.execute(unused).rowcount == 1:
        return
    used = tx.connection.scalar(select(Budget.used).where(Budget.kind == POOL, Budget.name == name))
    if used is None:
        raise NotFound(f"there is no pool {name!r}; see: windsock pools list")
    raise InUse(f"slots of the pool {name!r} are in use ({used}); delete it when their tasks have ended")


def slots_of(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The slots of those pools that are there."""
    made = select(Budget.name, Budget.slots).where(Budget.kind == POOL, Budget.name.in_(sorted(names)))
    return {row.name: row.slots for row in connection.execute(made)}


def unfit(slots: Mapping[str, int], needs: Mapping[str, int]) -> list[str]:
    """Sentences about pools that cannot give a task what it needs. Both by pool; `needs` are of the largest task."""
    told = []
    for name, need in sorted(needs.items()):
        if need <= slots.get(name, -1):
            continue
        there = f"has {slots[name]}" if name in slots else "is not there"
        what = "a slot" if need == 1 else f"{need} slots"
        how = f"windsock pools set {name} {need}"
        told.append(f"a task needs {what} of the pool {name!r}, which {there}, and waits until: {how}")
    return told


def _waiting(connection: Connection) -> dict[str, int]:
    ready = select(TaskInstance.pool, func.count()).where(TaskInstance.state == TaskState.SCHEDULED)
    return {row[0]: row[1] for row in connection.execute(ready.group_by(TaskInstance.pool))}
