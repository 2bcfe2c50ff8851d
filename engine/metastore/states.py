"""The states of task instances, runs and processes, and which of them are final."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class TaskState(StrEnum):
    """State of a task instance. Before its first attempt is due a task instance has none (NULL in the metastore)."""

    SCHEDULED = "scheduled"  # its upstream allows it; claim() moves it on as soon as the limits do
    QUEUED = "queued"  # claimed: has a token and an owner, and its attempt is charged; start() or release() next
    RUNNING = "running"  # its owner confirmed the token and forks the process; finish() or rescue() next
    SUCCESS = "success"
    FAILED = "failed"
    UP_FOR_RETRY = "up_for_retry"  # waits until ready_at; promote() makes it scheduled again
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    UP_FOR_RESCHEDULE = "up_for_reschedule"  # a sensor that gave its slot back; waits until ready_at
    REMOVED = "removed"  # the task left the DAG file


class RunState(StrEnum):
    """State of a DAG run."""

    QUEUED = "queued"  # waits for max_active_runs; start_runs() moves it on
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class RunType(StrEnum):
    """Who asked for the run."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    BACKFILL = "backfill"


class ProcessKind(StrEnum):
    """A long-lived process that keeps a heartbeat row."""

    SCHEDULER = "scheduler"
    SUPERVISOR = "supervisor"
    DAG_PROCESSOR = "dag_processor"
    NOTIFIER = "notifier"
    LOG_SHIPPER = "log_shipper"
    WEBSERVER = "webserver"


FINAL_TASK_STATES: Final = frozenset(
    {
        TaskState.SUCCESS,
        TaskState.FAILED,
        TaskState.SKIPPED,
        TaskState.UPSTREAM_FAILED,
        TaskState.REMOVED,
    }
)
WAITING_TASK_STATES: Final = (TaskState.UP_FOR_RETRY, TaskState.UP_FOR_RESCHEDULE)  # for a time; promote() is next
FINAL_RUN_STATES: Final = frozenset({RunState.SUCCESS, RunState.FAILED})
