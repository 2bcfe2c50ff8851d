"""The metastore exporter's own definitions of the tables, held against the real schema on each database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from alerting.clock import database_now
from alerting.tables import UtcDateTime, alert_delivery, alert_event
from engine.metastore import processes
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store
from engine.metastore.tables import (
    Base,
    CallbackRequest,
    Dag,
    DagFile,
    DagRun,
    DagSchedule,
    LogShipment,
    Process,
    TaskInstance,
)
from exporters.catalogue import METASTORE
from exporters.metastore import windsock
from exporters.metastore.database import ReadOnlyDatabase
from exporters.metastore.errors import ReadError
from exporters.metastore.reader import MetastoreReader
from exporters.metastore.service import MetastoreConfig
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash, empty

Values = Mapping[str, Mapping[tuple[str, ...], float]]


def reader(store: Store, **more: Any) -> MetastoreReader:
    url = store.url.render_as_string(hide_password=False)
    return MetastoreReader(MetastoreConfig(url=url, dags_folder="/dags", **more))


def read(store: Store) -> Values:
    return {name.removeprefix("metastore."): series for name, series in reader(store)().items()}


def ago(store: Store, seconds: float) -> datetime:
    with store.read() as connection:
        return database_now(connection) - timedelta(seconds=seconds)


def change(store: Store, statement: Any) -> None:
    with store.begin() as tx:
        tx.connection.execute(statement)


def delivery(state: str, channel: str, created_at: datetime) -> dict[str, Any]:
    open_ = state in ("pending", "sending")
    return {
        "channel": channel,
        "target": f"{state}{channel}{created_at}",
        "address": "",
        "state": state,
        "due_at": created_at if open_ else None,
        "token": "t" if state == "sending" else None,
        "created_at": created_at,
        "give_up_at": created_at,
        "delivered_at": created_at if state == "delivered" else None,
    }


@pytest.mark.parametrize("table", windsock.TABLES, ids=lambda table: table.name)
def test_every_column_that_is_read_is_there_and_of_its_kind(table: Any) -> None:
    real = Base.metadata.tables[table.name].columns
    for column in table.c:
        is_instant = isinstance(real[column.name].type, UtcDateTime)
        assert is_instant == (column.type.__class__.__name__ == "DateTime"), f"{table.name}.{column.name}"


def test_an_empty_metastore_has_a_default_pool_and_nothing_that_waits(store: Store) -> None:
    found = read(store)
    assert found["pool_slots"] == {("default_pool",): 128}
    assert found["pool_used_slots"] == found["pool_waiting_tasks"] == {("default_pool",): 0}
    assert found["oldest_queued_seconds"] == {("default_pool",): 0}
    assert found["outbox_backlog"] == found["outbox_oldest_seconds"] == {("unrouted",): 0}
    assert found["callback_backlog"] == found["callback_oldest_seconds"] == {(): 0}
    assert "dag_runs" not in found


def test_every_name_and_label_is_the_catalogues(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a", sla_seconds=60))
    stage.trigger("dag")
    for name, series in reader(store)().items():
        assert all(len(labels) == len(METASTORE[name].labels) for labels in series), name


def test_open_runs_and_their_task_instances_are_counted_by_state(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b", "a"), empty("c", "b"), max_active_runs=2)
    stage.trigger("dag", "one", "two", "three")
    first = stage.begin(slots=1)
    stage.finish(*((token, SUCCESS) for token in first.values()))
    found = read(store)
    assert found["dag_runs"] == {("dag", "running"): 2, ("dag", "queued"): 1}
    assert found["task_instances"] == {("dag", "success"): 1, ("dag", "scheduled"): 2, ("dag", "none"): 3}


def test_task_instances_of_runs_that_are_over_are_not_counted(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    stage.trigger("dag")
    stage.play()
    found = read(store)
    assert "dag_runs" not in found
    assert "task_instances" not in found


def test_what_waits_and_what_runs_has_the_age_of_the_oldest(store: Store, stage: Stage) -> None:
    stage.pool("small", 1)
    stage.dag("dag", *(bash(f"t{number}", pool="small") for number in range(3)))
    stage.trigger("dag")
    (running,) = stage.begin()
    ready = ago(store, 500)
    change(store, update(TaskInstance).where(TaskInstance.task_id != running).values(scheduled_at=ready))
    change(store, update(TaskInstance).where(TaskInstance.task_id == running).values(start_date=ago(store, 900)))
    found = read(store)
    assert 500 <= found["oldest_queued_seconds"]["small",] < 560
    assert found["oldest_queued_seconds"]["default_pool",] == 0
    assert 900 <= found["oldest_running_seconds"]["dag",] < 960
    assert found["pool_slots"]["small",] == found["pool_used_slots"]["small",] == 1
    assert found["pool_waiting_tasks"]["small",] == 2


def test_what_is_scheduled_of_a_paused_dag_does_not_wait(store: Store, stage: Stage) -> None:
    stage.pool("small", 1)
    stage.dag("dag", *(bash(f"t{number}", pool="small") for number in range(3)))
    stage.trigger("dag")
    (running,) = stage.begin()
    ready = ago(store, 500)
    change(store, update(TaskInstance).where(TaskInstance.task_id != running).values(scheduled_at=ready))
    change(store, update(DagSchedule).values(is_paused=True))
    found = read(store)
    assert found["oldest_queued_seconds"]["small",] == found["pool_waiting_tasks"]["small",] == 0
    assert found["pool_used_slots"]["small",] == 1
    assert found["task_instances"]["dag", "scheduled"] == 2


def test_a_dag_is_at_its_limit_while_it_has_as_many_open_runs_as_it_may(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("t"), max_active_runs=2)
    stage.dag("other", bash("t"), max_active_runs=2)
    stage.trigger("dag", "one")
    assert read(store)["dag_at_max_active_runs"] == {("dag",): 0, ("other",): 0}
    stage.create("dag", "two")
    assert read(store)["dag_at_max_active_runs"] == {("dag",): 1, ("other",): 0}


def test_the_last_run_is_the_one_that_ended_last(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    stage.trigger("dag", "old", "new")
    ends = {"old": FAILURE, "new": SUCCESS}
    stage.play(lambda claimed: ends[claimed.run.run_id])
    late, early = ago(store, 10), ago(store, 100)
    times = {"old": {"start_date": early, "end_date": late}, "new": {"start_date": early, "end_date": early}}
    for run_id, values in times.items():
        change(store, update(DagRun).where(DagRun.run_id == run_id).values(values))
    found = read(store)
    assert found["last_run_timestamp_seconds"]["dag",] == pytest.approx(late.timestamp(), abs=0.001)
    assert found["last_run_failed"] == {("dag",): 1}
    assert found["last_run_duration_seconds"]["dag",] == pytest.approx((late - early).total_seconds(), abs=0.001)
    assert found["last_success_timestamp_seconds"]["dag",] == pytest.approx(early.timestamp(), abs=0.001)


def test_a_paused_dag_has_no_next_run_and_a_gone_one_no_series(store: Store, stage: Stage) -> None:
    for name in ("live", "paused", "gone"):
        stage.dag(name, bash("a"), paused=name == "paused")
    due = ago(store, 30)
    change(store, update(DagSchedule).values(next_run_after=due))
    change(store, update(Dag).where(Dag.dag_id == "gone").values(is_active=False))
    found = read(store)
    assert found["dag_paused"] == {("live",): 0, ("paused",): 1}
    assert found["next_run_timestamp_seconds"] == {("live",): pytest.approx(due.timestamp(), abs=0.001)}


def test_a_heartbeat_is_the_newest_of_its_kind_and_host_that_has_not_signed_off(store: Store) -> None:
    beats = {"dead": ago(store, 300), "alive": ago(store, 3), "left": ago(store, 1)}
    for name, beat in beats.items():
        identity = processes.Identity(name, ProcessKind.SCHEDULER, "here", 1)
        with store.begin() as tx:
            processes.register(tx, identity)
        change(store, update(Process).where(Process.id == name).values(heartbeat_at=beat))
    with store.begin() as tx:
        processes.end(tx, ["left"])
    expected = {("scheduler", "here"): pytest.approx(beats["alive"].timestamp(), abs=0.001)}
    assert read(store)["heartbeat_timestamp_seconds"] == expected


def test_import_errors_are_told_by_their_path_below_the_dag_folder(store: Store) -> None:
    files = [("/dags/team/a.py", "boom"), ("/examples/b.py", "boom"), ("/dags/well.py", None)]
    rows = [{"path_hash": path, "path": path, "dag_count": 0, "error": error} for path, error in files]
    change(store, insert(DagFile).values(rows))
    assert read(store)["import_errors"] == {("team/a.py",): 1, ("/examples/b.py",): 1}


def test_the_outbox_is_told_by_channel_and_outcome(store: Store) -> None:
    old, now = ago(store, 700), ago(store, 0)
    event = {"kind": "task_failed", "payload": "{}"}
    rows = [
        delivery("delivered", "email", now),
        delivery("delivered", "email", old),
        delivery("dead", "email", old),
        delivery("pending", "chat", old),
        delivery("sending", "chat", now),
        delivery("suppressed", "", now),
    ]
    with store.begin() as tx:
        first = {**event, "dedup_key": "1", "occurred_at": old, "routed_at": old}
        tx.connection.execute(insert(alert_event).values(first))
        event_id = tx.connection.execute(select(alert_event.c.id)).scalar_one()
        tx.connection.execute(insert(alert_delivery), [{**row, "event_id": event_id} for row in rows])
        tx.connection.execute(insert(alert_event).values({**event, "dedup_key": "2", "occurred_at": old}))
    found = read(store)
    settled = {("email", "delivered"): 2, ("email", "dead"): 1, ("none", "suppressed"): 1}
    assert found["deliveries"] == settled | {("chat", "dead"): 0}  # there before the first, whose growth is to be seen
    assert found["outbox_backlog"] == {("email",): 0, ("chat",): 2, ("unrouted",): 1}
    assert found["outbox_oldest_seconds"]["email",] == 0
    assert 700 <= found["outbox_oldest_seconds"]["chat",] < 760
    assert 700 <= found["outbox_oldest_seconds"]["unrouted",] < 760


def test_what_waits_for_the_rate_of_its_channel_is_as_old_as_its_wait_in_vain(store: Store) -> None:
    """As ``patience.excuse`` leaves it: it may go when the window is over."""
    old, ahead, since = ago(store, 3600), ago(store, -600), ago(store, 700)
    event = {"kind": "task_failed", "payload": "{}", "dedup_key": "1", "occurred_at": old, "routed_at": old}
    with store.begin() as tx:
        tx.connection.execute(insert(alert_event).values(event))
        event_id = tx.connection.execute(select(alert_event.c.id)).scalar_one()
        for channel, waiting_since in (("chat", ahead), ("pager", since)):
            row = delivery("pending", channel, old) | {"event_id": event_id, "waiting_since": waiting_since}
            tx.connection.execute(insert(alert_delivery).values(row))
    found = read(store)["outbox_oldest_seconds"]
    assert found["chat",] == 0
    assert 700 <= found["pager",] < 760


def test_callbacks_that_wait_are_counted_with_the_age_of_the_oldest(store: Store) -> None:
    for state, seconds in (("pending", 40), ("pending", 4), ("done", 400)):
        row = {"kind": "on_failure", "scope": "task", "dag_id": "d", "fileloc": "f", "payload": {}, "state": state}
        when = ago(store, seconds)
        key = f"{state}{seconds}"
        change(store, insert(CallbackRequest).values(row | {"dedup_key": key, "due_at": when, "created_at": when}))
    found = read(store)
    assert found["callback_backlog"] == {(): 2}
    assert 40 <= found["callback_oldest_seconds"][()] < 100


def test_logs_that_wait_are_counted_with_the_lag_and_the_reasons_of_those_that_failed(store: Store) -> None:
    found = read(store)
    assert (found["log_shipping_backlog"], found["log_shipping_oldest_seconds"]) == ({(): 0}, {(): 0})
    assert not found.get("log_shipping_failing")
    row = {"place": "here", "path": "log", "lost": False, "attempts": 0}
    for seconds, reason in ((10, None), (20, None), (40, "full"), (30, "full"), (5, "refused")):
        when = ago(store, seconds)
        change(store, insert(LogShipment).values(row | {"created_at": when, "due_at": when, "reason": reason}))
    found = read(store)
    assert found["log_shipping_backlog"] == {(): 5}
    assert 40 <= found["log_shipping_oldest_seconds"][()] < 100
    assert found["log_shipping_failing"] == {("full",): 2, ("refused",): 1}


def test_missed_and_endangered_deadlines_count_from_the_end_of_the_data_interval(store: Store, stage: Stage) -> None:
    slas = {"a": 100.0, "b": 1000.0, "c": 10_000.0}
    stage.dag("dag", *(bash(name, sla_seconds=seconds) for name, seconds in slas.items()), bash("free"))
    stage.dag("without", bash("a"))
    stage.dag("idle", bash("a", sla_seconds=1.0))
    end = ago(store, 900)
    assert stage.create("dag", "interval", run_type="scheduled", data_interval_start=end, data_interval_end=end)
    assert stage.create("dag", "none", run_type="scheduled", run_after=ago(store, 10))
    stage.trigger("without", "w")
    stage.start_runs()
    found = read(store)
    assert found["sla_missed_tasks"] == {("dag",): 1, ("idle",): 0}
    assert found["sla_at_risk_tasks"] == {("dag",): 1, ("idle",): 0}


def test_a_task_that_is_done_misses_nothing_any_more(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a", sla_seconds=1.0), bash("b", "a", sla_seconds=1.0))
    assert stage.create("dag", "late", run_type="scheduled", run_after=ago(store, 60))
    stage.start_runs()
    ask = reader(store)
    assert ask()["metastore.sla_missed_tasks"] == {("dag",): 2}
    stage.finish(*((token, SUCCESS) for token in stage.begin().values()))
    assert ask()["metastore.sla_missed_tasks"] == {("dag",): 1}
    stage.play()
    assert ask()["metastore.sla_missed_tasks"] == {("dag",): 0}


def test_a_run_keeps_the_allowed_times_of_its_own_version(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a", sla_seconds=1.0))
    assert stage.create("dag", "late", run_type="scheduled", run_after=ago(store, 60))
    stage.start_runs()
    ask = reader(store)
    assert ask()["metastore.sla_missed_tasks"] == {("dag",): 1}
    change(store, update(Dag).values(version="newer"))
    assert ask()["metastore.sla_missed_tasks"] == {("dag",): 1}
    stage.play()
    assert "metastore.sla_missed_tasks" not in ask()


def test_a_family_is_cut_at_the_limit_and_the_rest_is_counted(store: Store, stage: Stage) -> None:
    for number in range(5):
        stage.dag(f"dag{number}", bash("a"))
    found = reader(store, max_series=3)()
    assert list(found["metastore.dag_paused"]) == [("dag0",), ("dag1",), ("dag2",)]
    assert found["metastore.series_dropped"] == {(): 4}  # two DAGs of two families


def test_the_clock_is_the_databases(store: Store) -> None:
    told = read(store)["read_timestamp_seconds"][()]
    assert abs(told - ago(store, 0).timestamp()) < 60
    assert abs(datetime.fromtimestamp(told, UTC) - datetime.now(UTC)) < timedelta(seconds=60)


def test_nothing_can_be_written_through_the_exporters_connection(store: Store) -> None:
    database = ReadOnlyDatabase(store.url.render_as_string(hide_password=False), timeout_seconds=5)
    with pytest.raises(ReadError, match=r"(?i)read.?only"), database.read() as (connection, _):
        connection.execute(text("UPDATE budget SET slots = 1"))
    assert read(store)["pool_slots"] == {("default_pool",): 128}


def test_a_statement_that_takes_too_long_is_stopped(store: Store) -> None:
    slow = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
        "postgresql": "SELECT pg_sleep(60)",
        "mysql": "SELECT SLEEP(60)",
    }
    database = ReadOnlyDatabase(store.url.render_as_string(hide_password=False), timeout_seconds=0.5)
    began = time.monotonic()
    with pytest.raises(ReadError, match=r"interrupted|statement timeout"), database.read() as (connection, _):
        connection.execute(text(slow[store.dialect.name]))
    assert time.monotonic() - began < 20
