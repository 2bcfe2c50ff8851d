"""SLAs that will probably be missed, as events, before they are.

For each run under way that has open deadlines (:mod:`engine.metastore.sla`), and once a run: where the forecast
(:mod:`engine.metastore.forecast`) says, as surely as the settings ask for, that a task or the run itself will
end after its time. The key of the event is the run's, so however many look, it is told once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select

from alerting import outbox
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.tables import alert_event
from engine import links
from engine.authoring.serialized import SerializedDag
from engine.metastore.database import Tx
from engine.metastore.durations import last_durations, seen_of
from engine.metastore.errors import NotFound
from engine.metastore.forecast import Forecast, Forecaster, History, Seen, Slow
from engine.metastore.graphs import Graph, Graphs
from engine.metastore.sla import THE_RUN
from engine.metastore.states import RunState
from engine.metastore.tables import DagRun, SlaDeadline

HISTORY: Final = 50  # successful runs that a forecast draws from
_BATCH: Final = 500
_FRESH_SECONDS: Final = 600.0
_UNDER_WAY: Final = (
    select(DagRun.id, DagRun.dag_id, DagRun.run_id, DagRun.version, DagRun.logical_date, DagRun.start_date)
    .add_columns(DagRun.clears, SlaDeadline.task_id, SlaDeadline.due_at)
    .join(SlaDeadline, SlaDeadline.run_pk == DagRun.id)
    .where(DagRun.state == RunState.RUNNING, DagRun.id > bindparam("after"))
    .where(SlaDeadline.state == "open", SlaDeadline.due_at > bindparam("now"))
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
    """A run, and its deadlines ahead."""

    row: Row[Any]
    graph: Graph
    deadlines: list[Deadline]


class RiskLookout:
    """Looks at the runs under way. Remembers for ten minutes how long the tasks of a DAG take."""

    def __init__(self, confidence: float, base_url: str) -> None:
        self._confidence = confidence
        self._url = base_url
        self._histories: dict[str, tuple[float, History]] = {}
        self._after = 0  # the last run that was looked at: of very many, the next look goes on there

    def look(self, tx: Tx, graphs: Graphs) -> int:
        """Tell what has come to be at risk; returns how many events. One statement where no run is under way."""
        runs = self._with_deadlines(tx, graphs)
        if not runs:
            return 0
        seen = seen_of(tx.connection, [under_way.row.id for under_way in runs])
        events = (self._event(tx, under_way, seen[under_way.row.id]) for under_way in runs)
        return outbox.record(tx.connection, [event for event in events if event is not None])

    def _with_deadlines(self, tx: Tx, graphs: Graphs) -> list[_UnderWay]:
        """Runs that have deadlines ahead and of which nothing is told yet."""
        page = tx.connection.execute(_UNDER_WAY, {"after": self._after, "now": tx.now}).all()
        runs = {run_pk: list(rows) for run_pk, rows in groupby(page, lambda row: row.id)}
        if len(page) == _BATCH and len(runs) > 1:
            runs.popitem()  # some of its deadlines may be on the next page
        self._after = max(runs) if len(page) == _BATCH else 0
        told = _told(tx.connection, [_key(rows[0]) for rows in runs.values()])
        fresh = [rows for rows in runs.values() if _key(rows[0]) not in told]
        shapes = [(rows, _shape(tx, graphs, rows[0])) for rows in fresh]
        return [
            _UnderWay(rows[0], graph, [Deadline(row.task_id, row.due_at) for row in rows])
            for rows, graph in shapes
            if graph is not None
        ]

    def _event(self, tx: Tx, under_way: _UnderWay, seen: Mapping[str, Seen]) -> AlertEvent | None:
        row, graph = under_way.row, under_way.graph
        history = self._history(tx.connection, row.dag_id)
        forecaster = Forecaster(graph, history, f"{row.dag_id}\x1f{row.run_id}")
        risks = risks_of(forecaster, under_way.deadlines, seen, tx.now, self._confidence)
        if not risks:
            return None
        first = risks[0]
        slow = forecaster.slowest(first.deadline.task_id, seen, tx.now)
        task = graph.tasks.get(first.deadline.task_id)
        return AlertEvent(
            kind=EventKind.SLA_AT_RISK,
            occurred_at=tx.now,
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


def _shape(tx: Tx, graphs: Graphs, row: Row[Any]) -> Graph | None:
    try:
        return graphs.get(tx.connection, row.dag_id, row.version)
    except NotFound:  # the scheduler says so
        return None


def _identity(row: Row[Any]) -> dict[str, Any]:
    """A run begun anew is another episode."""
    return {"dag_id": row.dag_id, "run_id": row.run_id, "try_number": row.clears + 1 if row.clears else None}


def _key(row: Row[Any]) -> str:
    return AlertEvent(kind=EventKind.SLA_AT_RISK, occurred_at=row.start_date, **_identity(row)).dedup_key


def _told(connection: Connection, keys: Sequence[str]) -> set[str]:
    if not keys:
        return set()
    statement = select(alert_event.c.dedup_key).where(alert_event.c.dedup_key.in_(keys))
    return set(connection.execute(statement).scalars())


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
