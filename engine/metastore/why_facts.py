"""Reads what :mod:`engine.metastore.why` decides upon: a fixed number of indexed statements for any number of tasks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, and_, func, select
from sqlalchemy.orm import aliased

from engine.authoring.serialized import SerializedDag, SerializedTask, decode_dag
from engine.metastore import budgets
from engine.metastore.processes import find_dead
from engine.metastore.states import ProcessKind, RunState, TaskState
from engine.metastore.tables import (
    Budget,
    DagRun,
    DagSchedule,
    DagVersion,
    Process,
    TaskAttempt,
    TaskInstance,
)
from engine.metastore.why import Facts, Use

_HELD: Final = (TaskState.QUEUED, TaskState.RUNNING)
_MOST_USERS: Final = 20

_RUN: Final = (
    select(
        DagRun.id,
        DagRun.state,
        DagRun.lane,
        DagRun.deadline,
        DagSchedule.dag_id.label("known"),
        DagSchedule.is_paused,
        DagVersion.data,
    )
    .outerjoin(DagSchedule, DagSchedule.dag_id == DagRun.dag_id)
    .outerjoin(DagVersion, and_(DagVersion.dag_id == DagRun.dag_id, DagVersion.version == DagRun.version))
)
_EARLIER: Final = aliased(DagRun)
_TASKS: Final = (
    select(TaskInstance, TaskAttempt.error, Process.hostname, _EARLIER.run_id.label("earlier_run"))
    .outerjoin(
        TaskAttempt,
        and_(TaskAttempt.ti_id == TaskInstance.id, TaskAttempt.try_number == TaskInstance.try_number),
    )
    .outerjoin(Process, Process.id == TaskInstance.owner)
    .outerjoin(_EARLIER, _EARLIER.id == TaskInstance.past_run_pk)
)
_IN_USE: Final = (
    select(
        TaskInstance.dag_id,
        TaskInstance.task_id,
        TaskInstance.pool,
        func.count().label("tasks"),
        func.sum(TaskInstance.pool_slots).label("slots"),
    )
    .where(TaskInstance.state.in_(_HELD))
    .group_by(TaskInstance.dag_id, TaskInstance.task_id, TaskInstance.pool)
)


@dataclass(slots=True)
class _House:
    """What is the same for every task: who schedules, what is in use, what the limits are."""

    now: datetime
    schedulers: int = 0
    seen: datetime | None = None
    capacity: int = 0
    limits: dict[budgets.Key, Use] = field(default_factory=dict)
    pools: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    dags: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def use(self, kind: str, name: str, users: Mapping[str, int]) -> Use | None:
        limit = self.limits.get((kind, name))
        top = tuple(Counter(users).most_common(_MOST_USERS))
        return None if limit is None else Use(limit.used, limit.limit, top)


def facts_of_run(
    connection: Connection, dag_id: str, run_id: str, now: datetime, threshold: timedelta
) -> dict[str, Facts] | None:
    """The facts of each task of a run, also of one that has not begun; None where there is no such run."""
    run = connection.execute(_RUN.where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).first()
    if run is None:
        return None
    dag = _decoded(run.data)
    tasks = {task.task_id: task for task in dag.tasks} if dag else {}
    rows = {row.task_id: row for row in connection.execute(_whole(_TASKS, run.id))}
    states = {task_id: row.state for task_id, row in rows.items()}
    house = _look(connection, now, threshold)
    before = _queued_before(connection, dag_id, run.id) if run.state == RunState.QUEUED else 0
    return {
        task_id: _facts(house, dag_id, run, before, rows.get(task_id), task_id, tasks.get(task_id), states)
        for task_id in [*tasks, *(name for name in rows if name not in tasks)]
    }


def _whole(statement: Any, run_pk: int) -> Any:
    return statement.where(TaskInstance.run_pk == run_pk).order_by(TaskInstance.id)


def _decoded(data: str | None) -> SerializedDag | None:
    try:
        return decode_dag(data) if data else None
    except msgspec.MsgspecError:
        return None


def _look(connection: Connection, now: datetime, threshold: timedelta) -> _House:
    house = _House(now)
    dead = set(find_dead(connection, now, threshold, [ProcessKind.SCHEDULER]))
    kind = select(Process.id, Process.ended_at, Process.heartbeat_at, Process.detail)
    for row in connection.execute(kind.where(Process.kind == ProcessKind.SCHEDULER)):
        if row.ended_at is None and row.id not in dead:
            house.schedulers += 1
            house.capacity += int((row.detail or {}).get("parallelism", 0))
        house.seen = max(filter(None, (house.seen, row.heartbeat_at)))
    for row in connection.execute(select(Budget.kind, Budget.name, Budget.used, Budget.slots)):
        house.limits[row.kind, row.name] = Use(row.used, row.slots)
    for row in connection.execute(_IN_USE):
        house.pools[row.pool][f"{row.dag_id}.{row.task_id}"] += int(row.slots)
        house.dags[row.dag_id][row.task_id] += row.tasks
    return house


def _queued_before(connection: Connection, dag_id: str, run_pk: int) -> int:
    statement = select(func.count()).where(DagRun.dag_id == dag_id, DagRun.state == RunState.QUEUED, DagRun.id < run_pk)
    return connection.execute(statement).scalar_one()


def _facts(
    house: _House,
    dag_id: str,
    run: Any,
    before: int,
    row: Any,
    task_id: str,
    task: SerializedTask | None,
    states: Mapping[str, str | None],
) -> Facts:
    ti = row
    pool = ti.pool if ti else task.pool if task else "default_pool"
    busy = house.dags[dag_id]
    limit = task.max_active_tis_per_dag if task else None
    return Facts(
        now=house.now,
        dag_id=dag_id,
        task_id=task_id,
        run_state=run.state,
        schedulers=house.schedulers,
        scheduler_seen=house.seen,
        paused=bool(run.is_paused),
        met=run.known is not None,
        readable=task is not None,
        runs=house.use(budgets.DAG_RUNS, run.lane or dag_id, {}) or Use(0, 1),
        runs_before=before,
        state=ti.state if ti else None,
        try_number=ti.try_number if ti else 0,
        max_tries=ti.max_tries if ti else 1,
        started_at=ti.start_date if ti else None,
        ended_at=ti.end_date if ti else None,
        ready_at=ti.ready_at if ti else None,
        hostname=row.hostname if row else None,
        error=row.error if row else None,
        run_deadline=run.deadline,
        rule=str(task.trigger_rule) if task else "all_success",
        earlier_run=row.earlier_run if row else None,
        backfill=run.lane is not None,
        upstream=_upstream(task.upstream if task else (), states),
        pool=pool,
        pool_slots=ti.pool_slots if ti else 1,
        pool_use=house.use(budgets.POOL, pool, house.pools[pool]),
        dag_use=house.use(budgets.DAG_TASKS, dag_id, busy) or Use(0, 1),
        task_use=None if limit is None else Use(busy[task_id], limit),
        executors=Use(sum(sum(users.values()) for users in house.dags.values()), house.capacity or 2**31),
    )


def _upstream(names: Iterable[str], states: Mapping[str, str | None]) -> tuple[tuple[str, str | None], ...]:
    return tuple((name, states.get(name)) for name in names)
