"""What can be told: one frozen record per event, written to the outbox in the transaction of the change itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from alerting.kinds import KINDS, EventKind, Severity

BLOCKED_NAMED: Final = 12  # of the tasks behind one that failed there may be thousands


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
    url: str | None = None  # the attempt's page; of an alert of Prometheus, the query of its rule
    blocked: tuple[str, ...] = ()  # tasks that now will not run: at most BLOCKED_NAMED of them
    blocked_more: int = 0  # how many others will not
    emails: tuple[str, ...] = ()  # who asked for mail in the DAG file
    summary: str | None = None  # for kinds without a task: one sentence
    text: str | None = None  # what the author of a DAG file wants said; it may have several lines
    subject: str | None = None  # for kinds without a DAG: what it is about, such as a file, a component, a channel
    receiver: str | None = None  # of alerting.yml, where the event is for this one alone
    severity: Severity | None = None  # where the event itself knows better than its kind
    due_at: datetime | None = None  # of an SLA: the deadline
    predicted_at: datetime | None = None  # of an SLA at risk: the expected completion
    missed: tuple[str, ...] = ()  # tasks that missed their SLA
    blocking: tuple[str, ...] = ()  # tasks that hold these up
    labels: tuple[tuple[str, str], ...] = ()  # of an alert of Prometheus; its runbook_url and dashboard_url too
    note: str | None = None  # of one delivery and not stored with the event: why this receiver is told
    turn: int = 0  # of one delivery, too: how often it was told before; told again it is another message
    told_as: str | None = None  # of one delivery, too: an escalation or a fallback to this receiver is another message
    over_at: datetime | None = None  # of one delivery, too: when the trouble ended, where that was before it was told
    number: int | None = None  # in the history, where it is read from there: the page of the event has it
    episode: str | None = None  # what goes wrong and recovers under one name, where the fields above do not say it

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
            None if self.run_id else self._moment.isoformat(),
            *(part for part in (self.subject, self.episode) if part is not None),
            *((f"turn {self.turn}",) if self.turn else ()),
            *((self.told_as,) if self.told_as else ()),
        )
        return _digest(parts)

    @property
    def _moment(self) -> datetime:
        """What has no run has no other identity than its moment; what Alertmanager repeats, than its beginning."""
        repeated = self.kind in (EventKind.PROMETHEUS_FIRING, EventKind.PROMETHEUS_RESOLVED)
        return (self.started_at if repeated else None) or self.occurred_at

    @property
    def episode_key(self) -> str:
        """The same for the trouble and for what ends it, whichever attempt or moment. 64 hex digits."""
        kind = KINDS[self.kind]
        trouble = kind.ends or kind.within or self.kind
        # A later run shows that a DAG recovered; a task recovers within its run.
        run_id = None if trouble is EventKind.RUN_FAILED else self.run_id
        parts = (trouble, self.dag_id, run_id, self.task_id, self.map_index, self.subject, self.episode)
        return _digest(parts)


def _digest(parts: Iterable[object]) -> str:
    text = "\x1f".join("" if part is None else str(part) for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()  # a file's name need not be UTF-8


def decode(payload: str) -> AlertEvent | None:
    """None where a newer version wrote it or somebody edited it: one bad row must not stop the rest."""
    try:
        return msgspec.json.decode(payload, type=AlertEvent)
    except msgspec.DecodeError:
        return None
