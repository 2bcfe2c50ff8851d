"""The metastore's tables. Owners are kept apart so that writers do not wait for one another:

=================  ==============  =====================================================================
table              written by      holds
=================  ==============  =====================================================================
dag_file           dag processor   one row per file of the DAG folder: hash, durations, import error
dag                dag processor   what a DAG is: file, current version
dag_version        dag processor   serialised DAGs, kept while a run needs them
dag_schedule       scheduler       when a DAG runs next, and whether it is paused (also written by people)
budget             scheduler       counted limits: pool slots, active tasks and active runs per DAG
dag_run            scheduler       runs (people insert queued ones)
sla_deadline       scheduler       what a run promised by when (also written by whoever makes a run or clears one)
backfill           people          ranges of past intervals to run, and since when they are done (scheduler)
backfill_run       people          the intervals of a backfill in its order, and why one is left out
task_instance      scheduler       the hot table: state machine of each task of each run
task_attempt       scheduler       history: one row per ended attempt
xcom               scheduler       what tasks hand to one another (JSON)
callback_request   scheduler       user callbacks to run, leased by the notifier
log_shipment       scheduler       logs of ended attempts to ship, leased by the log shipper, gone once they are there
process            each process    heartbeats
wakeup             anybody         change counters that waiting processes poll where there is no NOTIFY
lease              scheduler       who leads, and the locks of claiming and of signing on (``leases``)
user, web_session  web             sign-in
=================  ==============  =====================================================================

The alert outbox is alerting's own (``alerting.tables``) and shares this metadata, so that one transaction spans both.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from alerting.tables import BigKey, Id, LongText, Token, UtcDateTime, metadata

TASK_FINAL_SQL = "('success', 'failed', 'skipped', 'upstream_failed', 'removed')"
RUN_FINAL_SQL = "('success', 'failed')"


class Base(DeclarativeBase):
    """Declarative base on the metadata that alerting's tables are in too."""

    metadata = metadata
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcDateTime(), dict[str, Any]: JSON()}


class DagFile(Base):
    """A file of the DAG folder as the dag processor last saw it."""

    __tablename__ = "dag_file"

    path_hash: Mapped[str] = mapped_column(String(64), primary_key=True)  # SHA-256 of path
    path: Mapped[str] = mapped_column(LongText)
    content_hash: Mapped[str | None] = mapped_column(String(64))
    parsed_at: Mapped[datetime | None]
    parse_seconds: Mapped[float | None] = mapped_column(Float)
    dag_count: Mapped[int] = mapped_column(Integer, default=0)
    error: Mapped[str | None] = mapped_column(LongText)  # the whole story, traceback included
    error_summary: Mapped[str | None] = mapped_column(LongText)  # one sentence: what, which line
    error_remedy: Mapped[str | None] = mapped_column(LongText)  # one sentence: what to do
    error_line: Mapped[int | None] = mapped_column(Integer)
    error_since: Mapped[datetime | None]


def path_hash(path: str) -> str:
    """The key of a file: paths may be longer than an index allows."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()


class Dag(Base):
    """What a DAG is, told by its file. ``is_active`` is false once no file defines it any more."""

    __tablename__ = "dag"

    dag_id: Mapped[str] = mapped_column(Id, primary_key=True)
    path_hash: Mapped[str] = mapped_column(String(64))
    fileloc: Mapped[str] = mapped_column(LongText)
    version: Mapped[str] = mapped_column(String(32))
    is_active: Mapped[bool] = mapped_column(Boolean, default=True)
    updated_at: Mapped[datetime]

    __table_args__ = (Index("ix_dag_path_hash", "path_hash"),)  # dag processor: the DAGs of one file


class DagVersion(Base):
    """One serialised DAG (``engine.authoring.serialized``)."""

    __tablename__ = "dag_version"

    dag_id: Mapped[str] = mapped_column(Id, primary_key=True)
    version: Mapped[str] = mapped_column(String(32), primary_key=True)
    data: Mapped[str] = mapped_column(LongText)
    created_at: Mapped[datetime]


class DagSchedule(Base):
    """The scheduler's side of a DAG. ``version`` is the one that the next_* columns were computed from.

    ``awaited_since`` is when it was first met or last unpaused: nobody waits for runs of intervals before that.
    ``paused_at`` is when somebody paused it, where that is known.
    """

    __tablename__ = "dag_schedule"

    dag_id: Mapped[str] = mapped_column(Id, primary_key=True)
    is_paused: Mapped[bool] = mapped_column(Boolean, default=False)
    version: Mapped[str | None] = mapped_column(String(32))
    next_interval_start: Mapped[datetime | None]
    next_interval_end: Mapped[datetime | None]
    next_run_after: Mapped[datetime | None]
    awaited_since: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]

    # create_runs(): which DAGs are due
    __table_args__ = (Index("ix_dag_schedule_due", "next_run_after"),)


class Budget(Base):
    """A counted limit. ``used`` moves only by conditional UPDATEs, so it can never pass ``slots``.

    ``kind`` is ``pool``, ``dag_tasks`` or ``dag_runs``; ``name`` the pool or the DAG.
    """

    __tablename__ = "budget"

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Id, primary_key=True)
    slots: Mapped[int] = mapped_column(Integer)
    used: Mapped[int] = mapped_column(Integer, default=0)

    __table_args__ = (CheckConstraint("used >= 0", name="ck_budget_used"),)


class DagRun(Base):
    """One run of a DAG. ``unfinished`` counts its task instances that are not final yet.

    ``lane`` names the budget that it takes its slot from; without one it is the DAG's own. ``clears`` counts how often
    it was begun anew after its end, or turned by a mark. ``deadline`` is when it times out, while it runs.
    """

    __tablename__ = "dag_run"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    dag_id: Mapped[str] = mapped_column(Id)
    run_id: Mapped[str] = mapped_column(Id)
    run_type: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    version: Mapped[str] = mapped_column(String(32))
    logical_date: Mapped[datetime | None]
    data_interval_start: Mapped[datetime | None]
    data_interval_end: Mapped[datetime | None]
    run_after: Mapped[datetime]
    queued_at: Mapped[datetime]
    start_date: Mapped[datetime | None]
    end_date: Mapped[datetime | None]
    conf: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    unfinished: Mapped[int] = mapped_column(Integer, default=0)
    triggered_by: Mapped[str | None] = mapped_column(String(250))
    deadline: Mapped[datetime | None]
    clears: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    lane: Mapped[str | None] = mapped_column(Id)
    backfill_id: Mapped[int | None] = mapped_column(BigKey)

    __table_args__ = (
        UniqueConstraint("dag_id", "run_id", name="uq_dag_run_run_id"),
        UniqueConstraint("dag_id", "logical_date", name="uq_dag_run_logical_date"),
        CheckConstraint(f"(end_date IS NOT NULL) = (state IN {RUN_FINAL_SQL})", name="ck_dag_run_end"),
        Index("ix_dag_run_state", "state", "id"),  # start_runs(), gauges
        Index("ix_dag_run_dag", "dag_id", "id"),  # pages: the latest runs of a DAG
        Index("ix_dag_run_last", "dag_id", "state", "end_date"),  # metastore exporter: last success, last failure
        Index("ix_dag_run_deadline", "state", "deadline"),  # expire_runs()
        Index("ix_dag_run_backfill", "backfill_id", "state"),  # progress and end of a backfill
    )


class TaskInstance(Base):
    """One task of one run: the state machine that the scheduler turns.

    ``up_*`` count direct upstream tasks by outcome; ``up_blocked`` are the upstream_failed ones.
    ``priority_rank`` is the negated priority weight, so that one ascending index serves claim().
    ``try_number`` is charged at claim. ``ready_at`` is when a retry or a rescheduled sensor is due; ``sensing_since``
    is when the attempt of a rescheduled one first started, and while it is set no claim is charged. ``skipped_by``
    names the direct upstream task that decided against this one.
    ``ending`` says what becomes of a running one that its supervisor is to end (``engine.metastore.endings``).
    ``past_run_pk`` is the earlier run that a ready one waits for (``engine.metastore.past``).
    """

    __tablename__ = "task_instance"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    run_pk: Mapped[int] = mapped_column(BigKey, ForeignKey("dag_run.id", ondelete="CASCADE"))
    dag_id: Mapped[str] = mapped_column(Id)
    run_id: Mapped[str] = mapped_column(Id)
    task_id: Mapped[str] = mapped_column(Id)
    map_index: Mapped[int] = mapped_column(Integer, default=-1)
    state: Mapped[str | None] = mapped_column(String(20))
    operator: Mapped[str] = mapped_column(String(250))
    try_number: Mapped[int] = mapped_column(Integer, default=0)
    max_tries: Mapped[int] = mapped_column(Integer, default=1)
    token: Mapped[str | None] = mapped_column(Token)
    owner: Mapped[str | None] = mapped_column(Token)
    pool: Mapped[str] = mapped_column(Id)
    pool_slots: Mapped[int] = mapped_column(Integer, default=1)
    queue: Mapped[str] = mapped_column(Id)
    priority_rank: Mapped[int] = mapped_column(Integer, default=-1)
    up_total: Mapped[int] = mapped_column(Integer, default=0)
    up_success: Mapped[int] = mapped_column(Integer, default=0)
    up_failed: Mapped[int] = mapped_column(Integer, default=0)
    up_blocked: Mapped[int] = mapped_column(Integer, default=0)
    up_skipped: Mapped[int] = mapped_column(Integer, default=0)
    ready_at: Mapped[datetime | None]
    scheduled_at: Mapped[datetime | None]
    queued_at: Mapped[datetime | None]
    start_date: Mapped[datetime | None]
    end_date: Mapped[datetime | None]
    sensing_since: Mapped[datetime | None]
    skipped_by: Mapped[str | None] = mapped_column(Id)
    ending: Mapped[str | None] = mapped_column(String(20))
    past_run_pk: Mapped[int | None] = mapped_column(BigKey)

    __table_args__ = (
        UniqueConstraint("run_pk", "task_id", "map_index", name="uq_task_instance_key"),
        UniqueConstraint("token", name="uq_task_instance_token"),  # start(), finish(), rescue()
        CheckConstraint(
            f"(end_date IS NOT NULL) = (state IS NOT NULL AND state IN {TASK_FINAL_SQL})", name="ck_task_instance_end"
        ),
        CheckConstraint(
            "(token IS NOT NULL) = (state IS NOT NULL AND state IN ('queued', 'running'))",
            name="ck_task_instance_token",
        ),
        Index("ix_task_instance_ready", "state", "priority_rank", "id"),  # claim(), gauges
        Index("ix_task_instance_due", "state", "ready_at"),  # promote()
        Index("ix_task_instance_owner", "owner"),  # rescue()
        Index("ix_task_instance_past", "past_run_pk"),  # past.successors()
    )


class SlaDeadline(Base):
    """By when a task of a run, or the run itself (``task_id`` empty), is to be done: ``sla=`` or ``deadline=``.

    ``state`` is open, met, missed or cancelled; ``completed_at`` when it was done, in time or not. ``position`` numbers
    the DAG's ``deadline=`` from 1, and is 0 for an ``sla=``. ``allowed_seconds`` is how long from the reference on,
    where that moves when the task is cleared. ``at_risk_at`` is when four fifths of the time are used up.
    """

    __tablename__ = "sla_deadline"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    run_pk: Mapped[int] = mapped_column(BigKey, ForeignKey("dag_run.id", ondelete="CASCADE"))
    dag_id: Mapped[str] = mapped_column(Id)
    task_id: Mapped[str] = mapped_column(Id)
    position: Mapped[int] = mapped_column(Integer, default=0)
    state: Mapped[str] = mapped_column(String(12))
    due_at: Mapped[datetime]
    at_risk_at: Mapped[datetime]
    allowed_seconds: Mapped[float | None] = mapped_column(Float)
    completed_at: Mapped[datetime | None]
    missed_at: Mapped[datetime | None]  # when the miss was told

    __table_args__ = (
        UniqueConstraint("run_pk", "task_id", "position", name="uq_sla_deadline_key"),  # settle(), renew(), exporter
        CheckConstraint("state IN ('open', 'met', 'missed', 'cancelled')", name="ck_sla_deadline_state"),
        Index("ix_sla_deadline_due", "state", "due_at"),  # claim_missed(), the next one
    )


class Backfill(Base):
    """A range of past intervals that somebody wants run. ``reprocess`` says which runs that ended are run again."""

    __tablename__ = "backfill"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    dag_id: Mapped[str] = mapped_column(Id)
    from_date: Mapped[datetime]
    to_date: Mapped[datetime]
    max_active_runs: Mapped[int] = mapped_column(Integer)
    reprocess: Mapped[str] = mapped_column(String(12))
    is_backwards: Mapped[bool] = mapped_column(Boolean)
    conf: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_by: Mapped[str | None] = mapped_column(String(250))
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_backfill_open", "completed_at", "dag_id"),)  # which are under way


class BackfillRun(Base):
    """One interval of a backfill. ``run_pk`` is its run; where it has none ``reason`` says why."""

    __tablename__ = "backfill_run"

    backfill_id: Mapped[int] = mapped_column(BigKey, ForeignKey("backfill.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)  # from 1, in the order in which they run
    logical_date: Mapped[datetime]
    run_pk: Mapped[int | None] = mapped_column(BigKey)
    reason: Mapped[str | None] = mapped_column(String(20))

    __table_args__ = (Index("ix_backfill_run_run", "run_pk"),)  # past.held_back(): the first run of a backfill


class TaskAttempt(Base):
    """An ended attempt: what its supervisor saw."""

    __tablename__ = "task_attempt"

    ti_id: Mapped[int] = mapped_column(BigKey, ForeignKey("task_instance.id", ondelete="CASCADE"), primary_key=True)
    try_number: Mapped[int] = mapped_column(Integer, primary_key=True)
    token: Mapped[str] = mapped_column(Token)
    owner: Mapped[str] = mapped_column(Token)
    hostname: Mapped[str] = mapped_column(String(250))
    state: Mapped[str] = mapped_column(String(20))  # success, failed, up_for_retry, skipped
    cause: Mapped[str] = mapped_column(String(20))  # engine.metastore.outcome.Cause
    exit_code: Mapped[int | None] = mapped_column(Integer)
    signal: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(LongText)  # one line
    start_date: Mapped[datetime]
    end_date: Mapped[datetime]


class XCom(Base):
    """A value that a task left for others: JSON text."""

    __tablename__ = "xcom"

    ti_id: Mapped[int] = mapped_column(BigKey, ForeignKey("task_instance.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(Id, primary_key=True)
    value: Mapped[str] = mapped_column(LongText)
    created_at: Mapped[datetime]


class CallbackRequest(Base):
    """A user callback to run: written in the transition's transaction, leased and confirmed by the notifier.

    ``state`` is ``pending``, ``done`` or ``dead``; ``payload`` holds the ids from which
    the context is rebuilt, and the cause. ``attempts`` counts leases, ``failures`` the tries that raised or overran.
    ``left_over`` are the places, in the author's list, of those still to be called; all where it is null.
    ``output`` is the end of what the last try printed. ``unstarted_since`` is when no process could be made for it
    first; null once one could.
    """

    __tablename__ = "callback_request"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    dedup_key: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(16))  # engine.authoring.serialized.CallbackKind
    scope: Mapped[str] = mapped_column(String(8))  # task or dag
    dag_id: Mapped[str] = mapped_column(Id)
    run_pk: Mapped[int | None] = mapped_column(BigKey)
    fileloc: Mapped[str] = mapped_column(LongText)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(8), default="pending")
    due_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    token: Mapped[str | None] = mapped_column(Token)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    failures: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    left_over: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[str | None] = mapped_column(LongText)
    output: Mapped[str | None] = mapped_column(LongText)
    log_path: Mapped[str | None] = mapped_column(LongText)  # relative to the log folder
    unstarted_since: Mapped[datetime | None]
    created_at: Mapped[datetime]
    done_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_callback_request_due", "state", "due_at"),  # notifier's lease
        Index("ix_callback_request_run", "run_pk"),  # the page of a run
    )


class LogShipment(Base):
    """A log that is still to be shipped: written in the transaction that ended its attempt, deleted once it is there.

    ``place`` is the log folder that it lies in (``engine.logs.place``). ``due_at`` is when to try next or, with a
    ``holder`` and its ``token``, when their lease ends. ``reason`` says why the last try failed.
    """

    __tablename__ = "log_shipment"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    place: Mapped[str] = mapped_column(Token)
    path: Mapped[str] = mapped_column(LongText)
    lost: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    holder: Mapped[str | None] = mapped_column(Token)
    token: Mapped[str | None] = mapped_column(Token)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    reason: Mapped[str | None] = mapped_column(String(16))
    error: Mapped[str | None] = mapped_column(LongText)

    __table_args__ = (
        CheckConstraint("(token IS NOT NULL) = (holder IS NOT NULL)", name="ck_log_shipment_lease"),
        Index("ix_log_shipment_due", "place", "due_at"),  # lease()
        Index("ix_log_shipment_age", "reason", "created_at"),  # metastore exporter: how many, the oldest
        Index("ix_log_shipment_holder", "holder"),  # renew(), take_over()
    )


class Process(Base):
    """A live (or recently live) process. On its own host ``pid_started`` proves a death before any time-out.

    ``is_lost`` is true where somebody else declared it dead; who signs off has none.
    """

    __tablename__ = "process"

    id: Mapped[str] = mapped_column(Token, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    hostname: Mapped[str] = mapped_column(String(250))
    pid: Mapped[int] = mapped_column(Integer)
    pid_started: Mapped[str] = mapped_column(String(64))  # boot id and start tick: survives pid reuse
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    is_lost: Mapped[bool | None] = mapped_column(Boolean)

    __table_args__ = (Index("ix_process_kind", "kind", "ended_at"),)  # health, rescue()


class Wakeup(Base):
    """A change counter per topic, polled by processes that cannot be notified."""

    __tablename__ = "wakeup"

    topic: Mapped[str] = mapped_column(String(32), primary_key=True)
    changes: Mapped[int] = mapped_column(BigInteger, default=0)


class Lease(Base):
    """Something that one scheduler has at a time (``engine.metastore.leases``). `term` counts its holders."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str | None] = mapped_column(Token)  # process
    term: Mapped[int] = mapped_column(BigInteger, default=0)
    expires_at: Mapped[datetime | None]


class User(Base):
    """Somebody who may sign in. ``password_hash`` is argon2id."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    username: Mapped[str] = mapped_column(Id, unique=True)
    password_hash: Mapped[str] = mapped_column(String(250))
    created_at: Mapped[datetime]


class WebSession(Base):
    """A signed-in browser. Only the SHA-256 of its cookie is stored."""

    __tablename__ = "web_session"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigKey, ForeignKey("user.id", ondelete="CASCADE"))
    csrf_token: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
