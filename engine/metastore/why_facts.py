"""Reads what :mod:`engine.metastore.why` decides upon: a fixed number of indexed statements for any number of tasks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, and_, bindparam, func, select
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
_LIMITS: Final = select(Budget.kind, Budget.name, Budget.used, Budget.slots)
_LIMITS_OF: Final = _LIMITS.where(
    Budget.kind.in_((budgets.POOL, budgets.DAG_TASKS)), Budget.name.in_(bindparam("names", expanding=True))
)
_AT_WORK: Final = select(Process.detail).where(Process.kind == ProcessKind.SCHEDULER, Process.ended_at.is_(None))
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

    def add_scheduler(self, detail: Mapping[str, Any] | None) -> None:
        self.schedulers += 1
        self.capacity += int((detail or {}).get("parallelism", 0))

    def add_limits(self, rows: Iterable[Row[Any]]) -> None:
        self.limits |= {(row.kind, row.name): Use(row.used, row.slots) for row in rows}

    def add_users(self, rows: Iterable[Row[Any]]) -> None:
        for row in rows:
            self.pools[row.pool][f"{row.dag_id}.{row.task_id}"] += int(row.slots)
            self.dags[row.dag_id][row.task_id] += row.tasks

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


def facts_of_ready(connection: Connection, row: Row[Any], task: SerializedTask | None, now: datetime) -> Facts:
    """What a task waits for that is ready in a running run, so that it lacks nothing but room. Three statements.

    For a scheduler, in whose transaction somebody's alert waits for the answer. `row` is the task instance, `task` what
    its DAG says of it, if that can be read.
    """
    house = _House(now)
    house.add_limits(connection.execute(_LIMITS_OF, {"names": [row.pool, row.dag_id]}))
    house.add_users(connection.execute(_IN_USE))
    for detail in connection.execute(_AT_WORK).scalars():
        house.add_scheduler(detail)
    return Facts(
        now=now,
        dag_id=row.dag_id,
        task_id=row.task_id,
        run_state=RunState.RUNNING,
        schedulers=max(1, house.schedulers),  # whoever asks is one
        readable=task is not None,
        state=row.state,
        try_number=row.try_number,
        max_tries=row.max_tries,
        **_room(house, row.dag_id, row.task_id, task, row.pool, row.pool_slots),
    )


def _room(
    house: _House, dag_id: str, task_id: str, task: SerializedTask | None, pool: str, pool_slots: int
) -> dict[str, Any]:
    """The facts that say whether there is room for a task."""
    limit = task.max_active_tis_per_dag if task else None
    busy = house.dags[dag_id]
    return {
        "pool": pool,
        "pool_slots": pool_slots,
        "pool_use": house.use(budgets.POOL, pool, house.pools[pool]),
        "dag_use": house.use(budgets.DAG_TASKS, dag_id, busy) or Use(0, 1),
        "task_use": None if limit is None else Use(busy[task_id], limit),
        "executors": Use(sum(sum(users.values()) for users in house.dags.values()), house.capacity or 2**31),
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
            house.add_scheduler(row.detail)
        house.seen = max(filter(None, (house.seen, row.heartbeat_at)))
    house.add_limits(connection.execute(_LIMITS))
    house.add_users(connection.execute(_IN_USE))
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
        **_room(house, dag_id, task_id, task, pool, ti.pool_slots if ti else 1),
    )


def _upstream(names: Iterable[str], states: Mapping[str, str | None]) -> tuple[tuple[str, str | None], ...]:
    return tuple((name, states.get(name)) for name in names)
