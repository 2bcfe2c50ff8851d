"""What the pages read: a handful of statements per page, each served by an index, never one per row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, union_all

from alerting import history
from alerting.outbox import DeliveryState
from alerting.reload import Refusal
from alerting.tables import alert_delivery
from engine.authoring.mail_addresses import unfit_of
from engine.authoring.serialized import Schedule, SerializedDag, decode_dag
from engine.metastore.marks import LAST_ATTEMPT, marked_words
from engine.metastore.refused import notifier_detail, refusal_in
from engine.metastore.tables import Dag, DagFile, DagRun, DagSchedule, DagVersion, Process, TaskAttempt, TaskInstance
from engine.web.health import Pulse, take_pulses
from engine.web.promises import has_missed, has_unkept

T = TypeVar("T")

DAGS_PER_PAGE: Final = 50
RUNS_PER_PAGE: Final = 25
RECENT_RUNS: Final = 10
MOST_TASKS: Final = 1_000
_NOT_STORED: Final = ("marked", "error", "depth", "after")  # of a TaskLine
_SHORT_ERROR: Final = 160  # characters of an error that a list shows
MOST_ATTEMPTS: Final = 50  # of one task instance, listed


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page shows around its own matter."""

    pulses: tuple[Pulse, ...]
    import_errors: int
    dead_alerts: int  # deliveries that were given up
    oldest_alert: int | None
    newest_alert: int | None
    refusal: Refusal | None  # of alerting.yml

    @property
    def silent(self) -> tuple[Pulse, ...]:
        return tuple(pulse for pulse in self.pulses if not pulse.healthy)


class DagHead(msgspec.Struct, frozen=True):
    """The part of a serialised DAG that lists show; the tasks are skipped over unread."""

    schedule: Schedule
    description: str | None = None
    tags: tuple[str, ...] = ()
    owner: str = "windsock"


@dataclass(frozen=True, slots=True)
class RunMark:
    """A run as a small square in the DAG list."""

    run_id: str
    state: str
    run_after: datetime
    has_missed: bool  # an SLA


@dataclass(frozen=True, slots=True)
class DagEntry:
    """A line of the DAG list, or the head of a DAG's page."""

    dag_id: str
    fileloc: str
    is_active: bool
    is_paused: bool
    next_run_after: datetime | None
    head: DagHead | None
    broken: BrokenFile | None = None  # its file, where that cannot be imported now; in a list without its traceback
    recent: tuple[RunMark, ...] = ()  # oldest first
    warnings: tuple[str, ...] = ()  # with whatever the DAG file says, its secrets too


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of the entries of a list."""

    entries: tuple[T, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A line of a DAG's runs. `counts` maps the states of its task instances to their number."""

    id: int
    run_id: str
    run_type: str
    state: str
    run_after: datetime
    queued_at: datetime
    start_date: datetime | None
    end_date: datetime | None
    triggered_by: str | None
    clears: int
    has_unkept: bool  # promises: see engine.web.promises
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run, and the DAG as it was for this run."""

    id: int
    dag_id: str
    run_id: str
    run_type: str
    state: str
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    run_after: datetime
    queued_at: datetime
    start_date: datetime | None
    end_date: datetime | None
    conf: dict[str, Any]
    triggered_by: str | None
    clears: int  # how often it was begun anew
    is_paused: bool
    dag: SerializedDag | None


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task instance in the order of its DAG. `depth` is its distance from the roots; `after` its upstream tasks."""

    task_id: str
    map_index: int
    state: str | None
    operator: str
    try_number: int
    max_tries: int
    start_date: datetime | None
    end_date: datetime | None
    ready_at: datetime | None
    marked: str | None
    error: str | None  # why its last attempt did not succeed, the first line
    depth: int
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One attempt. While it is the current one and has not ended, ``cause`` is None."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    max_tries: int
    operator: str
    pool: str
    state: str | None
    run_state: str
    is_live: bool
    cause: str | None
    exit_code: int | None
    signal: int | None
    error: str | None
    hostname: str | None
    queued_at: datetime | None
    start_date: datetime | None
    end_date: datetime | None
    ready_at: datetime | None
    others: tuple[tuple[int, str], ...]  # try number and state of each attempt, this one included


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A file that gives no DAG, and why."""

    path: str
    line: int | None
    what: str
    remedy: str | None
    since: datetime | None
    traceback: str | None
    path_hash: str

    @property
    def url(self) -> str:
        """Where the page of import errors tells of it."""
        return f"/import-errors#{self.anchor}"

    @property
    def anchor(self) -> str:
        return f"file-{self.path_hash[:16]}"


_HAS_MISSED: Final = has_missed(DagRun.__table__.c.id).label("has_missed")
_HAS_UNKEPT: Final = has_unkept(DagRun.__table__.c.id).label("has_unkept")
_HAS_IMPORT_ERROR: Final = DagFile.error.is_not(None) | DagFile.error_summary.is_not(None)
_FRAME: Final = select(
    select(func.count()).select_from(DagFile).where(_HAS_IMPORT_ERROR).scalar_subquery(),
    select(func.count()).where(alert_delivery.c.state == DeliveryState.DEAD.value).scalar_subquery(),
    *history.ends(),
    notifier_detail(),
)
_DAG_COLUMNS: Final = (
    Dag.dag_id,
    Dag.fileloc,
    Dag.is_active,
    func.coalesce(DagSchedule.is_paused, False).label("is_paused"),
    DagSchedule.next_run_after,
    DagVersion.data,
)
_BROKEN_BRIEFLY: Final = (
    *(DagFile.path_hash, DagFile.path, DagFile.error_line),
    *(DagFile.error_summary, DagFile.error_remedy, DagFile.error_since),
)
_BROKEN: Final = (*_BROKEN_BRIEFLY, DagFile.error)  # with the traceback, which may be long
_DAGS: Final = (
    select(*_DAG_COLUMNS, *_BROKEN_BRIEFLY)
    .outerjoin(DagFile, and_(DagFile.path_hash == Dag.path_hash, _HAS_IMPORT_ERROR))
    .outerjoin(DagSchedule, DagSchedule.dag_id == Dag.dag_id)
    .outerjoin(DagVersion, and_(DagVersion.dag_id == Dag.dag_id, DagVersion.version == Dag.version))
)


def frame(connection: Connection, threshold: timedelta, now: datetime) -> Frame:
    errors, dead, oldest, newest, detail = connection.execute(_FRAME).one()
    return Frame(take_pulses(connection, threshold, now), errors, dead, oldest, newest, refusal_in(detail))


def dags(connection: Connection, search: str = "", page: int = 1) -> Page[DagEntry]:
    """Active DAGs by name, those whose name contains `search`; `page` counts from 1."""
    statement = _DAGS.where(Dag.is_active.is_(True)).order_by(Dag.dag_id)
    if search:
        statement = statement.where(Dag.dag_id.contains(search, autoescape=True))
    statement = statement.limit(DAGS_PER_PAGE + 1).offset((page - 1) * DAGS_PER_PAGE)
    rows = connection.execute(statement).all()
    shown = rows[:DAGS_PER_PAGE]
    recent = _recent_runs(connection, [row.dag_id for row in shown])
    return Page(tuple(_dag_entry(row, recent[row.dag_id]) for row in shown), len(rows) > len(shown))


def dag(connection: Connection, dag_id: str) -> DagEntry | None:
    row = connection.execute(_DAGS.add_columns(DagFile.error).where(Dag.dag_id == dag_id)).one_or_none()
    if row is None:
        return None
    return _dag_entry(row, ())


def _dag_entry(row: Any, recent: Sequence[RunMark]) -> DagEntry:
    broken = None if row.path_hash is None else _broken_file(row)
    facts = (row.dag_id, row.fileloc, row.is_active, row.is_paused, row.next_run_after, _head(row.data))
    return DagEntry(*facts, broken, tuple(recent), _warnings(row.data))


def _head(data: str | None) -> DagHead | None:
    try:
        return _heads.decode(data) if data else None
    except msgspec.DecodeError:
        return None  # written by a newer version: the list is still worth showing


def _warnings(data: str | None) -> tuple[str, ...]:
    try:
        return tuple(unfit_of(data)) if data else ()
    except msgspec.DecodeError:
        return ()  # as of _head()


def _recent_runs(connection: Connection, dag_ids: Iterable[str]) -> defaultdict[str, list[RunMark]]:
    columns = (DagRun.id, DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.run_after, _HAS_MISSED)
    newest = [
        select(select(*columns).where(DagRun.dag_id == dag_id).order_by(DagRun.id.desc()).limit(RECENT_RUNS).subquery())
        for dag_id in dag_ids
    ]
    recent: defaultdict[str, list[RunMark]] = defaultdict(list)
    rows = sorted(connection.execute(union_all(*newest)), key=lambda row: row.id) if newest else []
    for row in rows:
        recent[row.dag_id].append(RunMark(row.run_id, row.state, row.run_after, row.has_missed))
    return recent


def runs(connection: Connection, dag_id: str, before: int | None = None) -> Page[RunEntry]:
    """A DAG's newest runs; those older than the run of id `before` where it is given."""
    columns = [getattr(DagRun, name) for name in RunEntry.__slots__ if name not in ("counts", "has_unkept")]
    statement = (
        select(*columns, _HAS_UNKEPT).where(DagRun.dag_id == dag_id).order_by(DagRun.id.desc()).limit(RUNS_PER_PAGE + 1)
    )
    if before is not None:
        statement = statement.where(DagRun.id < before)
    rows = connection.execute(statement).all()
    shown = rows[:RUNS_PER_PAGE]
    counts = _task_counts(connection, [row.id for row in shown])
    return Page(tuple(RunEntry(**row._mapping, counts=counts[row.id]) for row in shown), len(rows) > len(shown))


def _task_counts(connection: Connection, run_ids: Sequence[int]) -> defaultdict[int, dict[str, int]]:
    counts: defaultdict[int, dict[str, int]] = defaultdict(dict)
    statement = (
        select(TaskInstance.run_pk, TaskInstance.state, func.count().label("number"))
        .where(TaskInstance.run_pk.in_(run_ids))
        .group_by(TaskInstance.run_pk, TaskInstance.state)
    )
    for row in connection.execute(statement) if run_ids else ():
        counts[row.run_pk][row.state or "none"] = row.number
    return counts


def run(connection: Connection, dag_id: str, run_id: str) -> RunFacts | None:
    stored = {name: getattr(DagRun, name) for name in RunFacts.__slots__ if name not in ("is_paused", "dag")}
    statement = (
        select(*stored.values(), func.coalesce(DagSchedule.is_paused, False).label("is_paused"), DagVersion.data)
        .outerjoin(DagSchedule, DagSchedule.dag_id == DagRun.dag_id)
        .outerjoin(DagVersion, and_(DagVersion.dag_id == DagRun.dag_id, DagVersion.version == DagRun.version))
        .where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    values = dict(row._mapping)
    dag = _whole(values.pop("data"))
    return RunFacts(**values, dag=dag)


def _whole(data: str | None) -> SerializedDag | None:
    try:
        return decode_dag(data) if data else None
    except msgspec.DecodeError:
        return None


def task_counts(connection: Connection, run: RunFacts) -> dict[str, int]:
    """States of a run's task instances → how many; "none" for those that are not yet due."""
    return _task_counts(connection, [run.id])[run.id]


def tasks(connection: Connection, run: RunFacts, state: str | None = None) -> Page[TaskLine]:
    """The task instances of a run, or those of them in one state, upstream tasks first; at most 1 000."""
    columns = [getattr(TaskInstance, name) for name in TaskLine.__slots__ if name not in _NOT_STORED]
    last = (TaskAttempt.state.label("ended_as"), func.substr(TaskAttempt.error, 1, _SHORT_ERROR + 1).label("error"))
    statement = select(*columns, *last).outerjoin(TaskAttempt, LAST_ATTEMPT)
    statement = statement.where(TaskInstance.run_pk == run.id)
    if state is not None:
        statement = statement.where(TaskInstance.state.is_(None) if state == "none" else TaskInstance.state == state)
    statement = statement.order_by(TaskInstance.task_id, TaskInstance.map_index).limit(MOST_TASKS + 1)
    rows = connection.execute(statement).all()
    depths = _depths(run.dag)
    order = {task_id: position for position, task_id in enumerate(depths)}
    after = {task.task_id: task.upstream for task in run.dag.tasks} if run.dag else {}
    lines = [
        _task_line(dict(row._mapping), depth=depths.get(row.task_id, 0), after=after.get(row.task_id, ()))
        for row in rows[:MOST_TASKS]
    ]
    lines.sort(key=lambda line: (order.get(line.task_id, len(order)), line.task_id, line.map_index))
    return Page(tuple(lines), len(rows) > MOST_TASKS)


def _task_line(stored: dict[str, Any], **more: Any) -> TaskLine:
    marked = marked_words(stored["state"], stored.pop("ended_as"), has_begun=stored["start_date"] is not None)
    error = None if marked or stored["state"] == "success" else _short(stored["error"])
    return TaskLine(**stored | {"error": error}, marked=marked, **more)


def _short(error: str | None) -> str | None:
    line = (error or "").partition("\n")[0]
    return f"{line[:_SHORT_ERROR]}…" if len(line) > _SHORT_ERROR else line or None


def _depths(dag: SerializedDag | None) -> dict[str, int]:
    depths: dict[str, int] = {}
    for task in dag.tasks if dag else ():
        depths[task.task_id] = 1 + max((depths.get(upstream, 0) for upstream in task.upstream), default=-1)
    return depths


def attempt(
    connection: Connection, dag_id: str, run_id: str, task_id: str, try_number: int, map_index: int = -1
) -> AttemptFacts | None:
    """One attempt, ended or current; None where no such attempt was ever begun."""
    instance = connection.execute(_instance(dag_id, run_id, task_id, map_index)).one_or_none()
    if instance is None:
        return None
    near = TaskAttempt.try_number > try_number - MOST_ATTEMPTS
    statement = select(*TaskAttempt.__table__.columns).where(TaskAttempt.ti_id == instance.id, near)
    statement = statement.order_by(TaskAttempt.try_number).limit(2 * MOST_ATTEMPTS)
    ended = {row.try_number: row for row in connection.execute(statement)}
    current = instance.try_number
    states = {number: row.state for number, row in ended.items()}
    if current and current not in states:
        states[current] = instance.state or "none"
    if try_number not in states:
        return None
    others = tuple(sorted(states.items()))
    return _attempt_facts(instance, ended.get(try_number), try_number, others)


def _instance(dag_id: str, run_id: str, task_id: str, map_index: int) -> Any:
    ti = TaskInstance
    asked: ColumnElement[bool] = and_(
        DagRun.dag_id == dag_id, DagRun.run_id == run_id, ti.task_id == task_id, ti.map_index == map_index
    )
    columns = (ti.id, ti.dag_id, ti.run_id, ti.task_id, ti.map_index, ti.state, ti.operator, ti.try_number)
    more = (ti.max_tries, ti.pool, ti.queued_at, ti.start_date, ti.end_date, ti.ready_at)
    return (
        select(*columns, *more, DagRun.state.label("run_state"), Process.hostname)
        .join(DagRun, DagRun.id == ti.run_pk)
        .outerjoin(Process, Process.id == ti.owner)
        .where(asked)
    )


def _attempt_facts(
    instance: Row[Any], ended: Row[Any] | None, try_number: int, others: tuple[tuple[int, str], ...]
) -> AttemptFacts:
    is_current = try_number == instance.try_number
    seen = ended or instance
    return AttemptFacts(
        dag_id=instance.dag_id,
        run_id=instance.run_id,
        task_id=instance.task_id,
        map_index=instance.map_index,
        try_number=try_number,
        max_tries=instance.max_tries,
        operator=instance.operator,
        pool=instance.pool,
        state=seen.state,
        run_state=instance.run_state,
        is_live=ended is None and instance.state in ("queued", "running"),
        cause=ended.cause if ended else None,
        exit_code=ended.exit_code if ended else None,
        signal=ended.signal if ended else None,
        error=ended.error if ended else None,
        hostname=seen.hostname,
        queued_at=instance.queued_at if is_current else None,
        start_date=seen.start_date,
        end_date=seen.end_date,
        ready_at=instance.ready_at if is_current and instance.state == "up_for_retry" else None,
        others=others,
    )


def import_errors(connection: Connection) -> tuple[BrokenFile, ...]:
    """Files that cannot be read, by path."""
    rows = connection.execute(select(*_BROKEN).where(_HAS_IMPORT_ERROR)).all()
    found = (_broken_file(row) for row in rows)
    return tuple(sorted(found, key=lambda error: error.path))


def _broken_file(row: Any) -> BrokenFile:
    traceback = row._mapping.get("error")
    last_line = (traceback or "").strip().rpartition("\n")[2]
    what = row.error_summary or last_line or "the file cannot be imported"
    return BrokenFile(row.path, row.error_line, what, row.error_remedy, row.error_since, traceback, row.path_hash)


_heads: Final = msgspec.json.Decoder(DagHead)
