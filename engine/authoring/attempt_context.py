"""The plain records that travel to an attempt's process, from which the context of user code is built there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from engine.authoring.serialized import Schedule, SerializedDag, SerializedTask


class AttemptContext(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One attempt, or the run as a whole for a callback at DAG level (``task_id`` is then empty).

    `params` holds the DAG's params; the task's own and the run's `conf` are laid over them in the process.
    """

    dag_id: str
    task_id: str
    run_id: str
    run_type: str
    run_after: datetime
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 1
    logical_date: datetime | None = None
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    run_start_date: datetime | None = None
    queued_at: datetime | None = None
    start_date: datetime | None = None
    conf: dict[str, Any] = {}
    params: dict[str, Any] = {}
    log_url: str = ""
    hostname: str = ""
    state: str = "running"
    run_state: str = "running"


class DagFacts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``dag`` in the templates of an attempt that has not imported the DAG file."""

    dag_id: str
    fileloc: str
    schedule: Schedule
    description: str | None = None
    start_date: datetime | None = None
    tags: tuple[str, ...] = ()
    owner: str = "windsock"

    @property
    def folder(self) -> str:
        return self.fileloc.rpartition("/")[0]


class TaskFacts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``task`` in the templates of an attempt that has not imported the DAG file."""

    task_id: str
    task_type: str
    owner: str = "windsock"
    email: tuple[str, ...] = ()
    retries: int = 0
    pool: str = "default_pool"
    queue: str = "default"
    priority_weight: int = 1
    upstream_task_ids: tuple[str, ...] = ()


class BashFacts(msgspec.Struct, frozen=True):
    """What a Bash attempt's templates may know of DAG and task."""

    dag: DagFacts
    task: TaskFacts


def bash_facts(dag: SerializedDag, task: SerializedTask) -> BashFacts:
    """The facts that travel with a Bash attempt: small, whatever the size of the DAG."""
    return BashFacts(
        DagFacts(
            dag_id=dag.dag_id,
            fileloc=dag.fileloc,
            schedule=dag.schedule,
            description=dag.description,
            start_date=dag.start_date,
            tags=dag.tags,
            owner=dag.owner,
        ),
        TaskFacts(
            task_id=task.task_id,
            task_type=task.operator,
            owner=task.owner,
            email=task.email,
            retries=task.retries,
            pool=task.pool,
            queue=task.queue,
            priority_weight=task.priority_weight,
            upstream_task_ids=task.upstream,
        ),
    )


class XComAccess(Protocol):
    """How an attempt reaches the values that tasks of its run have left."""

    def pull(self, task_ids: tuple[str, ...] | None, key: str) -> Mapping[str, Any]:
        """task_id → value of those tasks (None: all of the run, the newest last) that have left `key`."""

    def push(self, key: str, value: Any) -> None:
        """Leave `value`, which JSON can hold, under `key` for other tasks."""


class NoXCom:
    """For contexts outside an attempt, such as callbacks: nothing to pull, nowhere to push."""

    def pull(self, task_ids: tuple[str, ...] | None, key: str) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def push(self, key: str, value: Any) -> None:
        """Drop it."""
