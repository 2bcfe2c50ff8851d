"""Which DAGs get a run, on every database."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, select, update

from engine.authoring.serialized import DeltaSchedule, SerializedDag, encode_dag, version_of
from engine.metastore.graphs import Graphs
from engine.metastore.states import RunState
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Dag, DagRun, DagSchedule, DagVersion
from engine.scheduling.due import create_due_runs, sync_schedules

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 5


@pytest.fixture
def store(metastore_url: str) -> Iterator[Store]:
    store = Store(metastore_url)
    yield store
    store.close()


def add(store: Store, dag_id: str, start: datetime, *, data: str | None = None) -> None:
    """Store an hourly DAG that may have one run at a time, as the DAG processor does."""
    schedule = DeltaSchedule(3600.0)
    dag = SerializedDag(
        dag_id=dag_id, fileloc="/d.py", schedule=schedule, tasks=(), start_date=start, catchup=True, max_active_runs=1
    )
    text = encode_dag(dag).decode() if data is None else data
    version = version_of(text.encode())
    about = {"path_hash": "0", "fileloc": dag.fileloc, "is_active": True}
    with store.begin() as tx:
        row = {"dag_id": dag_id, "version": version}
        tx.connection.execute(insert(DagVersion).values(**row, data=text, created_at=tx.now))
        tx.connection.execute(insert(Dag).values(**row, **about, updated_at=tx.now))


def sync(store: Store, graphs: Graphs | None = None) -> int:
    known = graphs or Graphs()
    return store.run(lambda tx: sync_schedules(tx, known, paused_at_creation=False, limit=LIMIT))


def sync_all(store: Store) -> None:
    while sync(store):
        pass


def create(store: Store) -> int:
    return store.run(lambda tx: create_due_runs(tx, Graphs(), LIMIT))


def runs(store: Store) -> dict[str, int]:
    with store.read() as connection:
        rows = connection.execute(select(DagRun.dag_id, func.count()).group_by(DagRun.dag_id))
        return {row[0]: row[1] for row in rows}


def followed(store: Store) -> set[str]:
    with store.read() as connection:
        return set(connection.execute(select(DagSchedule.dag_id).where(DagSchedule.version.is_not(None))).scalars())


def an_hour_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1, minutes=5)


def test_a_page_of_dags_at_their_limit_does_not_hide_the_others(store: Store) -> None:
    for number in range(LIMIT):
        add(store, f"old{number}", LONG_AGO)
    add(store, "young", an_hour_ago())
    sync_all(store)
    assert create(store) == LIMIT
    assert create(store) == 1
    assert runs(store)["young"] == 1
    assert create(store) == 0


def test_a_dag_gets_its_next_run_when_one_has_ended(store: Store) -> None:
    add(store, "dag", LONG_AGO)
    sync_all(store)
    assert [create(store), create(store)] == [1, 0]

    def end(tx: Tx) -> None:
        tx.connection.execute(update(DagRun).values(state=RunState.SUCCESS, end_date=tx.now))

    store.run(end)
    assert [create(store), create(store)] == [1, 0]
    assert runs(store) == {"dag": 2}


def test_versions_that_cannot_be_read_are_told_and_hold_up_no_other(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(LIMIT + 1):
        add(store, f"broken{number}", LONG_AGO, data=f'{{"from": "a newer version", "number": {number}}}')
    add(store, "good", an_hour_ago())
    with caplog.at_level(logging.ERROR):
        assert sync(store) == 1
    assert followed(store) == {"good"}
    assert "DAG broken0 is not scheduled" in caplog.text
    assert create(store) == 1


def test_a_due_dag_that_cannot_be_read_any_more_steps_aside_until_it_can(store: Store) -> None:
    add(store, "dag", LONG_AGO)
    add(store, "good", an_hour_ago())
    sync_all(store)
    with store.read() as connection:
        data = connection.execute(select(DagVersion.data).where(DagVersion.dag_id == "dag")).scalar_one()
    change = update(DagVersion).where(DagVersion.dag_id == "dag")
    store.run(lambda tx: tx.connection.execute(change.values(data='{"newer": true}')))
    assert create(store) == 1
    assert followed(store) == {"good"}
    store.run(lambda tx: tx.connection.execute(change.values(data=data)))
    assert sync(store) == 1
    assert create(store) == 1
    assert runs(store) == {"dag": 1, "good": 1}
