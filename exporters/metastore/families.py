"""Rows → samples, the same for Windsock's tables and for Airflow's.

Each function says which columns its rows must have. Counts and sums may come as ``Decimal``, instants as naive UTC.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import literal_column, or_, select

from exporters.metastore.database import instant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import ColumnElement, FromClause, Row, ScalarSelect

    from exporters.metastore.samples import Samples

OPEN_RUNS: Final = ("queued", "running")
WAITING: Final = ("scheduled", "queued")
_FINAL_RUNS: Final = ("success", "failed")


def among(column: ColumnElement[Any], words: Collection[str]) -> ColumnElement[bool]:
    """`column` is one of `words`: spelt out, since a partial index serves no parameter."""
    return or_(*(column == literal_column(f"'{word}'") for word in words))


def last_runs(dag: FromClause, dag_run: FromClause) -> list[ColumnElement[Any]]:
    """Columns ``success_ended``, ``success_started``, ``failed_ended``, ``failed_started`` for a select over `dag`."""
    return [
        _of_last_run(dag, dag_run, state, column).label(f"{state}_{name}")
        for state in _FINAL_RUNS
        for column, name in (("end_date", "ended"), ("start_date", "started"))
    ]


def _of_last_run(dag: FromClause, dag_run: FromClause, state: str, column: str) -> ScalarSelect[Any]:
    run = dag_run.alias(f"{state}_run")
    newest = select(run.c[column]).where(run.c.dag_id == dag.c.dag_id, run.c.state == literal_column(f"'{state}'"))
    newest = newest.where(run.c.end_date.is_not(None)).order_by(run.c.end_date.desc()).limit(1)
    return newest.correlate(dag).scalar_subquery()


def add_runs(samples: Samples, rows: Iterable[Row[Any]]) -> None:
    """``dag_id``, ``state``, ``runs``."""
    for row in rows:
        samples.add("metastore.dag_runs", float(row.runs), row.dag_id, row.state)


def add_tasks(samples: Samples, rows: Iterable[Row[Any]]) -> None:
    """``dag_id``, ``state``, ``tasks``: task instances of open runs."""
    for row in rows:
        samples.add("metastore.task_instances", float(row.tasks), row.dag_id, row.state or "none")


def add_pools(samples: Samples, rows: Iterable[Row[Any]]) -> None:
    """``pool``, ``slots``, ``used``. Nothing waits until `add_active` says so."""
    for row in rows:
        samples.set("metastore.pool_slots", float(row.slots), row.pool)
        samples.set("metastore.pool_used_slots", float(row.used), row.pool)
        samples.set("metastore.pool_waiting_tasks", 0, row.pool)
        samples.set("metastore.oldest_queued_seconds", 0, row.pool)


def add_active(samples: Samples, rows: Iterable[Row[Any]]) -> None:
    """``pool``, ``dag_id``, ``state``, ``tasks``, ``ready_since``, ``running_since``: what waits and what runs."""
    for row in rows:
        if row.state in WAITING and row.ready_since is not None:
            samples.raise_to("metastore.oldest_queued_seconds", samples.age(instant(row.ready_since)), row.pool)
        if row.state == "scheduled":
            samples.add("metastore.pool_waiting_tasks", float(row.tasks), row.pool)
        if row.state == "running" and row.running_since is not None:
            samples.raise_to("metastore.oldest_running_seconds", samples.age(instant(row.running_since)), row.dag_id)


def add_dags(samples: Samples, rows: Iterable[Row[Any]]) -> None:
    """``dag_id``, ``is_paused``, ``next_run`` and the columns of `last_runs`."""
    for row in rows:
        samples.set("metastore.dag_paused", float(bool(row.is_paused)), row.dag_id)
        if row.next_run is not None and not row.is_paused:
            samples.set("metastore.next_run_timestamp_seconds", instant(row.next_run).timestamp(), row.dag_id)
        if row.success_ended is not None:
            samples.set("metastore.last_success_timestamp_seconds", instant(row.success_ended).timestamp(), row.dag_id)
        _add_last_run(samples, row)


def _add_last_run(samples: Samples, row: Row[Any]) -> None:
    ends = [
        (instant(ended), failed, started)
        for ended, failed, started in (
            (row.success_ended, 0, row.success_started),
            (row.failed_ended, 1, row.failed_started),
        )
        if ended is not None
    ]
    if not ends:
        return
    ended, failed, started = max(ends, key=lambda end: end[:2])
    samples.set("metastore.last_run_timestamp_seconds", ended.timestamp(), row.dag_id)
    samples.set("metastore.last_run_failed", failed, row.dag_id)
    if started is not None:
        seconds = (ended - instant(started)).total_seconds()
        samples.set("metastore.last_run_duration_seconds", max(0.0, seconds), row.dag_id)


def add_heartbeats(samples: Samples, rows: Iterable[Row[Any]]) -> None:
    """``component``, ``hostname``, ``beat``."""
    for row in rows:
        if row.beat is not None:
            samples.set(
                "metastore.heartbeat_timestamp_seconds",
                instant(row.beat).timestamp(),
                row.component,
                row.hostname or "",
            )


def add_import_errors(samples: Samples, rows: Iterable[Row[Any]], dags_folder: str) -> None:
    """``path``."""
    for row in rows:
        samples.set("metastore.import_errors", 1, relative(row.path, dags_folder))


def relative(path: str, folder: str) -> str:
    """`path` as seen from `folder`; unchanged where it does not lie below it, or no folder is known."""
    if not folder or not PurePath(path).is_relative_to(folder):
        return path
    return str(PurePath(path).relative_to(folder))
