"""Gauges from the metastore: pools, task states, runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, func, select

from engine.metastore import budgets
from engine.metastore.states import RunState, TaskState
from engine.metastore.tables import Budget, DagRun, DagSchedule, TaskInstance
from engine.metrics import Metrics

_OPEN_STATES: Final = (TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RUNNING)
_COUNTS = (
    select(
        TaskInstance.state,
        TaskInstance.queue,
        TaskInstance.dag_id,
        TaskInstance.task_id,
        TaskInstance.pool,
        TaskInstance.pool_slots,
        DagSchedule.is_paused,
        func.count().label("tasks"),
        func.sum(TaskInstance.pool_slots).label("slots"),
    )
    .outerjoin(DagSchedule, DagSchedule.dag_id == TaskInstance.dag_id)
    .where(TaskInstance.state.in_(_OPEN_STATES))
    .group_by(TaskInstance.state, TaskInstance.queue, TaskInstance.dag_id, TaskInstance.task_id)
    .group_by(TaskInstance.pool, TaskInstance.pool_slots, DagSchedule.is_paused)
)
_POOLS = select(Budget.name, Budget.slots, Budget.used).where(Budget.kind == budgets.POOL)
_RUNNING_RUNS = select(func.count()).where(DagRun.state == RunState.RUNNING)

Labels = tuple[tuple[str, str], ...]
Series = tuple[str, Labels]


@dataclass(slots=True)
class Gauges:
    """Reads and emits; a series whose rows are gone is sent once more, as 0."""

    metrics: Metrics
    executor: str  # class name
    _sent: dict[Series, float] = field(default_factory=dict)

    def emit(self, connection: Connection) -> None:
        """Three indexed statements over what is open now."""
        values: dict[Series, float] = {}
        pools = connection.execute(_POOLS).all()
        for pool in pools:
            labels: Labels = (("pool_name", pool.name),)
            values["pool.open_slots", labels] = pool.slots - pool.used
            for name in ("queued", "running", "scheduled"):
                values[f"pool.{name}_slots", labels] = 0
            values["pool.starving_tasks", labels] = 0
        free = {pool.name: pool.slots - pool.used for pool in pools}
        starving = waiting_tasks = 0
        for row in connection.execute(_COUNTS):
            ids: Labels = (("queue", row.queue), ("dag_id", row.dag_id), ("task_id", row.task_id))
            values[f"ti.{row.state}", ids] = values.get((f"ti.{row.state}", ids), 0) + row.tasks
            series: Series = (f"pool.{row.state}_slots", (("pool_name", row.pool),))
            values[series] = values.get(series, 0) + int(row.slots)
            is_scheduled = row.state == TaskState.SCHEDULED
            if is_scheduled and row.is_paused:
                continue  # it waits for a person, not for a slot
            waiting_tasks += row.tasks if row.state != TaskState.RUNNING else 0
            if is_scheduled and row.pool_slots > free.get(row.pool, 0):
                starving += row.tasks
                waiting: Series = ("pool.starving_tasks", (("pool_name", row.pool),))
                values[waiting] = values.get(waiting, 0) + row.tasks
        values["scheduler.tasks.starving", ()] = starving
        labels = (("status", "queued"), ("executor_class_name", self.executor))
        values["executor.queued_tasks", labels] = waiting_tasks
        values["scheduler.dagruns.running", ()] = connection.execute(_RUNNING_RUNS).scalar_one()
        for name, gone in self._sent.keys() - values.keys():
            self.metrics.gauge(name, 0, **dict(gone))
        self._sent = values
        self.repeat()

    def repeat(self) -> None:
        """Emit what was read last, for an exporter that may have been started since."""
        for (name, labels), value in self._sent.items():
            self.metrics.gauge(name, value, **dict(labels))

    def fall_silent(self) -> None:
        """Another scheduler leads: what was sent here counts no more, and is not even taken back."""
        self._sent.clear()
