"""Counting anew what is in use, by the leader.

Budgets cannot drift as long as every change of state goes through the transitions: what a task instance takes is
written in the transaction that makes it queued, and given back in the one that ends, releases or disowns it, each under
the lock of its row; a killed process or database takes both or neither. The audit is for what does not go through them:
a row that somebody deleted or changed by hand. Without it one lost slot would be lost for ever.
"""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Connection, func, select, update

from engine.metastore import budgets, leases
from engine.metastore.database import Tx
from engine.metastore.states import RunState, TaskState
from engine.metastore.tables import Budget, DagRun, TaskInstance


def in_use(connection: Connection) -> Counter[budgets.Key]:
    """What each budget must say, counted from the states."""
    held = [TaskState.QUEUED, TaskState.RUNNING]
    tasks = (
        select(TaskInstance.dag_id, TaskInstance.pool, TaskInstance.pool_slots, func.count())
        .where(TaskInstance.state.in_(held))
        .group_by(TaskInstance.dag_id, TaskInstance.pool, TaskInstance.pool_slots)
    )
    used: Counter[budgets.Key] = Counter()
    for dag_id, pool, slots, count in connection.execute(tasks):
        used[budgets.DAG_TASKS, dag_id] += count
        used[budgets.POOL, pool] += slots * count
    runs = select(DagRun.dag_id, func.count()).where(DagRun.state == RunState.RUNNING).group_by(DagRun.dag_id)
    for dag_id, count in connection.execute(runs):
        used[budgets.DAG_RUNS, dag_id] += count
    return used


def mend_budgets(tx: Tx, term: int) -> list[str]:
    """Set budgets right that differ from the states; returns a sentence for each. Only for the leader of `term`.

    1. Compare without locks; what differs may be half of somebody's commit.
    2. Lock the budgets that differ, in key order. Whoever has changed a state and not yet its budget waits for us, and
       its change is not visible; nobody takes anything meanwhile. So states and budgets now belong together.
    3. Count again, and write what still differs.
    """
    suspects = _differing(tx)
    if not suspects:
        return []
    leases.fence(tx, term)
    budgets.free_slots(tx, suspects)
    told = []
    for (kind, name), (used, right) in sorted(_differing(tx).items()):
        if (kind, name) in suspects:
            mend = update(Budget).where(Budget.kind == kind, Budget.name == name).values(used=right)
            tx.connection.execute(mend)
            told.append(f"budget {kind} {name!r} said {used} in use, and {right} are: set right")
    return told


def _differing(tx: Tx) -> dict[budgets.Key, tuple[int, int]]:
    right = in_use(tx.connection)
    rows = tx.connection.execute(select(Budget.kind, Budget.name, Budget.used))
    return {
        (row.kind, row.name): (row.used, right[row.kind, row.name])
        for row in rows
        if row.used != right[row.kind, row.name]
    }
