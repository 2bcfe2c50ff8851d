"""Missed deadlines: claimed once when they are due, by whichever scheduler is first; and what holds them up."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BindParameter, Row, Select, bindparam, func, select, update

from engine.metastore.changes import RunFacts
from engine.metastore.database import Tx
from engine.metastore.errors import NotFound
from engine.metastore.graphs import Graph, Graphs
from engine.metastore.runs import FACT_COLUMNS, facts_of
from engine.metastore.sla import SLA, THE_RUN
from engine.metastore.states import RunState, TaskState
from engine.metastore.tables import Base, DagRun, DagSchedule, TaskInstance

log = logging.getLogger(__name__)

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
GRACE: Final = timedelta(milliseconds=25)
"""How long after a deadline it is claimed: an end on the stroke may still be on its way to the metastore."""
SETTLING: Final = timedelta(seconds=10)
"""How long schedulers that have just come back to the metastore leave misses untold, where there are several."""

_DONE: Final = (TaskState.SUCCESS, TaskState.SKIPPED, TaskState.REMOVED)
_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
_IS_DUE: Final = (SLA.c.state == "open") & (SLA.c.due_at <= bindparam("due"))
_DUE: Final = select(SLA.c.run_pk).where(_IS_DUE).order_by(SLA.c.due_at, SLA.c.id).limit(bindparam("limit"))
_FIRST: Final = select(func.min(SLA.c.id)).where(SLA.c.run_pk.in_(_IDS), _IS_DUE).group_by(SLA.c.run_pk)
_STILL: Final = select(SLA.c.run_pk).where(SLA.c.id.in_(_IDS), SLA.c.state == "open").order_by(SLA.c.id)
_DUE_OF_RUNS: Final = select(SLA).where(SLA.c.run_pk.in_(_IDS), _IS_DUE).order_by(SLA.c.run_pk, SLA.c.due_at, SLA.c.id)
_OPEN_OF_RUNS: Final[Select[Any]] = select(SLA).where(SLA.c.run_pk.in_(_IDS), _IS_DUE).order_by(SLA.c.id)
_MISS: Final = (
    update(SLA).where(SLA.c.id.in_(_IDS), SLA.c.state == "open").values(state="missed", missed_at=bindparam("b_now"))
)
_LEAVE: Final = update(SLA).where(SLA.c.id.in_(_IDS), SLA.c.state == "open").values(state="cancelled")
_PAUSED: Final = select(DagSchedule.dag_id, DagSchedule.paused_at).where(
    DagSchedule.dag_id.in_(bindparam("dags", expanding=True)), DagSchedule.is_paused.is_(True)
)
_RUNS: Final = select(*FACT_COLUMNS, DagRun.state).where(DagRun.id.in_(_IDS)).order_by(DagRun.id)
_TASKS: Final[Select[Any]] = (
    select(TI.c.id, TI.c.run_pk, TI.c.task_id, TI.c.map_index, TI.c.state, TI.c.try_number, TI.c.max_tries)
    .add_columns(TI.c.start_date, TI.c.ready_at)
    .where(TI.c.run_pk.in_(_IDS))
)


@dataclass(frozen=True, slots=True)
class Missed:
    """A deadline that was missed. `completed_at` where it was done meanwhile, too late.

    `started_at` is the first start of its task, or of the run.
    """

    id: int
    task_id: str
    position: int
    due_at: datetime
    completed_at: datetime | None
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class Blocker:
    """A task that what was missed waits for, or is."""

    ti_id: int
    task_id: str
    map_index: int
    state: str | None
    try_number: int
    max_tries: int
    start_date: datetime | None
    ready_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wave:
    """The deadlines of one run that fell due together: they are told as one. `run.start_date` may be None.

    `graph` is None where the run's version of its DAG cannot be read.
    """

    run: RunFacts
    run_state: RunState
    graph: Graph | None
    missed: tuple[Missed, ...]
    blockers: tuple[Blocker, ...]


def wait_before_telling(others: int, seconds_at_work: float) -> timedelta:
    """How long a scheduler waits before it tells misses, with so many others and so long after start or outage.

    It has written all that it knows. An end that was in time may still lie with one of the others.
    """
    return max(timedelta(0), SETTLING - timedelta(seconds=seconds_at_work)) if others else timedelta(0)


def claim_missed_of_runs(
    tx: Tx, graphs: Graphs, run_pks: Collection[int], cleared: Collection[tuple[int, str]]
) -> list[Wave]:
    """What of these runs has passed untold, before something of them is `cleared` (run and task_id).

    A scheduler that looked later would find those deadlines renewed. All others are left to it: an end that was in time
    may still be on its way. Whoever holds a row is waited for.
    """
    statement = _OPEN_OF_RUNS.with_for_update() if tx.dialect.locks_rows else _OPEN_OF_RUNS
    found = tx.connection.execute(statement, {"due": tx.now, "ids": sorted(run_pks)})
    return _waves(tx, graphs, _miss(tx, [row for row in found if (row.run_pk, row.task_id) in cleared]))


def claim_missed(tx: Tx, graphs: Graphs, limit: int) -> tuple[list[Wave], int]:
    """Take the deadlines that are due, each once, whoever else looks; returns also how many rows that were.

    1. Read which runs the first due rows are of, without a lock.
    2. Lock the first due row of each of them: whoever has it, has the run. Nobody ever waits here, so that no two
       schedulers can wait for each other: a run that another has, or a row whose end is being written, is left to it.
    3. Lock all that is due in those runs, since a wave is one message.
    4. What came due while its DAG was paused is cancelled: whoever paused it knows.
    5. The guarded UPDATE makes the rest missed. Facts and states are read behind it.
    """
    due = {"due": tx.now - GRACE}
    runs = _lock_runs(tx, due, limit)
    if not runs:
        return [], 0
    rows = list(tx.connection.execute(_locked(tx, _DUE_OF_RUNS), {**due, "ids": runs}))
    return _waves(tx, graphs, _miss(tx, rows)), len(rows)


def _miss(tx: Tx, rows: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    """Make these open, locked rows missed, or cancelled where their DAG was paused before; returns the missed."""
    if not rows:
        return rows
    found = tx.connection.execute(_PAUSED, {"dags": sorted({row.dag_id for row in rows})})
    paused = {row.dag_id: row.paused_at for row in found}
    left = {row.id for row in rows if row.dag_id in paused and not _passed_before(row.due_at, paused[row.dag_id])}
    if left:
        tx.connection.execute(_LEAVE, {"ids": sorted(left)})
    missed = [row for row in rows if row.id not in left]
    if missed:
        tx.connection.execute(_MISS, {"ids": [row.id for row in missed], "b_now": tx.now})
    return missed


def _passed_before(due_at: datetime, paused_at: datetime | None) -> bool:
    return paused_at is not None and due_at <= paused_at


def _lock_runs(tx: Tx, due: Mapping[str, datetime], limit: int) -> list[int]:
    """The runs of the first `limit` due rows, as far as no other scheduler has them."""
    wanted = sorted(set(tx.connection.execute(_DUE, {**due, "limit": limit}).scalars()))
    if not wanted:
        return []
    first = sorted(tx.connection.execute(_FIRST, {**due, "ids": wanted}).scalars())
    return sorted(tx.connection.execute(_locked(tx, _STILL), {"ids": first}).scalars()) if first else []


def _locked(tx: Tx, statement: Select[Any]) -> Select[Any]:
    return statement.with_for_update(skip_locked=True) if tx.dialect.locks_rows else statement


def _waves(tx: Tx, graphs: Graphs, rows: Sequence[Row[Any]]) -> list[Wave]:
    by_run: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        by_run[row.run_pk].append(row)
    if not by_run:
        return []
    ids = {"ids": sorted(by_run)}
    instances: dict[int, dict[str, Row[Any]]] = defaultdict(dict)
    started: dict[int, dict[str, datetime]] = defaultdict(dict)
    for row in tx.connection.execute(_TASKS, ids):
        instances[row.run_pk][row.task_id] = row
        if row.start_date is not None:
            started[row.run_pk][row.task_id] = min(row.start_date, started[row.run_pk].get(row.task_id, row.start_date))
    waves = []
    for row in tx.connection.execute(_RUNS, ids):
        run = facts_of(row)
        starts = {THE_RUN: run.start_date, **started[run.id]}
        missed = tuple(
            Missed(one.id, one.task_id, one.position, one.due_at, one.completed_at, starts.get(one.task_id))
            for one in by_run[run.id]
        )
        graph = _graph(tx, graphs, run)
        late = [one.task_id for one in missed if one.completed_at is None]
        blockers = _blockers(graph, late, instances[run.id]) if graph else ()
        waves.append(Wave(run, RunState(row.state), graph, missed, blockers))
    return waves


def _graph(tx: Tx, graphs: Graphs, run: RunFacts) -> Graph | None:
    try:
        return graphs.get(tx.connection, run.dag_id, run.version)
    except NotFound as error:
        log.error(
            "run %s of DAG %s has missed a deadline, told without owner and mail: %s", run.run_id, run.dag_id, error
        )
        return None


def _blockers(graph: Graph, missed: Collection[str], instances: Mapping[str, Row[Any]]) -> tuple[Blocker, ...]:
    """Of the missed tasks and all that they stand behind: what runs, waits for itself alone, or has failed."""
    names = set(graph.tasks) if THE_RUN in missed else {*missed, *graph.upstream_of(missed)}
    undone = [name for name, row in instances.items() if name in names and row.state not in _DONE]
    found = []
    for task in graph.dag.tasks:
        if task.task_id not in undone:
            continue
        row = instances[task.task_id]
        waits = row.state in (None, TaskState.UPSTREAM_FAILED)
        if not waits or not any(parent in undone for parent in task.upstream):
            about = (row.id, row.task_id, row.map_index, row.state, row.try_number, row.max_tries)
            found.append(Blocker(*about, row.start_date, row.ready_at))
    return tuple(found)
