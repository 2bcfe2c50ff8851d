"""Counted limits. A budget row moves only by conditional UPDATEs, so its `used` can never pass its `slots`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import bindparam, select, update

from engine.metastore.database import Tx
from engine.metastore.tables import Base, Budget

POOL: Final = "pool"
DAG_TASKS: Final = "dag_tasks"
DAG_RUNS: Final = "dag_runs"

Key = tuple[str, str]  # kind and name

_BUDGET: Final = Base.metadata.tables[Budget.__tablename__]
_LOCK = (
    select(Budget.kind, Budget.name, Budget.slots, Budget.used)
    .where(Budget.kind.in_(bindparam("kinds", expanding=True)), Budget.name.in_(bindparam("names", expanding=True)))
    .order_by(Budget.kind, Budget.name)
)
_TAKE = (
    update(_BUDGET)
    .where(
        Budget.kind == bindparam("b_kind"),
        Budget.name == bindparam("b_name"),
        Budget.used + bindparam("b_n") <= Budget.slots,
    )
    .values(used=Budget.used + bindparam("b_n"))
)
_GIVE = (
    update(_BUDGET)
    .where(Budget.kind == bindparam("b_kind"), Budget.name == bindparam("b_name"))
    .values(used=Budget.used - bindparam("b_n"))
)


def free_slots(tx: Tx, keys: Iterable[Key]) -> dict[Key, int]:
    """Lock budgets, in key order, and tell what is free in each; keys without a row are left out."""
    wanted = set(keys)
    if not wanted:
        return {}
    parameters = {"kinds": sorted({kind for kind, _ in wanted}), "names": sorted({name for _, name in wanted})}
    statement = _LOCK.with_for_update() if tx.dialect.locks_rows else _LOCK
    rows = tx.connection.execute(statement, parameters)
    return {(row.kind, row.name): row.slots - row.used for row in rows if (row.kind, row.name) in wanted}


def take(tx: Tx, amounts: Mapping[Key, int]) -> None:
    """Use slots that :func:`free_slots` found free in this transaction. Raises RuntimeError where one is not."""
    for (kind, name), n in sorted(amounts.items()):
        result = tx.connection.execute(_TAKE, {"b_kind": kind, "b_name": name, "b_n": n})
        if result.rowcount != 1:
            raise RuntimeError(f"budget {kind} {name!r} has no {n} free slots although its row is locked")


def give(tx: Tx, amounts: Mapping[Key, int]) -> None:
    """Give slots back."""
    for (kind, name), n in sorted(amounts.items()):
        if n:
            tx.connection.execute(_GIVE, {"b_kind": kind, "b_name": name, "b_n": n})


def task_amounts(tasks: Iterable[tuple[str, str, int]]) -> Counter[Key]:
    """What attempts use, from (dag_id, pool, pool_slots)."""
    amounts: Counter[Key] = Counter()
    for dag_id, pool, slots in tasks:
        amounts[DAG_TASKS, dag_id] += 1
        amounts[POOL, pool] += slots
    return amounts
