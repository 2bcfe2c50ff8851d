"""Rows → samples, the same for Windsock's tables and for Airflow's.

Each function says which columns its rows must have. Counts and sums may come as ``Decimal``, instants as naive UTC.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import literal_column, or_

from exporters.metastore.database import instant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row

    from exporters.metastore.samples import Samples

OPEN_RUNS: Final = ("queued", "running")
WAITING: Final = ("scheduled", "queued")
FINAL_RUNS: Final = ("success", "failed")


def among(column: ColumnElement[Any], words: Collection[str]) -> ColumnElement[bool]:
    """`column` is one of `words`: spelt out, since a partial index serves no parameter."""
    return or_(*(column == literal_column(f"'{word}'") for word in words))


class LastRun(NamedTuple):
    """When a run that is over began, if it did, and ended."""

    ended: datetime
    started: datetime | None

    @classmethod
    def of(cls, ended: Any, started: Any) -> LastRun:
        """From two columns' values."""
        return cls(instant(ended), None if started is None else instant(started))


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


def add_active(samples: Samples, rows: Iterable[Row[Any]], paused: Collection[str]) -> None:
    """``pool``, ``dag_id``, ``state``, ``tasks``, ``ready_since``, ``running_since``: what waits and what runs.

    What is scheduled of a `paused` DAG waits for nothing but a person.
    """
    for row in rows:
        is_held = row.state == "scheduled" and row.dag_id in paused
        if row.state in WAITING and row.ready_since is not None and not is_held:
            samples.raise_to("metastore.oldest_queued_seconds", samples.age(instant(row.ready_since)), row.pool)
        if row.state == "scheduled" and not is_held:
            samples.add("metastore.pool_waiting_tasks", float(row.tasks), row.pool)
        if row.state == "running" and row.running_since is not None:
            samples.raise_to("metastore.oldest_running_seconds", samples.age(instant(row.running_since)), row.dag_id)


def add_dags(samples: Samples, rows: Iterable[Row[Any]]) -> None:
    """``dag_id``, ``is_paused``, ``next_run``."""
    for row in rows:
        samples.set("metastore.dag_paused", float(bool(row.is_paused)), row.dag_id)
        if row.next_run is not None and not row.is_paused:
            samples.set("metastore.next_run_timestamp_seconds", instant(row.next_run).timestamp(), row.dag_id)


def paused_of(rows: Iterable[Row[Any]]) -> frozenset[str]:
    """``dag_id``, ``is_paused``: the DAGs that are paused."""
    return frozenset(row.dag_id for row in rows if row.is_paused)


def add_run_limits(samples: Samples, limits: Mapping[str, int | None], runs: Iterable[Row[Any]]) -> None:
    """DAG → max_active_runs; ``dag_id``, ``runs``: its runs that are not over. Those with a ``lane`` do not count."""
    open_runs: Counter[str] = Counter()
    for row in runs:
        if getattr(row, "lane", None) is None:
            open_runs[row.dag_id] += int(row.runs)
    for dag_id, limit in limits.items():
        if limit is not None:
            samples.set("metastore.dag_at_max_active_runs", float(open_runs[dag_id] >= limit), dag_id)


def add_last_runs(samples: Samples, dag_id: str, runs: Mapping[str, LastRun]) -> None:
    """Tell of the last run of each outcome; there may be none."""
    if success := runs.get("success"):
        samples.set("metastore.last_success_timestamp_seconds", success.ended.timestamp(), dag_id)
    if not runs:
        return
    state, last = max(runs.items(), key=lambda item: (item[1].ended, item[0] == "failed"))
    samples.set("metastore.last_run_timestamp_seconds", last.ended.timestamp(), dag_id)
    samples.set("metastore.last_run_failed", float(state == "failed"), dag_id)
    if last.started is not None:
        seconds = (last.ended - last.started).total_seconds()
        samples.set("metastore.last_run_duration_seconds", max(0.0, seconds), dag_id)


class Beat(NamedTuple):
    """The newest heartbeat of a kind of process on one host."""

    component: str
    hostname: str | None
    beat: datetime | None


def add_heartbeats(samples: Samples, rows: Iterable[Row[Any] | Beat]) -> None:
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
