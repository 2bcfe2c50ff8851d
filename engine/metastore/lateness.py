"""What should have happened by now: runs that were due and not created, and runs that go on for too long, as events.

Both are told once however often and by however many they are looked for: the key of the event is made of stored facts
alone, the run that should be there or the run that goes on.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select

from alerting import outbox
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.tables import alert_event
from engine import links
from engine.authoring.serialized import SerializedDag
from engine.metastore.database import Tx
from engine.metastore.errors import NotFound
from engine.metastore.graphs import Graphs
from engine.metastore.runs import AT_LIMIT
from engine.metastore.states import RunState
from engine.metastore.tables import DagRun, DagSchedule

HISTORY: Final = 20  # successful runs that a DAG is measured by
LEAST_HISTORY: Final = 5  # with fewer nobody knows what is usual
_BATCH: Final = 100
_FRESH_SECONDS: Final = 600.0

_LATE: Final = (
    select(DagSchedule.dag_id, DagSchedule.version)
    .add_columns(DagSchedule.next_run_after, DagSchedule.next_interval_start)
    .where(
        DagSchedule.next_run_after <= bindparam("due_before"),
        DagSchedule.is_paused.is_(False),
        DagSchedule.dag_id.not_in(AT_LIMIT),
    )
    .order_by(DagSchedule.next_run_after)
    .limit(_BATCH)
)
_LONG: Final = (
    select(DagRun.id, DagRun.dag_id, DagRun.run_id, DagRun.version, DagRun.logical_date)
    .add_columns(DagRun.start_date, DagRun.clears)
    .join(DagSchedule, DagSchedule.dag_id == DagRun.dag_id)
    .where(
        DagRun.state == RunState.RUNNING,
        DagRun.start_date <= bindparam("began_before"),
        DagSchedule.is_paused.is_(False),  # its tasks wait on purpose
    )
    .order_by(DagRun.id)
    .limit(_BATCH)
)
_PAST: Final = (
    select(DagRun.start_date, DagRun.end_date)
    .where(DagRun.dag_id == bindparam("dag"), DagRun.state == RunState.SUCCESS)
    .order_by(DagRun.end_date.desc())
    .limit(HISTORY)
)


class LateDags:
    """Looks for runs that have been due for too long and were not created.

    A DAG that was just unpaused, or had max_active_runs runs until now, is behind its time for a moment. So a run must
    be missing in two looks, one after the other; a scheduler sweeps in between.
    """

    def __init__(self) -> None:
        self._missing: set[str] = set()  # keys of the events that the last look would have told

    def look(self, tx: Tx, graphs: Graphs, late_after: timedelta, base_url: str) -> int:
        """Tell what is still missing; returns how many are new. One statement if nothing."""
        rows = tx.connection.execute(_LATE, {"due_before": tx.now - late_after}).all()
        events = [_late(tx, graphs, row, base_url) for row in rows]
        missing, self._missing = self._missing, {event.dedup_key for event in events}
        return outbox.record(tx.connection, [event for event in events if event.dedup_key in missing])


def _late(tx: Tx, graphs: Graphs, row: Row[Any], base_url: str) -> AlertEvent:
    dag = _dag(tx, graphs, row.dag_id, row.version)
    due = f"{row.next_run_after:%Y-%m-%d %H:%M:%S} UTC"
    return AlertEvent(
        kind=EventKind.DAG_LATE,
        occurred_at=tx.now,
        dag_id=row.dag_id,
        run_id=f"scheduled__{row.next_interval_start.isoformat()}",  # the one that is missing
        owner=dag.owner if dag else None,
        tags=dag.tags if dag else (),
        logical_date=row.next_interval_start,
        due_at=row.next_run_after,
        summary=(
            f"A run of {row.dag_id} was due at {due} and has not been created. Is a scheduler running, and does it "
            f"keep up? See `windsock status`."
        ),
        url=links.dag_url(base_url, row.dag_id),
    )


class Medians:
    """How long the runs of a DAG take, remembered for ten minutes."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, timedelta | None]] = {}

    def get(self, connection: Connection, dag_id: str) -> timedelta | None:
        """The median of its last successful runs; None where there are too few."""
        until, median = self._known.get(dag_id, (0.0, None))
        if time.monotonic() >= until:
            median = _median(connection, dag_id)
            self._known[dag_id] = (time.monotonic() + _FRESH_SECONDS, median)
        return median


def _median(connection: Connection, dag_id: str) -> timedelta | None:
    runs = connection.execute(_PAST, {"dag": dag_id}).all()
    took = [(run.end_date - run.start_date).total_seconds() for run in runs if run.start_date is not None]
    return timedelta(seconds=statistics.median(took)) if len(took) >= LEAST_HISTORY else None


def look_for_overdue_runs(
    tx: Tx, graphs: Graphs, medians: Medians, factor: float, least: timedelta, base_url: str
) -> int:
    """Tell the runs that take `factor` times as long as is usual, and longer than `least`; returns how many are new."""
    rows = tx.connection.execute(_LONG, {"began_before": tx.now - least}).all()
    if not rows:
        return 0
    events = [event for row in _untold(tx, rows) if (event := _overdue(tx, graphs, medians, row, factor, base_url))]
    return outbox.record(tx.connection, events)


def _untold(tx: Tx, rows: Sequence[Row[Any]]) -> list[Row[Any]]:
    keys = {_event(row, tx.now).dedup_key: row for row in rows}
    told = select(alert_event.c.dedup_key).where(alert_event.c.dedup_key.in_(sorted(keys)))
    for key in tx.connection.execute(told).scalars():
        del keys[key]
    return list(keys.values())


def _event(row: Row[Any], now: datetime, **more: Any) -> AlertEvent:
    return AlertEvent(
        kind=EventKind.RUN_OVERDUE,
        occurred_at=now,
        dag_id=row.dag_id,
        run_id=row.run_id,
        try_number=row.clears + 1 if row.clears else None,  # a run begun anew is another episode
        **more,
    )


def _overdue(
    tx: Tx, graphs: Graphs, medians: Medians, row: Row[Any], factor: float, base_url: str
) -> AlertEvent | None:
    median = medians.get(tx.connection, row.dag_id)
    if median is None or tx.now - row.start_date < median * factor:
        return None
    dag = _dag(tx, graphs, row.dag_id, row.version)
    return _event(
        row,
        tx.now,
        owner=dag.owner if dag else None,
        tags=dag.tags if dag else (),
        logical_date=row.logical_date,
        started_at=row.start_date,
        due_at=row.start_date + median * factor,
        summary=(
            f"The run has gone on for {_whole(tx.now - row.start_date)}, {factor:g} times the usual: half of the last "
            f"successful runs of {row.dag_id} took {_whole(median)} or less."
        ),
        url=links.run_url(base_url, row.dag_id, row.run_id),
    )


def _whole(duration: timedelta) -> timedelta:
    """In whole seconds, as people read it."""
    return timedelta(seconds=round(duration.total_seconds()))


def _dag(tx: Tx, graphs: Graphs, dag_id: str, version: str) -> SerializedDag | None:
    try:
        return graphs.get(tx.connection, dag_id, version).dag
    except NotFound:
        return None
