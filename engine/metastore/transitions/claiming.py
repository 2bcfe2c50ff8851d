"""Attempts are given to their owners: by priority, within pools, max_active_tasks and max_active_tis_per_dag."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Integer, Row, String, bindparam, case, cast, literal, or_, select, tuple_, update

from alerting.tables import BigKey
from engine.authoring.serialized import SerializedTask
from engine.metastore import budgets
from engine.metastore.advance import changed, locked
from engine.metastore.changes import Changes, Claimed
from engine.metastore.database import Tx
from engine.metastore.definitions import tasks_of
from engine.metastore.graphs import Graphs
from engine.metastore.one_of import one_of
from engine.metastore.runs import Runs
from engine.metastore.states import TaskState
from engine.metastore.tables import Base, Dag, DagRun, DagSchedule, TaskInstance

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
_DAG: Final = Base.metadata.tables[Dag.__tablename__]
_RUN: Final = Base.metadata.tables[DagRun.__tablename__]
_PAGE_PER_SLOT: Final = 4
_CLAIM_PAGES: Final = 6  # each twice as long as the one before
_BEFORE_ALL: Final = -(2**31)  # a priority rank before every other
CHARGE: Final = case((TI.c.sensing_since.is_(None), 1), else_=0)  # a rescheduled attempt goes on: no new one begins
_READY = (
    select(TI.c.id, TI.c.run_pk, TI.c.dag_id, TI.c.task_id, TI.c.map_index, TI.c.pool, TI.c.pool_slots)
    .add_columns(TI.c.try_number, TI.c.max_tries, TI.c.operator, TI.c.queue, TI.c.run_id, TI.c.scheduled_at)
    .add_columns(TI.c.priority_rank, TI.c.sensing_since)
    .where(
        TI.c.state == TaskState.SCHEDULED,
        tuple_(TI.c.priority_rank, TI.c.id) > tuple_(bindparam("rank", type_=Integer), bindparam("id", type_=BigKey)),
        TI.c.dag_id.not_in(bindparam("full_dags", expanding=True)),
        TI.c.pool.not_in(bindparam("full_pools", expanding=True)),
        # As in Airflow, a paused DAG's running tasks go on and no other is started.
        TI.c.dag_id.not_in(select(DagSchedule.dag_id).where(DagSchedule.is_paused.is_(True))),
    )
    .order_by(TI.c.priority_rank, TI.c.id)
    .limit(bindparam("limit"))
)
_IS_CURRENT: Final = (
    select(_DAG.c.version == _RUN.c.version)
    .where(_DAG.c.dag_id == TI.c.dag_id, _RUN.c.id == TI.c.run_pk)
    .correlate(TI)
    .scalar_subquery()
    .label("is_current")
)
_READY_IN_ORDER = _READY.add_columns(budgets.IN_ORDER, _IS_CURRENT)
_CLAIM = (
    update(TI)
    .where(one_of(TI.c.id, "ids"), TI.c.state == TaskState.SCHEDULED)
    .values(
        state=TaskState.QUEUED,
        token=literal("", String).concat(bindparam("b_batch", type_=String)).concat(cast(TI.c.id, String(20))),
        owner=bindparam("b_owner"),
        queued_at=bindparam("b_now"),
        try_number=TI.c.try_number + CHARGE,
        ready_at=None,
    )
)
_CLAIM_AND_START = _CLAIM.values(state=TaskState.RUNNING, start_date=bindparam("b_now"))
_START = (
    update(TI)
    .where(one_of(TI.c.token, "tokens"), TI.c.state == TaskState.QUEUED)
    .values(state=TaskState.RUNNING, start_date=bindparam("b_now"))
)


def claim(
    tx: Tx, graphs: Graphs, runs: Runs, owner: str, slots: int, *, starting: bool = False
) -> tuple[list[Claimed], Changes]:
    """Give up to `slots` ready task instances to `owner`, by priority, within pools and max_active_tasks.

    With `starting` they are running at once: for an owner that makes their processes as soon as this is committed.

    1. Lock a bounded page of ready rows, skipping what another scheduler holds: no more than there are slots where
       this transaction has given back what they may need, and a few times as many where they must be chosen from.
    2. Lock the budgets they need, choose in priority order what fits, and use the budgets. What fits into the slots
       that this transaction has given back needs no lock: it takes their place.
    3. One UPDATE moves the chosen ones to queued, with token and owner, and charges the attempt.
    4. With slots left, read on behind that page, leaving out the DAGs and pools that are full now: a crowd waiting
       for one of them holds up nobody else.
    """
    claimed: list[Claimed] = []
    changes = Changes()
    place = {"rank": _BEFORE_ALL, "id": 0}
    full: set[budgets.Key] = set()
    for page in range(_CLAIM_PAGES):
        given = budgets.given(tx)
        limit = slots if given.slots and page == 0 else _PAGE_PER_SLOT * slots * 2**page
        ready = _ready(tx, place, full, limit, given) if len(claimed) < slots else []
        if not ready:
            break
        chosen = _fitting(tx, graphs, runs, ready, slots - len(claimed), full, given)
        if chosen:
            claimed += _queue(tx, runs, owner, chosen, starting=starting)
            changes.tasks += [
                changed(row, TaskState.QUEUED, try_number=_charged(row), queued_at=tx.now) for row in chosen
            ]
        if len(ready) < limit:
            break
        place = {"rank": ready[-1].priority_rank, "id": ready[-1].id}
    return claimed, changes


def _ready(
    tx: Tx, place: Mapping[str, int], full: Collection[budgets.Key], limit: int, given: budgets.Given
) -> Sequence[Row[Any]]:
    parameters: dict[str, Any] = {
        **place,
        "limit": limit,
        "full_dags": sorted(name for kind, name in full if kind == budgets.DAG_TASKS),
        "full_pools": sorted(name for kind, name in full if kind == budgets.POOL),
    }
    statement = _READY
    if given.slots:
        statement, parameters = _READY_IN_ORDER, parameters | given.parameters
    return tx.connection.execute(locked(tx, statement, skip=True), parameters).all()


def _fitting(
    tx: Tx,
    graphs: Graphs,
    runs: Runs,
    ready: Sequence[Row[Any]],
    slots: int,
    full: set[budgets.Key],
    given: budgets.Given,
) -> list[Row[Any]]:
    """Choose what fits, by priority; adds the budgets that have nothing left to `full`."""
    tasks = tasks_of(tx, graphs, runs, ready)
    ready = [row for row in ready if row.id in tasks]
    if given.slots and ready and ready[0].in_order == len(given.slots):
        first = ready[:slots]
        if all(_is_unlimited(row, tasks[row.id]) for row in first) and _are_given(first, given):
            return first
    keys = {key for row in ready for key in ((budgets.POOL, row.pool), (budgets.DAG_TASKS, row.dag_id))}
    free = dict.fromkeys(keys, 0) | budgets.free_slots(tx, keys)
    per_task = _running_of_limited(tx, ready, tasks)
    chosen: list[Row[Any]] = []
    for row in ready:
        pool, dag = (budgets.POOL, row.pool), (budgets.DAG_TASKS, row.dag_id)
        limit = tasks[row.id].max_active_tis_per_dag
        busy = per_task[row.dag_id, row.task_id]
        if len(chosen) >= slots:
            break
        if free[pool] < row.pool_slots or free[dag] < 1 or (limit is not None and busy >= limit):
            continue
        free[pool] -= row.pool_slots
        free[dag] -= 1
        per_task[row.dag_id, row.task_id] += 1
        chosen.append(row)
    full.update(key for key, n in free.items() if n < 1)
    return chosen


def _is_unlimited(row: Row[Any], task: SerializedTask) -> bool:
    """Whether nobody counts how many attempts of the task are under way, for a run of a newer version neither."""
    return bool(row.is_current) and task.max_active_tis_per_dag is None


def _are_given(rows: Sequence[Row[Any]], given: budgets.Given) -> bool:
    """Whether all of them fit into what was given back."""
    needed = budgets.task_amounts((row.dag_id, row.pool, row.pool_slots) for row in rows)
    return all(n <= given.slots[key] for key, n in needed.items())


def _running_of_limited(
    tx: Tx, ready: Sequence[Row[Any]], tasks: Mapping[int, SerializedTask]
) -> Counter[tuple[str, str]]:
    """How many attempts of tasks with max_active_tis_per_dag are under way, over all runs.

    Read after the DAG's budget was locked: whoever claims a task that is counted holds that lock to its commit, so that
    two schedulers never count at the same time.
    """
    limited = {(row.dag_id, row.task_id) for row in ready if tasks[row.id].max_active_tis_per_dag is not None}
    counts: Counter[tuple[str, str]] = Counter()
    if limited:
        statement = select(TI.c.dag_id, TI.c.task_id).where(
            TI.c.state.in_([TaskState.QUEUED, TaskState.RUNNING]),
            or_(*((TI.c.dag_id == dag_id) & (TI.c.task_id == task_id) for dag_id, task_id in sorted(limited))),
        )
        counts.update((row.dag_id, row.task_id) for row in tx.connection.execute(statement))
    return counts


def _queue(tx: Tx, runs: Runs, owner: str, chosen: Sequence[Row[Any]], *, starting: bool) -> list[Claimed]:
    budgets.take(tx, budgets.task_amounts((row.dag_id, row.pool, row.pool_slots) for row in chosen))
    batch = secrets.token_hex(8) + "-"
    ids = [row.id for row in chosen]
    statement = _CLAIM_AND_START if starting else _CLAIM
    tx.connection.execute(statement, {"ids": ids, "b_batch": batch, "b_owner": owner, "b_now": tx.now})
    facts = runs.get(tx.connection, (row.run_pk for row in chosen))
    return [
        Claimed(
            row.id,
            facts[row.run_pk],
            row.task_id,
            row.map_index,
            f"{batch}{row.id}",
            _charged(row),
            row.max_tries,
            row.sensing_since,
        )
        for row in chosen
    ]


def _charged(row: Row[Any]) -> int:
    """The number of the attempt that a claim begins, or goes on with."""
    return int(row.try_number) + (row.sensing_since is None)


def claim_for_nobody(tx: Tx, runs: Runs, rows: Sequence[Row[Any]]) -> list[Claimed]:
    """Charge attempts of ready rows that the caller has locked and ends in this transaction: they never start."""
    return _queue(tx, runs, "", rows, starting=True)


def start(tx: Tx, tokens: Collection[str]) -> set[str]:
    """Confirm attempts before their processes are made; returns the tokens that still count: others must not run."""
    wanted = list(tokens)
    if not wanted:
        return set()
    moved = tx.connection.execute(_START, {"tokens": wanted, "b_now": tx.now}).rowcount
    if moved == len(wanted):
        return set(wanted)
    statement = select(TI.c.token).where(one_of(TI.c.token, "tokens"), TI.c.start_date == tx.now)
    return set(tx.connection.execute(statement, {"tokens": wanted}).scalars())
