"""Which scheduled runs a DAG gets: catch-up, pauses, changed schedules, end dates, limits, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from engine.authoring.serialized import (
    ContinuousSchedule,
    CronSchedule,
    DeltaSchedule,
    OnceSchedule,
    Schedule,
    SerializedDag,
    encode_dag,
    version_of,
)
from engine.metastore.graphs import Graphs
from engine.metastore.pausing import set_paused
from engine.metastore.states import RunState
from engine.metastore.store import Store
from engine.metastore.tables import Dag, DagRun, DagVersion
from engine.metastore.transitions import creating
from engine.scheduling.due import create_due_runs, sync_schedules

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Due:
    """A metastore with one DAG in it, and a scheduler that only creates runs."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.graphs = Graphs()
        with store.begin() as tx:
            self.now = tx.now
        self.today = self.now.replace(hour=0, minute=0, second=0, microsecond=0)

    def dag(self, schedule: Schedule, **more: Any) -> None:
        """Store the DAG, or change it."""
        dag = SerializedDag(dag_id="dag", fileloc="/d.py", schedule=schedule, tasks=(), **more)
        data = encode_dag(dag)
        row = {"dag_id": "dag", "version": version_of(data)}
        with self.store.begin() as tx:
            tx.connection.execute(insert(DagVersion).values(**row, data=data.decode(), created_at=tx.now))
            if not tx.connection.execute(update(Dag).values(version=row["version"])).rowcount:
                about = {"path_hash": "0", "fileloc": "/d.py", "is_active": True, "updated_at": tx.now}
                tx.connection.execute(insert(Dag).values(**row, **about))
        self.store.run(lambda tx: sync_schedules(tx, self.graphs, paused_at_creation=False, limit=10))

    def turn(self, *, end: bool = True) -> int:
        """Create what is due, and let it end; returns how many runs there were."""
        made = self.store.run(lambda tx: create_due_runs(tx, self.graphs, 10))
        if end:
            live = update(DagRun).where(DagRun.state == RunState.QUEUED)
            self.store.run(lambda tx: tx.connection.execute(live.values(state=RunState.SUCCESS, end_date=tx.now)))
        return made

    def all(self) -> list[datetime]:
        """Turn until nothing is due; returns the logical dates of all runs."""
        while self.turn():
            pass
        return self.dates()

    def dates(self) -> list[datetime]:
        with self.store.read() as connection:
            return list(connection.execute(select(DagRun.logical_date).order_by(DagRun.id)).scalars().all())  # type: ignore[arg-type]

    def intervals(self) -> list[tuple[datetime, datetime]]:
        columns = select(DagRun.data_interval_start, DagRun.data_interval_end).order_by(DagRun.id)
        with self.store.read() as connection:
            return [tuple(row) for row in connection.execute(columns)]  # type: ignore[misc]


@pytest.fixture
def due(metastore_url: str) -> Iterator[Due]:
    store = Store(metastore_url)
    yield Due(store)
    store.close()


def test_with_catchup_every_missed_interval_gets_a_run_in_order(due: Due) -> None:
    due.dag(CronSchedule("@daily"), start_date=due.today - 5 * DAY, catchup=True)
    assert due.all() == [due.today - n * DAY for n in (5, 4, 3, 2, 1)]


def test_without_catchup_only_the_latest_complete_interval_does(due: Due) -> None:
    due.dag(CronSchedule("@daily"), start_date=due.today - 5 * DAY)
    assert due.all() == [due.today - DAY]


@pytest.mark.parametrize(("catchup", "days"), [(False, [1]), (True, [4, 3, 2, 1])])
def test_after_a_month_of_pause_catchup_decides_what_is_made_up_for(due: Due, catchup: bool, days: list[int]) -> None:
    due.dag(CronSchedule("@daily"), start_date=due.today - 32 * DAY, catchup=catchup)
    due.store.run(lambda tx: set_paused(tx, "dag", paused=True))
    assert due.all() == []
    due.store.run(lambda tx: set_paused(tx, "dag", paused=False))
    dates = due.all()
    assert dates[-len(days) :] == [due.today - n * DAY for n in days]
    assert len(dates) == (32 if catchup else 1)


def test_no_run_comes_after_the_end_date(due: Due) -> None:
    due.dag(CronSchedule("@daily"), start_date=due.today - 5 * DAY, end_date=due.today - 3 * DAY, catchup=True)
    assert due.all() == [due.today - n * DAY for n in (5, 4, 3)]


def test_a_schedule_that_is_changed_in_mid_life_goes_on_from_the_last_interval(due: Due) -> None:
    start = due.today - 2 * DAY
    due.dag(CronSchedule("@daily"), start_date=start, catchup=True)
    assert due.turn() == 1
    due.dag(CronSchedule("0 */12 * * *"), start_date=start, catchup=True)
    dates = due.all()
    assert dates[:3] == [start, start + DAY, start + DAY + 12 * HOUR]
    assert len(set(dates)) == len(dates)


def test_a_changed_file_with_the_same_schedule_repeats_and_skips_nothing(due: Due) -> None:
    start = due.today - 3 * DAY
    due.dag(CronSchedule("@daily"), start_date=start, catchup=True)
    assert due.turn() == 1
    due.dag(CronSchedule("@daily"), start_date=start, catchup=True, tags=("changed",))
    assert due.all() == [start, start + DAY, start + 2 * DAY]


def test_a_run_by_hand_does_not_move_the_schedule(due: Due) -> None:
    start = due.today - 2 * DAY
    due.dag(CronSchedule("@daily"), start_date=start, catchup=True)
    due.store.run(lambda tx: creating.create_run(tx, "dag", logical_date=start + HOUR))
    assert due.all() == [start + HOUR, start, start + DAY]


def test_an_interval_whose_logical_date_a_run_by_hand_has_taken_is_not_run_twice(due: Due) -> None:
    start = due.today - 2 * DAY
    due.dag(CronSchedule("@daily"), start_date=start, catchup=True)
    due.store.run(lambda tx: creating.create_run(tx, "dag", logical_date=start))
    due.turn()
    assert sorted(due.all()) == [start, start + DAY]


def test_once_makes_one_run_ever(due: Due) -> None:
    due.dag(OnceSchedule(), start_date=due.today - DAY)
    assert due.all() == [due.today - DAY]
    due.dag(OnceSchedule(), start_date=due.today - 2 * DAY)
    assert len(due.all()) == 1


def test_max_active_runs_holds_back_and_loses_nothing(due: Due) -> None:
    start = due.today - 3 * DAY
    due.dag(CronSchedule("@daily"), start_date=start, catchup=True, max_active_runs=2)
    assert [due.turn(end=False) for _ in range(3)] == [1, 1, 0]
    due.turn()
    assert due.all() == [start, start + DAY, start + 2 * DAY]


def test_a_continuous_dag_has_one_run_at_a_time_and_covers_all_time(due: Due) -> None:
    due.dag(ContinuousSchedule(), start_date=due.today - DAY, max_active_runs=1)
    assert [due.turn(end=False), due.turn(end=False)] == [1, 0]
    for _ in range(3):
        due.turn()
    intervals = due.intervals()
    assert len(intervals) == 3
    assert intervals[0][0] == due.today - DAY
    assert [end for _, end in intervals[:-1]] == [start for start, _ in intervals[1:]]
    assert all(start < end for start, end in intervals)


def test_a_timedelta_keeps_its_distance_from_the_start_date(due: Due) -> None:
    start = due.now.replace(microsecond=0) - 5 * HOUR
    due.dag(DeltaSchedule(2 * 3600.0), start_date=start.astimezone(UTC), catchup=True)
    assert due.all() == [start, start + 2 * HOUR]
