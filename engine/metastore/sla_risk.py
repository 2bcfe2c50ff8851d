"""SLAs that will probably be missed, as events, before they are.

For each run under way that has open deadlines (:mod:`engine.metastore.sla`), and once a run: where the forecast
(:mod:`engine.metastore.forecast`) says, as surely as the settings ask for, that a task or the run itself will
end after its time. The key of the event is the run's, so however many look, it is told once. Nothing is said of a
paused DAG, whose tasks wait on purpose.

1. One page of the runs is read, with all that their forecasts need.
2. The forecasts are made outside of any transaction, for :data:`FORECAST_SECONDS` at most: who looks has more to do.
3. What is new is recorded, in one short transaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select

from alerting import outbox
from alerting.clock import database_now
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from engine import links
from engine.authoring.serialized import SerializedDag
from engine.metastore.database import Database
from engine.metastore.durations import last_durations, seen_of
from engine.metastore.errors import NotFound
from engine.metastore.forecast import Forecast, Forecaster, History, Seen, Slow
from engine.metastore.graphs import Graph, Graphs
from engine.metastore.sla import THE_RUN
from engine.metastore.states import RunState
from engine.metastore.tables import DagRun, DagSchedule, SlaDeadline

HISTORY: Final = 50  # successful runs that a forecast draws from
FORECAST_SECONDS: Final = 2.0  # of one look; the next one goes on
_BATCH: Final = 500
_FRESH_SECONDS: Final = 600.0
_UNDER_WAY: Final = (
    select(DagRun.id, DagRun.dag_id, DagRun.run_id, DagRun.version, DagRun.logical_date, DagRun.start_date)
    .add_columns(DagRun.clears, SlaDeadline.task_id, SlaDeadline.due_at)
    .join(SlaDeadline, SlaDeadline.run_pk == DagRun.id)
    .join(DagSchedule, DagSchedule.dag_id == DagRun.dag_id)
    .where(DagRun.state == RunState.RUNNING, DagRun.id > bindparam("after"))
    .where(SlaDeadline.state == "open", SlaDeadline.due_at > bindparam("now"), DagSchedule.is_paused.is_(False))
    .order_by(DagRun.id, SlaDeadline.due_at, SlaDeadline.task_id)
    .limit(_BATCH)
)


@dataclass(frozen=True, slots=True)
class Deadline:
    """A task's in one run, or the run's own, whose ``task_id`` is empty."""

    task_id: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Risk:
    """A deadline that will probably be missed."""

    deadline: Deadline
    forecast: Forecast
    probability: float


def deadlines_of(dag: SerializedDag, scheduled_start: datetime | None) -> list[Deadline]:
    """What the DAG's ``sla=`` mean for a run of that start, the earliest first."""
    if scheduled_start is None:
        return []
    allowed = [(task.task_id, task.sla_seconds) for task in dag.tasks] + [(THE_RUN, dag.sla_seconds)]
    found = [Deadline(name, scheduled_start + timedelta(seconds=sla)) for name, sla in allowed if sla is not None]
    return sorted(found, key=lambda deadline: (deadline.due_at, deadline.task_id))


def risks_of(
    forecaster: Forecaster, deadlines: Sequence[Deadline], seen: Mapping[str, Seen], now: datetime, confidence: float
) -> list[Risk]:
    """The deadlines ahead that will be missed with at least this probability; what is over is no risk any more."""
    ahead = [deadline for deadline in deadlines if deadline.due_at > now]
    forecasts = forecaster.forecasts({deadline.task_id for deadline in ahead}, seen, now)
    risks = [
        Risk(deadline, forecast, forecast.probability_after(deadline.due_at))
        for deadline in ahead
        if (forecast := forecasts.get(deadline.task_id)) is not None
    ]
    return [risk for risk in risks if risk.probability >= confidence]


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A run with its deadlines ahead, and what its forecast needs."""

    row: Row[Any]
    graph: Graph
    deadlines: list[Deadline]
    seen: Mapping[str, Seen]
    history: History


@dataclass(frozen=True, slots=True)
class _Page:
    """What one look has read. ``last`` is its last run, or 0: there are no more."""

    now: datetime
    runs: list[_UnderWay]
    last: int


class RiskLookout:
    """Looks at the runs under way. Remembers for ten minutes how long the tasks of a DAG take."""

    def __init__(self, confidence: float, base_url: str) -> None:
        self._confidence = confidence
        self._url = base_url
        self._histories: dict[str, tuple[float, History]] = {}
        self._after = 0  # the last run that was looked at: of very many, the next look goes on there

    def look(self, store: Database, graphs: Graphs) -> int:
        """Tell what has come to be at risk; returns how many events. One statement where no run is under way."""
        with store.read() as connection:
            page = self._read(connection, graphs)
        events: list[AlertEvent] = []
        after = page.last
        until = time.monotonic() + FORECAST_SECONDS
        for under_way in page.runs:
            events += self._events(under_way, page.now)
            if time.monotonic() >= until:
                after = under_way.row.id
                break
        new = store.run(lambda tx: outbox.record(tx.connection, events)) if events else 0
        self._after = after
        return new

    def _read(self, connection: Connection, graphs: Graphs) -> _Page:
        """Runs that have deadlines ahead and of which nothing is told yet."""
        now = database_now(connection)
        rows = connection.execute(_UNDER_WAY, {"after": self._after, "now": now}).all()
        runs = {run_pk: list(group) for run_pk, group in groupby(rows, lambda row: row.id)}
        if len(rows) == _BATCH and len(runs) > 1:
            runs.popitem()  # some of its deadlines may be on the next page
        told = outbox.known(connection, [_key(group[0]) for group in runs.values()])
        fresh = {run_pk: group for run_pk, group in runs.items() if _key(group[0]) not in told}
        seen = seen_of(connection, fresh)
        under_way = []
        for run_pk, group in fresh.items():
            first = group[0]
            if graph := _shape(connection, graphs, first):
                deadlines = [Deadline(row.task_id, row.due_at) for row in group]
                history = self._history(connection, first.dag_id)
                under_way.append(_UnderWay(first, graph, deadlines, seen[run_pk], history))
        return _Page(now, under_way, max(runs) if len(rows) == _BATCH else 0)

    def _events(self, under_way: _UnderWay, now: datetime) -> Iterator[AlertEvent]:
        row, graph, seen = under_way.row, under_way.graph, under_way.seen
        forecaster = Forecaster(graph, under_way.history, f"{row.dag_id}\x1f{row.run_id}")
        risks = risks_of(forecaster, under_way.deadlines, seen, now, self._confidence)
        if not risks:
            return
        first = risks[0]
        slow = forecaster.slowest(first.deadline.task_id, seen, now)
        task = graph.tasks.get(first.deadline.task_id)
        yield AlertEvent(
            kind=EventKind.SLA_AT_RISK,
            occurred_at=now,
            **_identity(row),
            owner=task.owner if task else graph.dag.owner,
            tags=graph.dag.tags,
            logical_date=row.logical_date,
            started_at=row.start_date,
            due_at=first.deadline.due_at,
            predicted_at=first.forecast.at(0.5),
            missed=tuple(risk.deadline.task_id for risk in risks if risk.deadline.task_id != THE_RUN),
            blocking=(slow.task_id,) if slow else (),
            emails=task.email if task else (),
            summary=_summary(risks, slow),
            url=links.run_url(self._url, row.dag_id, row.run_id),
        )

    def _history(self, connection: Connection, dag_id: str) -> History:
        until, history = self._histories.get(dag_id, (0.0, {}))
        if time.monotonic() >= until:
            history = last_durations(connection, dag_id, HISTORY)
            self._histories[dag_id] = (time.monotonic() + _FRESH_SECONDS, history)
        return history


def _shape(connection: Connection, graphs: Graphs, row: Row[Any]) -> Graph | None:
    try:
        return graphs.get(connection, row.dag_id, row.version)
    except NotFound:  # the scheduler says so
        return None


def _identity(row: Row[Any]) -> dict[str, Any]:
    """A run begun anew is another episode."""
    return {"dag_id": row.dag_id, "run_id": row.run_id, "try_number": row.clears + 1 if row.clears else None}


def _key(row: Row[Any]) -> str:
    return AlertEvent(kind=EventKind.SLA_AT_RISK, occurred_at=row.start_date, **_identity(row)).dedup_key


def _summary(risks: Sequence[Risk], slow: Slow | None) -> str:
    first = risks[0]
    more = f" {len(risks) - 1} more of its deadlines will be missed too." if len(risks) > 1 else ""
    return (
        f"{first.deadline.task_id or 'The run'} will probably end at {_at(first.forecast.at(0.5))}, after its time, "
        f"{_at(first.deadline.due_at)} (confidence {first.probability:.0%}).{more} {_cause(slow)}"
    )


def _cause(slow: Slow | None) -> str:
    if slow is None:
        return "No task is slow against its own history."
    took, usual = timedelta(seconds=round(slow.took)), timedelta(seconds=round(slow.usual))
    return f"Slow against its own history: {slow.task_id}, {took} so far or in all and usually {usual}."


def _at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
