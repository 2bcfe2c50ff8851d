"""What should have happened by now: runs that were due and not created, and runs that go on for too long, as events.

Both are told once however often and by however many they are looked for: the key of the event is made of stored facts
alone, the run that should be there or the run that goes on. All that is late is read at each look, so that what was
told never stands in the way of what was not; it is remembered, and only so many events are made at a time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select

from alerting import outbox
from alerting.clock import database_now
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from engine import links
from engine.authoring.serialized import SerializedDag
from engine.metastore.database import Database
from engine.metastore.durations import last_runtimes
from engine.metastore.errors import NotFound
from engine.metastore.graphs import Graphs
from engine.metastore.runs import AT_LIMIT
from engine.metastore.states import RunState
from engine.metastore.tables import DagRun, DagSchedule

HISTORY: Final = 20  # successful runs that a DAG is measured by
LEAST_HISTORY: Final = 5  # with fewer nobody knows what is usual
_BATCH: Final = 500  # events of one look; the next one tells the rest
_FRESH_SECONDS: Final = 600.0

_LATE: Final = (
    select(DagSchedule.dag_id, DagSchedule.version)
    .add_columns(DagSchedule.next_run_after, DagSchedule.next_interval_start)
    .where(
        DagSchedule.next_run_after <= bindparam("due_before"),
        DagSchedule.is_paused.is_(False),
        DagSchedule.dag_id.not_in(AT_LIMIT),
    )
    .order_by(DagSchedule.next_run_after, DagSchedule.dag_id)
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
)


class LateDags:
    """Looks for runs that have been due for too long and were not created.

    A DAG that was just unpaused, or had max_active_runs runs until now, is behind its time for a moment. So a run must
    be missing in two looks, one after the other; a scheduler sweeps in between.
    """

    def __init__(self) -> None:
        self._missing: set[str] = set()  # keys of the events of all that the last look found
        self._told: set[str] = set()  # those of them that are recorded

    def look(self, store: Database, graphs: Graphs, late_after: timedelta, base_url: str) -> int:
        """Tell what is still missing; returns how many are new. One statement if nothing."""
        with store.read() as connection:
            now = database_now(connection)
            due = connection.execute(_LATE, {"due_before": now - late_after})
            rows = {_late(row, now).dedup_key: row for row in due}
            still = [key for key in rows if key in self._missing and key not in self._told][:_BATCH]
            untold = _untold(connection, still)
            events = [_describe_late(connection, graphs, rows[key], now, base_url) for key in untold]
        new = _record(store, events)
        self._missing, self._told = set(rows), self._told.intersection(rows).union(still)
        return new


def _untold(connection: Connection, keys: Iterable[str]) -> list[str]:
    """Those of which no event is there, in order: after a restart nothing is made again that was told before."""
    wanted = list(keys)
    told = outbox.known(connection, wanted)
    return [key for key in wanted if key not in told]


def _record(store: Database, events: Sequence[AlertEvent]) -> int:
    return store.run(lambda tx: outbox.record(tx.connection, events)) if events else 0


def _late(row: Row[Any], now: datetime, **more: Any) -> AlertEvent:
    return AlertEvent(
        kind=EventKind.DAG_LATE,
        occurred_at=now,
        dag_id=row.dag_id,
        run_id=f"scheduled__{row.next_interval_start.isoformat()}",  # the one that is missing
        **more,
    )


def _describe_late(connection: Connection, graphs: Graphs, row: Row[Any], now: datetime, base_url: str) -> AlertEvent:
    dag = _dag(connection, graphs, row.dag_id, row.version)
    due = f"{row.next_run_after:%Y-%m-%d %H:%M:%S} UTC"
    return _late(
        row,
        now,
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
    took = [runtime.total_seconds() for runtime in last_runtimes(connection, dag_id, HISTORY)]
    return timedelta(seconds=statistics.median(took)) if len(took) >= LEAST_HISTORY else None


class OverdueRuns:
    """Looks for runs that take much longer than is usual for their DAG."""

    def __init__(self) -> None:
        self._medians = Medians()
        self._told: set[str] = set()  # keys of the events of those that still go on

    def look(self, store: Database, graphs: Graphs, factor: float, least: timedelta, base_url: str) -> int:
        """Tell the runs that take `factor` times as long as is usual, and longer than `least`; returns how many."""
        with store.read() as connection:
            now = database_now(connection)
            long = connection.execute(_LONG, {"began_before": now - least})
            rows = {_overdue(row, now).dedup_key: row for row in long}
            late = self._late(connection, rows, now, factor)
            events = [
                _describe_overdue(connection, graphs, rows[key], now, late[key], factor, base_url)
                for key in _untold(connection, late)
            ]
        new = _record(store, events)
        self._told = self._told.intersection(rows).union(late)
        return new

    def _late(
        self, connection: Connection, rows: Mapping[str, Row[Any]], now: datetime, factor: float
    ) -> dict[str, timedelta]:
        """Those that take too long and are not told yet, each with what is usual; as many as one look tells."""
        found: dict[str, timedelta] = {}
        for key, row in rows.items():
            if key in self._told or len(found) == _BATCH:
                continue
            median = self._medians.get(connection, row.dag_id)
            if median is not None and now - row.start_date >= median * factor:
                found[key] = median
        return found


def _overdue(row: Row[Any], now: datetime, **more: Any) -> AlertEvent:
    return AlertEvent(
        kind=EventKind.RUN_OVERDUE,
        occurred_at=now,
        dag_id=row.dag_id,
        run_id=row.run_id,
        try_number=row.clears + 1 if row.clears else None,  # a run begun anew is another episode
        **more,
    )


def _describe_overdue(
    connection: Connection,
    graphs: Graphs,
    row: Row[Any],
    now: datetime,
    median: timedelta,
    factor: float,
    base_url: str,
) -> AlertEvent:
    dag = _dag(connection, graphs, row.dag_id, row.version)
    return _overdue(
        row,
        now,
        owner=dag.owner if dag else None,
        tags=dag.tags if dag else (),
        logical_date=row.logical_date,
        started_at=row.start_date,
        due_at=row.start_date + median * factor,
        summary=(
            f"The run has gone on for {_whole(now - row.start_date)}, {factor:g} times the usual: half of the last "
            f"successful runs of {row.dag_id} took {_whole(median)} or less."
        ),
        url=links.run_url(base_url, row.dag_id, row.run_id),
    )


def _whole(duration: timedelta) -> timedelta:
    """In whole seconds, as people read it."""
    return timedelta(seconds=round(duration.total_seconds()))


def _dag(connection: Connection, graphs: Graphs, dag_id: str, version: str) -> SerializedDag | None:
    try:
        return graphs.get(connection, dag_id, version).dag
    except NotFound:
        return None
