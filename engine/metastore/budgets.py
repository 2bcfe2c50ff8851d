"""Counted limits. A budget row moves only by conditional UPDATEs, so its `used` can never pass its `slots`.

A transaction that ends one task and starts another takes what it has just given back. So taking and giving are
gathered in the transaction and written once, at its end: one statement a budget, and none where they are equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, func, select, update

from engine.metastore.one_of import one_of
from engine.metastore.tables import Base, Budget

if TYPE_CHECKING:
    from engine.metastore.database import Tx

POOL: Final = "pool"
DAG_TASKS: Final = "dag_tasks"
DAG_RUNS: Final = "dag_runs"

Key = tuple[str, str]  # kind and name

_BUDGET: Final = Base.metadata.tables[Budget.__tablename__]
_LOCK = (
    select(Budget.kind, Budget.name, Budget.slots, Budget.used)
    .where(one_of(Budget.kind, "kinds"), one_of(Budget.name, "names"))
    .order_by(Budget.kind, Budget.name)
)
_LOCK_ROWS = _LOCK.with_for_update()
_POOLS_IN_ORDER, _DAGS_IN_ORDER = (
    select(func.count())
    .select_from(_BUDGET)
    .where(_BUDGET.c.kind == kind, one_of(_BUDGET.c.name, listed), _BUDGET.c.used <= _BUDGET.c.slots)
    .scalar_subquery()
    for kind, listed in ((POOL, "given_pools"), (DAG_TASKS, "given_dags"))
)
IN_ORDER: Final = (_POOLS_IN_ORDER + _DAGS_IN_ORDER).label("in_order")
"""How many of the budgets in :attr:`Given.parameters` there are, none of which has more used than it has slots."""
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
    statement = _LOCK_ROWS if tx.dialect.locks_rows else _LOCK
    rows = tx.connection.execute(statement, parameters)
    found = {(row.kind, row.name): row.slots - row.used for row in rows}
    return {key: free - tx.owed[key] for key, free in found.items() if key in wanted}


@dataclass(frozen=True, slots=True)
class Given:
    """What this transaction has given back to pools and DAGs and not written yet: those slots are its own.

    It may hand them on without a lock, since what is used stays the same. Not where a budget is gone or has become
    smaller than what is used, which a statement of its own would tell; :data:`IN_ORDER` goes with another one.
    """

    slots: Counter[Key]

    @property
    def parameters(self) -> dict[str, list[str]]:
        names = {kind: sorted(name for of, name in self.slots if of == kind) for kind in (POOL, DAG_TASKS)}
        return {"given_pools": names[POOL], "given_dags": names[DAG_TASKS]}


def given(tx: Tx) -> Given:
    """What could be handed on now."""
    return Given(Counter({key: -n for key, n in tx.owed.items() if n < 0 and key[0] != DAG_RUNS}))


def take(tx: Tx, amounts: Mapping[Key, int]) -> None:
    """Use slots that :func:`free_slots` found free in this transaction."""
    tx.owed.update(amounts)


def give(tx: Tx, amounts: Mapping[Key, int]) -> None:
    """Give slots back."""
    tx.owed.subtract(amounts)


def settle(tx: Tx, only: str = "") -> None:
    """Write what was taken and given back, in key order; of one kind only where it is to be read in this transaction.

    The transaction's end does it by itself. Raises RuntimeError where slots are taken that are not free.
    """
    for key in sorted(key for key in tx.owed if only in ("", key[0])):
        kind, name = key
        n = tx.owed.pop(key)
        if n < 0:
            tx.connection.execute(_GIVE, {"b_kind": kind, "b_name": name, "b_n": -n})
        elif n > 0 and tx.connection.execute(_TAKE, {"b_kind": kind, "b_name": name, "b_n": n}).rowcount != 1:
            raise RuntimeError(f"budget {kind} {name!r} has no {n} free slots although its row is locked")


def task_amounts(tasks: Iterable[tuple[str, str, int]]) -> Counter[Key]:
    """What attempts use, from (dag_id, pool, pool_slots)."""
    amounts: Counter[Key] = Counter()
    for dag_id, pool, slots in tasks:
        amounts[DAG_TASKS, dag_id] += 1
        amounts[POOL, pool] += slots
    return amounts
