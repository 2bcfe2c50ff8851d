"""What the scheduler tells an attempt about itself: plain data from which the template context is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from engine.authoring.serialized import NoSchedule, Schedule, SerializedDag, SerializedTask

# What a task that triggers a run does with one that somebody else made: "clear" lets it run again; "take" is what it
# asks later, when it has cleared it and waits for its end.
ExistingRun = Literal["refuse", "clear", "take"]


class DagFacts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``dag`` in the templates of an attempt that has not imported the DAG file."""

    dag_id: str
    fileloc: str = ""
    schedule: Schedule = NoSchedule()
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
    task_type: str = "BashOperator"
    owner: str = "windsock"
    email: tuple[str, ...] = ()
    retries: int = 0
    pool: str = "default_pool"
    queue: str = "default"
    priority_weight: int = 1
    upstream_task_ids: tuple[str, ...] = ()


class AttemptContext(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one task of one run. Times are aware; `params` are the DAG's with the run's conf laid over them.

    `sensing_since` is when a rescheduled attempt first started. `dag` and `task` travel with Bash attempts
    (:func:`bash_facts`), which do without the DAG file.
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    try_number: int
    max_tries: int
    run_type: str
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    run_after: datetime
    run_start_date: datetime | None
    queued_at: datetime
    conf: dict[str, Any]
    params: dict[str, Any]
    start_date: datetime | None
    log_url: str
    hostname: str
    sensing_since: datetime | None = None
    state: str = "running"
    run_state: str = "running"
    dag: DagFacts | None = None
    task: TaskFacts | None = None


def bash_facts(dag: SerializedDag, task: SerializedTask) -> tuple[DagFacts, TaskFacts]:
    """What a Bash attempt's templates may know of DAG and task: small, whatever the size of the DAG."""
    dag_facts = DagFacts(
        dag_id=dag.dag_id,
        fileloc=dag.fileloc,
        schedule=dag.schedule,
        description=dag.description,
        start_date=dag.start_date,
        tags=dag.tags,
        owner=dag.owner,
    )
    task_facts = TaskFacts(
        task_id=task.task_id,
        task_type=task.operator,
        owner=task.owner,
        email=task.email,
        retries=task.retries,
        pool=task.pool,
        queue=task.queue,
        priority_weight=task.priority_weight,
        upstream_task_ids=task.upstream,
    )
    return dag_facts, task_facts


class XComAccess(Protocol):
    """How an attempt reaches the values that tasks have left."""

    def pull(
        self,
        task_ids: Sequence[str],
        key: str = "return_value",
        *,
        dag_id: str | None = None,
        run_id: str | None = None,
        prior: bool = False,
    ) -> Mapping[str, Any]:
        """task_id → value, of those tasks that have left `key`; by default in the attempt's own run.

        With `prior` also in runs of earlier logical dates: of each task the newest.
        """

    def run_states(self, dag_id: str, logical_dates: Sequence[datetime], task_ids: Sequence[str]) -> Mapping[str, Any]:
        """``states`` of the runs of these dates, or of tasks in them; ``missing``: what the metastore does not know."""

    def trigger(
        self,
        dag_id: str,
        run_id: str,
        *,
        origin: str,
        logical_date: datetime | None,
        conf: dict[str, Any],
        anew: bool,
        existing: ExistingRun,
    ) -> Mapping[str, Any]:
        """Make a run, once per `origin` and `run_id`: ``run_id`` and ``state``, or ``error`` (and ``exists``)."""

    def push(self, key: str, value: Any) -> None:
        """Leave `value`, which JSON can hold, under `key` for other tasks."""


class NoXCom:
    """For contexts outside an attempt, such as callbacks: nothing to pull, nowhere to push."""

    def pull(
        self,
        task_ids: Sequence[str],  # noqa: ARG002
        key: str = "return_value",  # noqa: ARG002
        *,
        dag_id: str | None = None,  # noqa: ARG002
        run_id: str | None = None,  # noqa: ARG002
        prior: bool = False,  # noqa: ARG002
    ) -> Mapping[str, Any]:
        return {}

    def run_states(
        self,
        dag_id: str,  # noqa: ARG002
        logical_dates: Sequence[datetime],  # noqa: ARG002
        task_ids: Sequence[str],  # noqa: ARG002
    ) -> Mapping[str, Any]:
        return {"states": [], "missing": []}

    def trigger(self, dag_id: str, run_id: str, **about: Any) -> Mapping[str, Any]:  # noqa: ARG002
        return {"error": "runs can be triggered from tasks only"}

    def push(self, key: str, value: Any) -> None:
        """Drop it."""
