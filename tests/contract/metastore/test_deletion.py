"""Deleting a DAG: nothing of it is left in any table, nothing else is touched, and nothing that runs is cut off."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from alerting.tables import alert_delivery
from engine.authoring.serialized import CronSchedule
from engine.metastore import backfills, by_hand, deletion
from engine.metastore.errors import InUse, NotFound, Refused
from engine.metastore.graphs import Graphs
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Base, Budget, Dag, DagRun, DagSchedule
from engine.metastore.transitions import creating
from engine.scheduling.due import create_due_runs
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash
from tests.contract.metastore.told import Telling
from tests.servers.processes import wait_until

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def populate(stage: Stage, dag_id: str) -> None:
    """A failed run with all that may hang on one, a backfill that is over, and an alert."""
    stage.dag(
        dag_id,
        bash("a", sla_seconds=60.0, callbacks=("on_failure",)),
        bash("b", "a"),
        schedule=CronSchedule("@daily"),
        start_date=DAY,
    )
    told = Telling(stage)
    told.trigger(dag_id, run_type="scheduled", logical_date=DAY, data_interval_end=DAY)
    told.attempt(a=FAILURE)
    wish = backfills.Wish(dag_id, DAY, DAY + timedelta(days=1), 1, backfills.Reprocess.NONE, False, {}, "somebody")
    stage.store.run(lambda tx: told.ledger.start_backfill(tx, wish))
    told.run(lambda tx: told.ledger.start_runs(tx, 100))
    while open_runs(stage, dag_id):
        told.attempt(a=FAILURE)
        told.run(lambda tx: told.ledger.start_runs(tx, 100))
    with stage.store.begin() as tx:
        backfills.complete(tx)
        ti, event = (_one_of(tx, name, dag_id) for name in ("task_instance", "alert_event"))
        left = {"ti_id": ti, "key": dag_id, "value": "1", "created_at": tx.now}
        tx.connection.execute(insert(_table("xcom")).values(left))
        sent = {"event_id": event, "channel": "x", "target": dag_id, "address": "", "state": "delivered"}
        when = {"attempts": 1, "created_at": tx.now, "give_up_at": tx.now, "delivered_at": tx.now}
        tx.connection.execute(insert(alert_delivery).values(sent | when))


def _one_of(tx: Tx, name: str, dag_id: str) -> int:
    table = _table(name)
    return int(tx.connection.execute(select(func.min(table.c.id)).where(table.c.dag_id == dag_id)).scalar_one())


def _table(name: str) -> Any:
    return Base.metadata.tables[name]


def open_runs(stage: Stage, dag_id: str) -> int:
    runs = _table("dag_run")
    with stage.store.read() as connection:
        counted = select(func.count()).where(runs.c.dag_id == dag_id, runs.c.state.in_(["queued", "running"]))
        return connection.execute(counted).scalar_one()


def sizes(stage: Stage) -> dict[str, int]:
    with stage.store.read() as connection:
        return {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in Base.metadata.tables.items()
        }


def test_no_row_of_any_table_is_left_and_no_other_dag_is_touched(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "AT_ONCE", 1)  # a transaction for each row
    populate(stage, "kept")
    before = sizes(stage)
    populate(stage, "gone")
    with stage.store.read() as connection:
        counted = deletion.counts(connection, "gone")
    assert {table.name for table in deletion.tables_of()} == set(counted), "the test must fill each table"
    steps: list[int] = []
    assert deletion.delete_dag(stage.store, "gone", steps.append) == sum(counted.values()) - 1  # the schedule's row
    assert len(steps) == sum(counted.values()) - 2
    assert sizes(stage) == before
    with stage.store.read() as connection:
        assert deletion.counts(connection, "gone") == {}
        names = connection.execute(select(Budget.name)).scalars().all()
    assert "gone" not in names


def test_a_table_with_a_dag_id_that_a_dag_does_not_fill_would_be_noticed() -> None:
    named = {name for name, table in Base.metadata.tables.items() if "dag_id" in table.columns}
    assert {table.name for table in deletion.tables_of()} == named


@pytest.mark.parametrize("started", [False, True], ids=["queued", "running"])
def test_it_is_refused_while_a_run_is_not_over_and_nothing_changes(stage: Stage, started: bool) -> None:
    stage.dag("dag", bash("a"))
    assert stage.create("dag", "mine")
    if started:
        stage.start_runs()
    before = sizes(stage)
    with pytest.raises(InUse, match=r"queued or running: mine\. .*windsock dags set-state dag RUN failed"):
        deletion.delete_dag(stage.store, "dag")
    assert sizes(stage) == before


def test_a_dag_that_was_never_there_is_not_found_and_what_a_killed_deletion_left_goes(stage: Stage) -> None:
    with pytest.raises(NotFound, match="nothing is left of one"):
        deletion.delete_dag(stage.store, "dag")
    stage.dag("dag", bash("a"))

    def die(_rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deletion.delete_dag(stage.store, "dag", die)
    assert deletion.delete_dag(stage.store, "dag") == 1
    with pytest.raises(NotFound):
        deletion.delete_dag(stage.store, "dag")


def come_back(stage: Stage, dag_id: str) -> None:
    """What the dag processor and the scheduler do with a file that is there again."""
    with stage.store.begin() as tx:
        tx.connection.execute(update(Dag).where(Dag.dag_id == dag_id).values(is_active=True))
        tx.connection.execute(insert(DagSchedule).values(dag_id=dag_id, is_paused=False))


def slots_used(stage: Stage) -> dict[str, int]:
    with stage.store.read() as connection:
        rows = connection.execute(select(Budget.kind, Budget.name, Budget.used)).all()
    return {f"{row.kind} {row.name}": row.used for row in rows if row.used}


def test_a_dag_that_comes_back_meanwhile_is_left_alone_with_what_runs_in_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "AT_ONCE", 1)
    populate(stage, "dag")

    def return_and_run(deleted: int) -> None:
        if deleted == 1:
            come_back(stage, "dag")

    with pytest.raises(InUse, match=r"dag has come back while it was deleted: /dags/x\.py defines it.*Remove the file"):
        deletion.delete_dag(stage.store, "dag", return_and_run)
    stage.store.run(lambda tx: deletion._close(tx, "dag"))
    deletion.delete_dag(stage.store, "dag")


@pytest.mark.parametrize("table", ["task_instance", "dag_run"])
def test_what_was_cleared_meanwhile_and_runs_is_kept_with_its_slots(stage: Stage, table: str) -> None:
    stage.dag("dag", bash("a"))
    stage.trigger("dag")
    (claimed,) = stage.claim()
    stage.start(claimed.token)
    stage.finish((claimed.token, SUCCESS))
    stage.store.run(lambda tx: deletion._close(tx, "dag"))
    stage.clear("a")
    with stage.store.begin() as tx:  # a scheduler had read the DAG before, and follows it just now
        tx.connection.execute(insert(DagSchedule).values(dag_id="dag", is_paused=False))
    stage.start_runs()
    (again,) = stage.claim()
    stage.start(again.token)
    held = slots_used(stage)
    assert set(held) == {"dag_runs dag", "dag_tasks dag", "pool default_pool"}
    with pytest.raises(InUse, match="queued or running"):
        stage.store.run(lambda tx: deletion._delete_some(tx, _table(table), "dag"))
    with pytest.raises(InUse, match="queued or running"):
        stage.store.run(lambda tx: deletion._finish(tx, "dag"))
    assert slots_used(stage) == held
    stage.finish((again.token, SUCCESS))
    assert slots_used(stage) == {}
    deletion.delete_dag(stage.store, "dag")


def test_a_run_that_is_made_meanwhile_is_waited_for_and_refuses_the_deletion(server_store: Store) -> None:
    stage = Stage(server_store)
    stage.dag("dag", bash("a"))
    told: list[Exception] = []
    own = stage.beside()

    def close() -> None:
        try:
            own.store.run(lambda tx: deletion._close(tx, "dag"))
        except InUse as error:
            told.append(error)

    closing = threading.Thread(target=close)
    with stage.store.begin() as tx:
        creating.create_run(tx, "dag", run_id="mine")
        closing.start()
        wait_until(lambda: own.store.engine.pool.checkedout() == 1, "the deletion to begin")
        closing.join(0.5)
        waits = closing.is_alive()
    closing.join(30)
    own.store.close()
    assert (waits, len(told)) == (True, 1)
    assert open_runs(stage, "dag") == 1


def test_a_dag_that_is_being_deleted_gets_no_run_by_hand_and_none_that_is_due(stage: Stage) -> None:
    stage.dag("dag", bash("a"), schedule=CronSchedule("@daily"), start_date=DAY)
    stage.store.run(lambda tx: deletion._close(tx, "dag"))
    with pytest.raises(NotFound):
        stage.store.run(lambda tx: creating.create_run(tx, "dag"))
    late = {"next_interval_start": DAY, "next_interval_end": DAY + timedelta(days=1), "next_run_after": DAY}
    with stage.store.begin() as tx:  # a scheduler had read the DAG before, and follows it just now
        version = tx.connection.execute(select(Dag.version)).scalar_one()
        tx.connection.execute(insert(DagSchedule).values(dag_id="dag", is_paused=False, version=version, **late))
    assert stage.store.run(lambda tx: create_due_runs(tx, Graphs(), 10)) == 0
    with stage.store.begin() as tx:
        tx.connection.execute(update(Dag).values(is_active=True))
    assert stage.store.run(lambda tx: create_due_runs(tx, Graphs(), 10)) == 1


def test_to_fail_a_run_that_was_deleted_meanwhile_is_refused_in_words(stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    with pytest.raises(Refused, match="run of dag is not there any more"):
        by_hand.fail_run(stage.store, "", "dag", "run")
    stage.create("dag")
    with pytest.raises(Refused, match="run is queued; only a running run can be failed"):
        by_hand.fail_run(stage.store, "", "dag", "run")
    with stage.store.read() as connection:
        assert connection.execute(select(DagRun.state)).scalar_one() == "queued"
