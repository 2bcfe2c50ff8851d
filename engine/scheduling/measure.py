"""From changes to metrics: what a committed transaction means in StatsD. Names and labels are the catalogue's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from engine.metastore.changes import Changes, Claimed, RunChange, TaskChange
from engine.metastore.outcome import Cause
from engine.metastore.states import RunState, RunType, TaskState
from engine.metrics import Metrics

_MOST_WAITING: Final = 10_000
_FINAL_TRY = (TaskState.SUCCESS, TaskState.FAILED, TaskState.UP_FOR_RETRY, TaskState.SKIPPED)


def measure(metrics: Metrics, changes: Changes) -> None:
    """Emit what one transaction changed; call it after the commit."""
    for task in changes.tasks:
        _measure_task(metrics, task)
    for run in changes.runs:
        _measure_run(metrics, run)
    if changes.late:
        metrics.incr("scheduler.late_finishes", len(changes.late))


def started(metrics: Metrics, change: TaskChange, now: datetime) -> None:
    """An attempt was started. Failure counters appear with zero, so that increase() sees the first failure."""
    ids = {"dag_id": change.dag_id, "task_id": change.task_id}
    metrics.incr("ti.start", **ids)
    metrics.incr("ti_failures", 0, **ids)
    metrics.incr("ti_successes", 0, **ids)
    if change.scheduled_at and change.queued_at:
        waited = (change.queued_at - change.scheduled_at).total_seconds()
        metrics.timing("task.scheduled_duration", waited, **ids, queue=change.queue)
        metrics.timing("task.queued_duration", (now - change.queued_at).total_seconds(), **ids, queue=change.queue)


class FirstStarts:
    """Notices the first task start of each run. A run whose start another scheduler saw is left out."""

    def __init__(self) -> None:
        self._waiting: set[int] = set()

    def measure(self, metrics: Metrics, changes: Changes, claimed: Sequence[Claimed], now: datetime) -> None:
        """Emit what the runs waited for their first task."""
        started = [change.run.id for change in changes.runs if change.state == RunState.RUNNING]
        self._waiting = set(sorted(self._waiting.union(started))[-_MOST_WAITING:])  # others may close the rest
        for run in {one.run.id: one.run for one in claimed}.values():
            if run.id not in self._waiting:
                continue
            self._waiting.discard(run.id)
            labels = {"dag_id": run.dag_id, "run_type": run.run_type}
            metrics.timing("dagrun.first_task_start_delay", (now - run.queued_at).total_seconds(), **labels)
            if run.run_type == RunType.SCHEDULED and not run.clears:
                delay = (now - run.run_after).total_seconds()
                metrics.timing("dagrun.first_task_scheduling_delay", delay, **labels)
        self._waiting.difference_update(change.run.id for change in changes.runs if change.end_date)


def _measure_task(metrics: Metrics, change: TaskChange) -> None:
    if change.state not in _FINAL_TRY or change.outcome is None:
        return
    ids = {"dag_id": change.dag_id, "task_id": change.task_id}
    metrics.incr("ti.finish", **ids, state=change.state)
    if change.start_date and change.end_date:
        metrics.timing("task.duration", (change.end_date - change.start_date).total_seconds(), **ids)
    if change.state == TaskState.SUCCESS:
        metrics.incr("ti_successes", **ids)
        metrics.incr("operator_successes", **ids, operator_name=change.operator)
    elif change.state != TaskState.SKIPPED:
        metrics.incr("ti_failures", **ids)
        metrics.incr("operator_failures", **ids, operator_name=change.operator)
    if change.outcome.cause == Cause.LOST:
        metrics.incr("task_instances_without_heartbeats_killed", **ids)
    if change.outcome.cause == Cause.SIGNAL:
        metrics.incr("scheduler.tasks.killed_externally", **ids)


def _measure_run(metrics: Metrics, change: RunChange) -> None:
    run = change.run
    for operator, n in Counter(change.created).items():
        labels = {"dag_id": run.dag_id, "run_type": run.run_type, "task_type": operator}
        metrics.incr("task_instance_created", n, **labels)
    if change.state == RunState.RUNNING and run.run_type == RunType.SCHEDULED and not run.clears:
        delay = (run.start_date - run.run_after).total_seconds()
        metrics.timing("dagrun.schedule_delay", delay, dag_id=run.dag_id)
    if change.end_date and change.state in (RunState.SUCCESS, RunState.FAILED):
        seconds = (change.end_date - run.start_date).total_seconds()
        labels = {"dag_id": run.dag_id, "run_type": run.run_type}
        metrics.timing(f"dagrun.duration.{change.state}", seconds, **labels)
