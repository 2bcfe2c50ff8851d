"""What the commands read from the metastore. Every function takes a connection and returns plain rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, case, func, inspect, select

from alerting import outbox
from alerting.clock import database_now
from alerting.tables import alert_delivery
from engine.authoring.serialized import SerializedDag, decode_dag
from engine.metastore.marks import LAST_ATTEMPT, marked_words
from engine.metastore.processes import find_dead
from engine.metastore.states import ProcessKind
from engine.metastore.tables import (
    Dag,
    DagFile,
    DagRun,
    DagSchedule,
    DagVersion,
    LogShipment,
    Process,
    SlaDeadline,
    TaskAttempt,
    TaskInstance,
)

Row = dict[str, Any]


class TaskStanding(NamedTuple):
    """A task instance at one moment, as ``trigger --wait`` follows it."""

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    max_tries: int


def list_dags(connection: Connection) -> list[Row]:
    """Every active DAG with its pause switch, next run (none while it is paused) and latest run."""
    latest = select(DagRun.dag_id, func.max(DagRun.id).label("id")).group_by(DagRun.dag_id).subquery()
    query = (
        select(
            Dag.dag_id,
            DagSchedule.is_paused,
            DagRun.state.label("last_state"),
            DagRun.run_id.label("last_run"),
            DagSchedule.next_run_after.label("next_run"),
            Dag.fileloc.label("file"),
        )
        .outerjoin(DagSchedule, DagSchedule.dag_id == Dag.dag_id)
        .outerjoin(latest, latest.c.dag_id == Dag.dag_id)
        .outerjoin(DagRun, DagRun.id == latest.c.id)
        .where(Dag.is_active)
        .order_by(Dag.dag_id)
    )
    rows = connection.execute(query).mappings()
    return [
        {**row, "is_paused": bool(row["is_paused"]), "next_run": None if row["is_paused"] else row["next_run"]}
        for row in rows
    ]


def undelivered(connection: Connection) -> tuple[int, timedelta, int, int]:
    """How many alerts wait, the age of the oldest of them; how many deliveries wait for their group, and are given up.

    What waits for a message of its group waits on purpose, and is not in the first number.
    """
    waiting = outbox.backlog(connection)
    age = database_now(connection) - waiting.happened_at if waiting.happened_at else timedelta(0)
    state = alert_delivery.c.state
    of_state = select(state, func.count()).where(state.in_([outbox.DeliveryState.WAITING, outbox.DeliveryState.DEAD]))
    counts = {row[0]: row[1] for row in connection.execute(of_state.group_by(state))}
    grouped, given_up = (counts.get(name, 0) for name in (outbox.DeliveryState.WAITING, outbox.DeliveryState.DEAD))
    return waiting.count, age, grouped, given_up


def pending_by_channel(connection: Connection) -> list[tuple[str, int, str]]:
    """The channels that deliveries wait for, those with most first, each with the last one's error, if it has any."""
    is_open = alert_delivery.c.state.in_([outbox.DeliveryState.PENDING, outbox.DeliveryState.SENDING])
    failed = func.max(case((alert_delivery.c.error.is_not(None), alert_delivery.c.id)))
    columns = (alert_delivery.c.channel, func.count().label("waiting"), failed.label("failed"))
    rows = connection.execute(select(*columns).where(is_open).group_by(alert_delivery.c.channel)).all()
    by_id = select(alert_delivery.c.id, alert_delivery.c.error).where(
        alert_delivery.c.id.in_([row.failed for row in rows if row.failed is not None])
    )
    errors: dict[int, str] = {row.id: row.error for row in connection.execute(by_id)}
    rows = sorted(rows, key=lambda row: (-row.waiting, row.channel))
    return [(row.channel, row.waiting, errors.get(row.failed, "")) for row in rows]


def active_dag_ids(connection: Connection) -> list[str]:
    return list(connection.execute(select(Dag.dag_id).where(Dag.is_active).order_by(Dag.dag_id)).scalars())


def current_dag(connection: Connection, dag_id: str) -> tuple[str, SerializedDag] | None:
    """The current version of an active DAG and the DAG itself."""
    here = and_(DagVersion.dag_id == Dag.dag_id, DagVersion.version == Dag.version)
    query = select(DagVersion.version, DagVersion.data).join(Dag, here).where(Dag.dag_id == dag_id, Dag.is_active)
    row = connection.execute(query).one_or_none()
    return (row.version, decode_dag(row.data)) if row else None


def is_paused(connection: Connection, dag_id: str) -> bool:
    return bool(connection.execute(select(DagSchedule.is_paused).where(DagSchedule.dag_id == dag_id)).scalar())


def import_errors(connection: Connection) -> list[Row]:
    """Every file that cannot be read as it is: what is wrong, where, and what to do."""
    query = (
        select(
            DagFile.path.label("file"),
            DagFile.error_line.label("line"),
            DagFile.error_summary.label("error"),
            DagFile.error_remedy.label("remedy"),
            DagFile.error_since.label("since"),
            DagFile.error.label("traceback"),
        )
        .where(DagFile.error.is_not(None))
        .order_by(DagFile.path)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def list_runs(connection: Connection, dag_id: str, limit: int, state: str | None = None) -> list[Row]:
    """The newest runs of a DAG, newest first."""
    query = (
        select(
            DagRun.run_id,
            DagRun.state,
            DagRun.run_type,
            DagRun.logical_date,
            DagRun.start_date,
            DagRun.end_date,
            DagRun.triggered_by,
        )
        .where(DagRun.dag_id == dag_id)
        .order_by(DagRun.id.desc())
        .limit(limit)
    )
    if state is not None:
        query = query.where(DagRun.state == state)
    return [dict(row) for row in connection.execute(query).mappings()]


def run_state(connection: Connection, dag_id: str, run_id: str) -> str | None:
    return connection.execute(select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).scalar()


def newest_run_id(connection: Connection, dag_id: str) -> str | None:
    query = select(DagRun.run_id).where(DagRun.dag_id == dag_id).order_by(DagRun.id.desc()).limit(1)
    return connection.execute(query).scalar()


def run_ids(connection: Connection, dag_id: str, limit: int = 100) -> list[str]:
    query = select(DagRun.run_id).where(DagRun.dag_id == dag_id).order_by(DagRun.id.desc()).limit(limit)
    return list(connection.execute(query).scalars())


def standings(connection: Connection, dag_id: str, run_id: str) -> list[TaskStanding]:
    """Where each task of a run stands, in the order in which they were made (upstream first)."""
    columns = (TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state)
    query = (
        select(*columns, TaskInstance.try_number, TaskInstance.max_tries)
        .join(DagRun, DagRun.id == TaskInstance.run_pk)
        .where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        .order_by(TaskInstance.id)
    )
    return [TaskStanding(*row) for row in connection.execute(query)]


def task_states(connection: Connection, dag_id: str, run_id: str) -> list[Row]:
    """Each task of a run with how its last attempt went. Of one that was ``marked`` since that is no news any more."""
    query = (
        select(
            TaskInstance.task_id,
            TaskInstance.map_index,
            TaskInstance.state,
            TaskInstance.try_number,
            TaskInstance.max_tries,
            TaskInstance.start_date,
            TaskInstance.end_date,
            TaskAttempt.error,
            TaskAttempt.state.label("ended_as"),
        )
        .join(DagRun, DagRun.id == TaskInstance.run_pk)
        .outerjoin(TaskAttempt, LAST_ATTEMPT)
        .where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        .order_by(TaskInstance.id)
    )
    return [_told_of(dict(row)) for row in connection.execute(query).mappings()]


def _told_of(row: Row) -> Row:
    marked = marked_words(row["state"], row.pop("ended_as"), has_begun=row["start_date"] is not None)
    return row | {"marked": marked, "error": None if marked else row["error"]}


def unshipped(connection: Connection, limit: int) -> list[Row]:
    """Logs that wait to be shipped, oldest first, and why the last try failed."""
    columns = (LogShipment.path, LogShipment.created_at, LogShipment.attempts, LogShipment.reason, LogShipment.error)
    return [dict(row) for row in connection.execute(select(*columns).order_by(LogShipment.id).limit(limit)).mappings()]


def unshipped_logs(connection: Connection) -> tuple[int, timedelta, str]:
    """How many logs wait to be shipped, for how long the oldest has, and why the last try failed."""
    query = select(func.count(), func.min(LogShipment.created_at), func.max(LogShipment.error))
    count, oldest, error = connection.execute(query).one()
    age = database_now(connection) - oldest if oldest else timedelta(0)
    return count, age, error or ""


def lives(connection: Connection, kind: ProcessKind, now: datetime, threshold: timedelta) -> bool:
    """Whether a process of this kind has a fresh heartbeat."""
    query = select(func.count()).where(
        Process.kind == kind, Process.ended_at.is_(None), Process.heartbeat_at > now - threshold
    )
    return bool(connection.execute(query).scalar())


def living_details(connection: Connection, kind: ProcessKind, now: datetime, threshold: timedelta) -> list[Row]:
    """What the living processes of a kind have told of themselves."""
    dead = find_dead(connection, now, threshold, [kind])
    query = select(Process.detail).where(Process.kind == kind, Process.ended_at.is_(None), Process.id.not_in(dead))
    return [dict(detail or {}) for detail in connection.execute(query).scalars()]


def living_kinds(connection: Connection, now: datetime, threshold: timedelta) -> list[str]:
    """The kinds of processes that work on this metastore; none where it has no tables yet."""
    if not inspect(connection).has_table(Process.__tablename__):
        return []
    dead = find_dead(connection, now, threshold, ProcessKind)
    query = select(Process.kind).distinct().where(Process.ended_at.is_(None), Process.id.not_in(dead))
    return list(connection.execute(query.order_by(Process.kind)).scalars())


def started_since(connection: Connection, kind: ProcessKind, moment: datetime) -> bool:
    """Whether a live process of this kind was started after `moment`."""
    query = select(func.count()).where(Process.kind == kind, Process.ended_at.is_(None), Process.started_at > moment)
    return bool(connection.execute(query).scalar())


def list_deadlines(connection: Connection, dag_id: str | None, state: str | None, limit: int) -> list[Row]:
    """Deadlines of tasks and runs: open ones with the earliest first, otherwise the latest."""
    columns = [getattr(SlaDeadline, name) for name in ("dag_id", "task_id", "position", "state", "due_at")]
    query = (
        select(*columns, DagRun.run_id, SlaDeadline.missed_at, SlaDeadline.completed_at)
        .join(DagRun, DagRun.id == SlaDeadline.run_pk)
        .order_by(SlaDeadline.due_at if state == "open" else SlaDeadline.due_at.desc(), SlaDeadline.id)
        .limit(limit)
    )
    if dag_id is not None:
        query = query.where(SlaDeadline.dag_id == dag_id)
    if state is not None:
        query = query.where(SlaDeadline.state == state)
    return [dict(row) for row in connection.execute(query).mappings()]


def deadline_of_task(connection: Connection, dag_id: str, run_id: str, task_id: str) -> Row:
    """By when a task was to be done, and whether it was; empty where nothing was promised."""
    query = (
        select(SlaDeadline.due_at, SlaDeadline.state.label("sla"))
        .join(DagRun, DagRun.id == SlaDeadline.run_pk)
        .where(DagRun.dag_id == dag_id, DagRun.run_id == run_id, SlaDeadline.task_id == task_id)
    )
    found = connection.execute(query).mappings().first()
    return dict(found) if found else {}
