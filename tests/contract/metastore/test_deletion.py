"""Deleting a DAG: nothing of it is left in any table, nothing else is touched, and nothing that runs is cut off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from alerting.tables import alert_delivery
from engine.authoring.serialized import CronSchedule
from engine.metastore import backfills, deletion
from engine.metastore.errors import InUse, NotFound
from engine.metastore.store import Tx
from engine.metastore.tables import Base, Budget
from tests.contract.metastore.stage import FAILURE, Stage, bash
from tests.contract.metastore.told import Telling

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
