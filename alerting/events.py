"""What can be told: one frozen record per event, written to the outbox in the transaction of the change itself."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum

import msgspec


class EventKind(StrEnum):
    """What happened. The value is stored and is the label of the alerting metrics."""

    TASK_FAILED = "task_failed"  # the last attempt failed: no retry will follow
    TASK_RETRY = "task_retry"  # an attempt failed and another will follow
    RUN_FAILED = "run_failed"
    TEST = "test"  # `windsock alerts test`


class AlertEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One event. Times are aware UTC; ``cause`` is what the detector saw (exit, signal, timeout, lost …)."""

    kind: EventKind
    occurred_at: datetime
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int = -1
    try_number: int | None = None
    max_tries: int | None = None  # attempts allowed in all: "attempt 2 of 3"
    operator: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    pool: str | None = None
    logical_date: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    next_retry_at: datetime | None = None
    hostname: str | None = None
    cause: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    error: str | None = None  # the exception's last line, or one sentence that says how it ended
    log_path: str | None = None  # relative to the log folder
    url: str | None = None  # the attempt's page
    blocked: tuple[str, ...] = ()  # tasks that now will not run
    emails: tuple[str, ...] = ()  # who asked for mail in the DAG file
    summary: str | None = None  # for kinds without a task: one sentence
    receiver: str | None = None  # of alerting.yml, for a test of this one alone

    @property
    def dedup_key(self) -> str:
        """One key per episode: the same event recorded twice has the same key. 64 hex digits."""
        parts = (
            self.kind,
            self.dag_id,
            self.run_id,
            self.task_id,
            self.map_index,
            self.try_number,
            # A test and an event without a run has no other identity than its moment.
            None if self.run_id else self.occurred_at.isoformat(),
        )
        return hashlib.sha256("\x1f".join("" if part is None else str(part) for part in parts).encode()).hexdigest()


def decode(payload: str) -> AlertEvent | None:
    """None where a newer version wrote it or somebody edited it: one bad row must not stop the rest."""
    try:
        return msgspec.json.decode(payload, type=AlertEvent)
    except msgspec.DecodeError:
        return None
