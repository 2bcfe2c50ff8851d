"""How good the warnings of :mod:`engine.metastore.sla_risk` would have been: earlier runs, looked at as they went on.

Each run is replayed from its start to its last deadline, with no knowledge but that of the runs that had ended before
it began. A run that was warned of before a deadline that it then missed is a hit. Runs that failed are left out, since
they are told as failed, and runs in which somebody marked a task, since nobody can tell when they would have ended.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, bindparam, select

from engine.metastore.durations import durations, seen_of
from engine.metastore.forecast import LEAST_HISTORY, Forecaster, Seen
from engine.metastore.graphs import Graph
from engine.metastore.sla import THE_RUN
from engine.metastore.sla_risk import HISTORY, Deadline, deadlines_of, risks_of
from engine.metastore.states import RunState, RunType
from engine.metastore.tables import DagRun

_LOOKS: Final = 60  # evenly over a run, besides one after each change
_LEAST_PAUSE: Final = timedelta(seconds=30)  # between two looks, as the notifier makes them
_RUNS: Final = (
    select(DagRun.id, DagRun.run_id, DagRun.data_interval_end, DagRun.start_date, DagRun.end_date)
    .where(
        DagRun.dag_id == bindparam("dag"),
        DagRun.state == RunState.SUCCESS,
        DagRun.run_type == RunType.SCHEDULED,
        DagRun.data_interval_end.is_not(None),
        DagRun.start_date.is_not(None),
    )
    .order_by(DagRun.end_date.desc())
    .limit(bindparam("limit"))
)


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run that has ended, and how its tasks did."""

    run_id: str
    scheduled_start: datetime
    began_at: datetime
    ended_at: datetime
    tasks: Mapping[str, Seen]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of one run: the first deadline that it missed, and when it would have been warned of."""

    run_id: str
    missed_at: datetime | None
    warned_at: datetime | None

    @property
    def is_hit(self) -> bool:
        return self.missed_at is not None and self.warned_at is not None


@dataclass(frozen=True, slots=True)
class Score:
    """How many runs were replayed, missed an SLA, were warned of, and both; how long before the miss, in the middle."""

    runs: int
    missed: int
    warned: int
    hits: int
    lead: timedelta | None

    @property
    def precision(self) -> float | None:
        """Of the runs that were warned of, the share that missed. None where none was warned of."""
        return self.hits / self.warned if self.warned else None

    @property
    def recall(self) -> float | None:
        """Of the runs that missed, the share that was warned of before. None where none missed."""
        return self.hits / self.missed if self.missed else None


def read_past(connection: Connection, dag_id: str, last: int) -> list[PastRun]:
    """The last runs of a DAG, the oldest first, with as many before them as their forecasts draw from."""
    rows = connection.execute(_RUNS, {"dag": dag_id, "limit": last + HISTORY}).all()
    tasks = seen_of(connection, [row.id for row in rows])
    return [
        PastRun(row.run_id, row.data_interval_end, row.start_date, row.end_date, tasks[row.id])
        for row in reversed(rows)
        if not any(task.is_no_measure for task in tasks[row.id].values())
    ]


def replay(graph: Graph, past: Sequence[PastRun], last: int, confidence: float) -> list[Replayed]:
    """Replay the last runs of these; those before which too few had ended are left out."""
    told = []
    for run in past[-last:]:
        before = [other.tasks for other in past if other.ended_at <= run.began_at][-HISTORY:]
        if len(before) >= LEAST_HISTORY:
            forecaster = Forecaster(graph, durations(dict(tasks) for tasks in before), run.run_id)
            told.append(_replay(forecaster, deadlines_of(graph.dag, run.scheduled_start), run, confidence))
    return told


def _replay(forecaster: Forecaster, deadlines: Sequence[Deadline], run: PastRun, confidence: float) -> Replayed:
    missed = [deadline.due_at for deadline in deadlines if _is_missed(run, deadline)]
    warned_at = None
    for now in _looks(run, deadlines):
        seen = {task_id: _as_of(task, now) for task_id, task in run.tasks.items()}
        if risks_of(forecaster, deadlines, seen, now, confidence):
            warned_at = now
            break
    later = [due for due in missed if warned_at is None or due > warned_at]
    return Replayed(run.run_id, min(later or missed, default=None), warned_at if later or not missed else None)


def _is_missed(run: PastRun, deadline: Deadline) -> bool:
    if deadline.task_id == THE_RUN:
        return run.ended_at > deadline.due_at
    task = run.tasks.get(deadline.task_id, Seen())
    return task.ended_at is None or task.ended_at > deadline.due_at


def _looks(run: PastRun, deadlines: Sequence[Deadline]) -> Iterator[datetime]:
    """After each change and in between, until the run has ended or the last deadline has passed."""
    until = min(run.ended_at, max((deadline.due_at for deadline in deadlines), default=run.began_at))
    pause = max(_LEAST_PAUSE, (until - run.began_at) / _LOOKS)
    even = (run.began_at + number * pause for number in range(_LOOKS + 1))
    changes = (moment for task in run.tasks.values() for moment in (task.began_at, task.ended_at) if moment)
    yield from (moment for moment in sorted({*even, *changes}) if run.began_at <= moment <= until)


def _as_of(task: Seen, now: datetime) -> Seen:
    """A task as it stood at that moment."""
    if task.ended_at is not None and task.ended_at <= now:
        return task
    return Seen("running", task.began_at) if task.began_at is not None and task.began_at <= now else Seen()


def score(replayed: Sequence[Replayed]) -> Score:
    """Add up."""
    leads = [one.missed_at - one.warned_at for one in replayed if one.missed_at and one.warned_at]
    return Score(
        runs=len(replayed),
        missed=sum(one.missed_at is not None for one in replayed),
        warned=sum(one.warned_at is not None for one in replayed),
        hits=sum(one.is_hit for one in replayed),
        lead=statistics.median_low(leads) if leads else None,
    )
