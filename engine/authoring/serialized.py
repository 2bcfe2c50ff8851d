"""The serialised DAG: the closed JSON schema between parsing and everything else.

A parse process turns a DAG object into a :class:`SerializedDag`; the scheduler, the supervisor, the web pages
and the command line read it back. Nothing in it names an importable object, so reading it never runs user code:
what must be executed is found again by importing ``fileloc`` inside an attempt process.
Unknown fields are refused, so that a row written by a newer version is noticed and not half understood.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

_LONGEST_RETRY_SECONDS: Final = 86_400.0


class TriggerRule(StrEnum):
    """When a task may start, told from the states of its direct upstream tasks (Airflow's names)."""

    ALL_SUCCESS = "all_success"
    ALL_FAILED = "all_failed"
    ALL_DONE = "all_done"
    ALL_SKIPPED = "all_skipped"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    ONE_DONE = "one_done"
    NONE_FAILED = "none_failed"
    NONE_SKIPPED = "none_skipped"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    ALWAYS = "always"


class CronSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="cron"):
    """A cron expression of five or six fields, or a preset such as ``@daily``, read in ``timezone``."""

    expression: str
    timezone: str = "UTC"


class DeltaSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="delta"):
    """A fixed distance between runs, counted from the DAG's start date."""

    seconds: float


class OnceSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="once"):
    """One run at the start date (``@once``)."""


class ContinuousSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="continuous"):
    """One run after the other (``@continuous``): each covers the time since the one before it was made."""


class NoSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="none"):
    """Manual runs only (``schedule=None``)."""


Schedule = CronSchedule | DeltaSchedule | OnceSchedule | ContinuousSchedule | NoSchedule

# "bash" execs a shell without importing the DAG file; "python" runs task.execute() in a process that has imported it;
# "empty" needs no process at all.
OperatorKind = Literal["bash", "python", "empty"]
CallbackKind = Literal["on_failure", "on_retry", "on_success", "on_execute", "on_skipped", "sla_miss", "deadline"]


SlaRuns = Literal["scheduled", "scheduled_and_manual", "all"]
AfterFailure = Literal["wait", "cancel"]
ReferenceName = Literal["logical_date", "queued_at", "fixed", "average_runtime"]


class SerializedDeadline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One ``deadline=`` of a DAG: so long after its reference a run is to be done. Its callback stays in the file.

    ``at`` is the moment of a fixed one; the average is that of the last ``max_runs`` successful runs, and there is none
    before there are ``min_runs``.
    """

    reference: ReferenceName
    interval_seconds: float
    at: datetime | None = None
    max_runs: int = 10
    min_runs: int = 10
    has_callback: bool = True


class BashSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a Bash attempt needs; ``bash_command`` and ``env`` are Jinja templates, rendered in the attempt process."""

    bash_command: str
    env: dict[str, str] | None = None
    append_env: bool = False
    cwd: str | None = None
    skip_on_exit_code: tuple[int, ...] = (99,)


class SerializedTask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One task of a DAG. Durations are in seconds; ``retries`` counts the attempts after the first."""

    task_id: str
    operator: str
    kind: OperatorKind
    upstream: tuple[str, ...] = ()
    trigger_rule: TriggerRule = TriggerRule.ALL_SUCCESS
    retries: int = 0
    retry_delay_seconds: float = 300.0
    retry_exponential_backoff: bool = False
    max_retry_delay_seconds: float | None = None
    execution_timeout_seconds: float | None = None
    sla_seconds: float | None = None
    email: tuple[str, ...] = ()
    email_on_failure: bool = True
    email_on_retry: bool = True
    callbacks: tuple[CallbackKind, ...] = ()
    owner: str = "windsock"
    pool: str = "default_pool"
    pool_slots: int = 1
    queue: str = "default"
    priority_weight: int = 1  # the effective weight, after the weight rule
    max_active_tis_per_dag: int | None = None
    depends_on_past: bool = False
    wait_for_downstream: bool = False
    ignore_first_depends_on_past: bool = False
    wait_for_past_depends_before_skipping: bool = False
    do_xcom_push: bool = True
    start_date: datetime | None = None  # its own, not its DAG's
    end_date: datetime | None = None
    doc: str | None = None
    bash: BashSpec | None = None

    def covers(self, logical_date: datetime | None) -> bool:
        """Whether this date lies within the task's own dates, both included; no date does."""
        if logical_date is None:
            return True
        has_begun = self.start_date is None or self.start_date <= logical_date
        return has_begun and (self.end_date is None or logical_date <= self.end_date)

    def retry_delay(self, try_number: int, seed: str) -> timedelta:
        """Wait between the end of attempt `try_number` (from 1) and the next one.

        With exponential back-off it is Airflow's (taskinstance.next_retry_datetime): the delay, doubled with each
        attempt, plus less than as much again, drawn from a hash of `seed` and the attempt, so that tasks that failed
        together do not come back together. Then ``max_retry_delay`` caps it, and 24 hours do in any case.
        """
        seconds = self.retry_delay_seconds
        if self.retry_exponential_backoff:
            least = max(1, math.ceil(min(seconds * 2.0 ** min(try_number - 1, 64), _LONGEST_RETRY_SECONDS)))
            drawn = hashlib.sha1(f"{seed}#{try_number}".encode(), usedforsecurity=False).hexdigest()
            cap = _LONGEST_RETRY_SECONDS if self.max_retry_delay_seconds is None else self.max_retry_delay_seconds
            seconds = min(float(least + int(drawn, 16) % least), cap, _LONGEST_RETRY_SECONDS)
        return timedelta(seconds=seconds)


class SerializedDag(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One DAG. ``tasks`` is in topological order, so that an upstream task always stands before its children."""

    dag_id: str
    fileloc: str
    schedule: Schedule
    tasks: tuple[SerializedTask, ...]
    description: str | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    catchup: bool = False
    max_active_runs: int = 16
    max_active_tasks: int = 16
    dagrun_timeout_seconds: float | None = None
    params: dict[str, Any] = {}
    param_schemas: dict[str, dict[str, Any]] = {}  # of those params that were declared with one
    tags: tuple[str, ...] = ()
    owner: str = "windsock"
    callbacks: tuple[CallbackKind, ...] = ()
    sla_seconds: float | None = None
    sla_runs: SlaRuns = "scheduled"
    sla_after_failure: AfterFailure = "wait"
    deadlines: tuple[SerializedDeadline, ...] = ()
    is_paused_upon_creation: bool | None = None
    doc_md: str | None = None
    # User macros and filters live in the DAG file, so that Bash attempts too must import it to render.
    needs_file_to_render: bool = False

    def task(self, task_id: str) -> SerializedTask:
        """Return one task; raises KeyError where the DAG has none of that name."""
        return self.by_id[task_id]

    @property
    def by_id(self) -> Mapping[str, SerializedTask]:
        return {task.task_id: task for task in self.tasks}


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(SerializedDag)


def encode_dag(dag: SerializedDag) -> bytes:
    """Canonical JSON: equal DAGs give equal bytes."""
    return _encoder.encode(dag)


def decode_dag(data: bytes | str) -> SerializedDag:
    """Read a stored DAG; raises msgspec.ValidationError on anything outside the schema."""
    return _decoder.decode(data)


class _PoolNeed(msgspec.Struct, frozen=True):
    pool: str = "default_pool"
    pool_slots: int = 1


class _PoolNeeds(msgspec.Struct, frozen=True):
    tasks: tuple[_PoolNeed, ...]


_pool_needs = msgspec.json.Decoder(_PoolNeeds)


def pool_needs(data: bytes | str) -> dict[str, int]:
    """The pools that a stored DAG names and the most slots that one of its tasks needs; all else is skipped unread."""
    needs: dict[str, int] = {}
    for task in _pool_needs.decode(data).tasks:
        needs[task.pool] = max(task.pool_slots, needs.get(task.pool, 0))
    return needs


def version_of(encoded: bytes) -> str:
    """Identity of a DAG version: the first 32 hex digits of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(encoded).hexdigest()[:32]
