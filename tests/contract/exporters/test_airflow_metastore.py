"""An Airflow metadata database of each kind and major version, and what the exporter says of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, create_engine, event, insert, text, update

from exporters.catalogue import METASTORE, Emitter
from exporters.metastore.errors import UnknownSchemaError
from exporters.metastore.reader import MetastoreReader
from exporters.metastore.service import MetastoreConfig
from tests.contract.exporters.airflow_tables import airflow_tables
from tests.servers.databases import DatabaseServer

NOW = datetime.now(UTC)
PAST_RUNS = 5_000
DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
CASES = [
    pytest.param((name, major), marks=getattr(pytest.mark, name), id=f"{name}-airflow{major}")
    for name in ("sqlite", "postgresql", "mariadb")
    for major in (2, 3)
]
DAYS_AGO = NOW - timedelta(days=3)


@dataclass
class Airflow:
    """A database, and the exporter's reader of it."""

    url: str
    major: int
    engine: Engine
    tables: MetaData

    def __post_init__(self) -> None:
        self.runs = 0
        self.read = MetastoreReader(MetastoreConfig(url=self.url, airflow=True, dags_folder="/opt/dags"))

    @property
    def kind(self) -> str:
        return self.url.partition(":")[0]

    def write(self, *statements: Any) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)

    def insert(self, table: str, *rows: Mapping[str, Any]) -> None:
        """Rows may name columns of both versions; those that this one lacks are left out."""
        target = self.tables.tables[table]
        for row in rows:
            self.write(insert(target).values({name: value for name, value in row.items() if name in target.c}))

    def add_dag(
        self, dag_id: str, *, paused: bool = False, there: bool = True, due: datetime | None = None, **more: Any
    ) -> None:
        row = {"dag_id": dag_id, "is_paused": paused, "is_active": there, "is_stale": not there}
        self.insert("dag", row | {"next_dagrun_create_after": due} | more)

    def add_run(
        self, dag_id: str, run_id: str, state: str, start: datetime | None, end: datetime | None = None
    ) -> None:
        self.runs += 1
        date = DAYS_AGO + timedelta(days=-self.runs)
        row = {"dag_id": dag_id, "run_id": run_id, "state": state, "start_date": start, "end_date": end}
        self.insert("dag_run", row | {"execution_date": date, "logical_date": date})

    def add_task(self, dag_id: str, run_id: str, task_id: str, state: str | None, **more: Any) -> None:
        row = {"id": f"{dag_id}{run_id}{task_id}", "dag_id": dag_id, "run_id": run_id, "task_id": task_id}
        self.insert("task_instance", {**row, "state": state, "pool": "default_pool", "pool_slots": 1, **more})

    def found(self) -> Mapping[str, Mapping[tuple[str, ...], float]]:
        return {name.removeprefix("metastore."): series for name, series in self.read().items()}


@pytest.fixture(scope="module", params=CASES)
def shared(request: pytest.FixtureRequest) -> Iterator[Airflow]:
    """A metadata database for all these tests, emptied between them."""
    name, major = request.param
    server: DatabaseServer = request.getfixturevalue(f"{name}_server")
    url = server.create()
    engine = create_engine(DRIVERS[url.partition(":")[0]] + url[url.index(":") :])
    tables = airflow_tables(major)
    tables.create_all(engine)
    yield Airflow(url, major, engine, tables)
    engine.dispose()
    server.drop(url)


@pytest.fixture
def airflow(shared: Airflow) -> Iterator[Airflow]:
    """An empty metadata database."""
    yield Airflow(shared.url, shared.major, shared.engine, shared.tables)
    shared.write(*(table.delete() for table in shared.tables.sorted_tables))


def seconds_ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_states_ages_pools_and_last_runs_are_airflows(airflow: Airflow) -> None:
    airflow.insert("slot_pool", {"pool": "default_pool", "slots": 8, "include_deferred": False})
    airflow.insert("slot_pool", {"pool": "lazy", "slots": -1, "include_deferred": True})
    airflow.add_dag("etl", due=seconds_ago(30))
    airflow.add_dag("paused", paused=True, due=seconds_ago(30))
    airflow.add_dag("gone", there=False)
    airflow.add_run("etl", "open", "running", seconds_ago(500))
    airflow.add_run("etl", "next", "queued", None)
    airflow.add_run("etl", "won", "success", seconds_ago(4000), seconds_ago(3000))
    airflow.add_run("etl", "lost", "failed", seconds_ago(2500), seconds_ago(2000))
    airflow.add_run("gone", "g", "success", seconds_ago(9), seconds_ago(8))
    airflow.add_task("etl", "open", "done", "success", pool_slots=3)
    airflow.add_task("etl", "open", "runs", "running", pool_slots=2, start_date=seconds_ago(300))
    waits = {"queued_dttm": seconds_ago(70), "updated_at": seconds_ago(90), "scheduled_dttm": seconds_ago(90)}
    airflow.add_task("etl", "open", "waits", "scheduled", **waits)
    airflow.add_task("etl", "open", "sleeps", "deferred", pool="lazy", pool_slots=4)
    airflow.add_task("etl", "open", "naps", "deferred")
    airflow.add_task("etl", "open", "later", None)
    airflow.add_task("etl", "won", "old", "success")
    found = airflow.found()

    assert found["dag_runs"] == {("etl", "running"): 1, ("etl", "queued"): 1}
    states = {"success": 1, "running": 1, "scheduled": 1, "deferred": 2, "none": 1}
    assert found["task_instances"] == {("etl", state): count for state, count in states.items()}
    assert found["pool_slots"] == {("default_pool",): 8, ("lazy",): -1}
    assert found["pool_used_slots"] == {("default_pool",): 2, ("lazy",): 4}
    assert found["pool_waiting_tasks"] == {("default_pool",): 1, ("lazy",): 0}
    assert 90 <= found["oldest_queued_seconds"]["default_pool",] < 690
    assert 300 <= found["oldest_running_seconds"]["etl",] < 900
    assert found["dag_paused"] == {("etl",): 0, ("paused",): 1}
    assert found["next_run_timestamp_seconds"] == {("etl",): pytest.approx(seconds_ago(30).timestamp(), abs=0.001)}
    assert found["last_run_failed"] == {("etl",): 1}
    assert found["last_run_duration_seconds"] == {("etl",): pytest.approx(500, abs=0.001)}
    won, lost = seconds_ago(3000).timestamp(), seconds_ago(2000).timestamp()
    assert found["last_run_timestamp_seconds"] == {("etl",): pytest.approx(lost, abs=0.001)}
    assert found["last_success_timestamp_seconds"] == {("etl",): pytest.approx(won, abs=0.001)}


def test_a_queued_task_instance_waits_since_it_could_run(airflow: Airflow) -> None:
    airflow.add_run("etl", "open", "running", seconds_ago(500))
    times = {"scheduled_dttm": seconds_ago(4000), "queued_dttm": seconds_ago(1000), "updated_at": seconds_ago(5)}
    airflow.add_task("etl", "open", "a", "queued", **times)
    told = airflow.found()["oldest_queued_seconds"]["default_pool",]
    expected = 4000 if airflow.major >= 3 else 1000  # Airflow 2 does not note when it scheduled
    assert expected <= told < expected + 600


def test_what_is_scheduled_of_a_paused_dag_does_not_wait(airflow: Airflow) -> None:
    airflow.insert("slot_pool", {"pool": "default_pool", "slots": 8, "include_deferred": False})
    airflow.add_dag("etl", paused=True)
    airflow.add_run("etl", "open", "running", seconds_ago(500))
    since = {"updated_at": seconds_ago(90), "scheduled_dttm": seconds_ago(90)}
    airflow.add_task("etl", "open", "waits", "scheduled", **since)
    found = airflow.found()
    assert found["pool_waiting_tasks"]["default_pool",] == found["oldest_queued_seconds"]["default_pool",] == 0
    airflow.add_task("etl", "open", "goes", "queued", queued_dttm=seconds_ago(70), **since)
    assert airflow.found()["oldest_queued_seconds"]["default_pool",] > 69


def test_a_dag_is_at_its_limit_while_it_has_as_many_open_runs_as_it_may(airflow: Airflow) -> None:
    for dag_id, limit in (("one", 1), ("two", 2), ("unlimited", None)):
        airflow.add_dag(dag_id, max_active_runs=limit)
        airflow.add_run(dag_id, "open", "queued", None)
    assert airflow.found()["dag_at_max_active_runs"] == {("one",): 1, ("two",): 0}


def test_processes_are_told_by_their_jobs(airflow: Airflow) -> None:
    running, over = {"state": "running"}, {"state": "success"}
    beats = [
        ("SchedulerJob", "a", 5, running),
        ("SchedulerJob", "a", 500, running),
        ("SchedulerJob", "b", 50, over),
        ("TriggererJob", "a", 900, running),
        ("DagProcessorJob", "pod-1", 200_000, running),
        ("LocalTaskJob", "a", 1, running),
    ]
    for job_type, host, age, state in beats:
        airflow.insert("job", {"job_type": job_type, "hostname": host, "latest_heartbeat": seconds_ago(age), **state})
    told = {
        ("scheduler", "a"): pytest.approx(seconds_ago(5).timestamp(), abs=0.001),
        ("triggerer", "a"): pytest.approx(seconds_ago(900).timestamp(), abs=0.001),
    }
    assert airflow.found()["heartbeat_timestamp_seconds"] == told


def test_the_dag_processor_inside_a_scheduler_of_airflow_2_lives_as_long_as_that(airflow: Airflow) -> None:
    airflow.insert(
        "job",
        {"job_type": "SchedulerJob", "hostname": "a", "latest_heartbeat": seconds_ago(5), "state": "running"},
    )
    beats = airflow.found()["heartbeat_timestamp_seconds"]
    expected = {"scheduler", "dag_processor"} if airflow.major == 2 else {"scheduler"}
    assert {component for component, _ in beats} == expected
    assert len(set(beats.values())) == 1


def test_a_dag_processor_of_its_own_is_told_by_its_own_heartbeat(airflow: Airflow) -> None:
    for job_type, age in (("SchedulerJob", 5), ("DagProcessorJob", 700)):
        row = {"job_type": job_type, "hostname": "a", "latest_heartbeat": seconds_ago(age), "state": "running"}
        airflow.insert("job", row)
    beats = airflow.found()["heartbeat_timestamp_seconds"]
    assert beats["dag_processor", "a"] == pytest.approx(seconds_ago(700).timestamp(), abs=0.001)


def test_import_errors_are_told_by_their_file(airflow: Airflow) -> None:
    airflow.insert("import_error", {"filename": "/opt/dags/a/broken.py"}, {"filename": "relative.py"})
    assert airflow.found()["import_errors"] == {("a/broken.py",): 1, ("relative.py",): 1}


def test_what_ends_between_two_reads_is_seen_and_what_is_new_too(airflow: Airflow) -> None:
    airflow.add_dag("etl")
    airflow.add_run("etl", "open", "running", seconds_ago(500))
    airflow.add_run("etl", "won", "success", seconds_ago(4000), seconds_ago(3000))
    assert airflow.found()["last_run_failed"] == {("etl",): 0}
    runs = airflow.tables.tables["dag_run"]
    airflow.write(update(runs).where(runs.c.run_id == "open").values(state="failed", end_date=seconds_ago(100)))
    assert airflow.found()["last_run_failed"] == {("etl",): 1}
    airflow.add_run("etl", "quick", "success", seconds_ago(20), seconds_ago(10))
    found = airflow.found()
    assert found["last_run_failed"] == {("etl",): 0}
    expected = {("etl",): pytest.approx(seconds_ago(10).timestamp(), abs=0.001)}
    assert found["last_success_timestamp_seconds"] == expected


def test_only_families_that_airflow_gives_are_told(airflow: Airflow) -> None:
    airflow.insert("slot_pool", {"pool": "default_pool", "slots": 8, "include_deferred": False})
    version = Emitter.AIRFLOW_3 if airflow.major >= 3 else Emitter.AIRFLOW_2
    for name, series in airflow.read().items():
        assert version & METASTORE[name].emitters == version, name
        assert all(len(labels) == len(METASTORE[name].labels) for labels in series)


def test_a_database_that_is_not_airflows_is_told_by_what_it_lacks(airflow: Airflow) -> None:
    airflow.write(text("ALTER TABLE slot_pool RENAME TO pools"))
    with pytest.raises(UnknownSchemaError, match=r"it lacks slot_pool, so it is not of Airflow 2\.10 to 3\.3"):
        airflow.read()
    airflow.write(text("ALTER TABLE pools RENAME TO slot_pool"))
    assert airflow.found()["series_dropped"] == {(): 0}


def test_windsocks_metastore_is_no_airflow_and_the_other_way_round(airflow: Airflow, sqlite_url: str) -> None:
    with pytest.raises(UnknownSchemaError, match="leave out --airflow"):
        MetastoreReader(MetastoreConfig(url=sqlite_url, airflow=True))()
    with pytest.raises(UnknownSchemaError, match="give its URL with --airflow"):
        MetastoreReader(MetastoreConfig(url=airflow.url))()


def test_after_the_first_read_no_statement_walks_through_the_past(airflow: Airflow) -> None:
    fill_with_past(airflow)
    airflow.add_dag("dag1")
    airflow.add_run("dag1", "open", "running", seconds_ago(1))
    airflow.add_task("dag1", "open", "a", "scheduled", updated_at=NOW)
    first = airflow.found()
    plans = plans_of_a_read(airflow)
    assert len(plans) == 5
    for told in plans:
        assert not re.search(r"Seq Scan on (dag_run|task_instance)|SCAN (dag_run|task_instance)\b", told), told
        assert not re.search(r"^(ALL|index) (dag_run|task_instance)", told, re.MULTILINE), told
    assert airflow.found()["last_success_timestamp_seconds"] == first["last_success_timestamp_seconds"]


def fill_with_past(airflow: Airflow) -> None:
    """Finished runs with a task instance each, and statistics that know of them."""
    is_mysql = airflow.kind == "mysql"
    rows = range(1, PAST_RUNS + 1)
    date = "logical_date" if airflow.major >= 3 else "execution_date"
    runs = [
        {"id": i, "dag_id": f"dag{i % 20}", "run_id": f"r{i}", "state": "failed" if i % 7 == 0 else "success"}
        | {date: DAYS_AGO + timedelta(seconds=i), "start_date": DAYS_AGO, "end_date": DAYS_AGO}
        for i in rows
    ]
    tasks = [
        {"dag_id": f"dag{i % 20}", "run_id": f"r{i}", "task_id": "t", "state": "success", "pool": "p"}
        | ({"id": str(i)} if airflow.major >= 3 else {})
        for i in rows
    ]
    with airflow.engine.begin() as connection:
        connection.execute(insert(airflow.tables.tables["dag_run"]), runs)
        connection.execute(insert(airflow.tables.tables["task_instance"]), tasks)
        if airflow.kind == "postgresql":
            connection.exec_driver_sql("SELECT setval('dag_run_id_seq', 1000000)")
    if airflow.kind != "sqlite":  # nobody lets SQLite take statistics for Airflow
        with airflow.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE TABLE dag_run, task_instance" if is_mysql else "ANALYZE")


def plans_of_a_read(airflow: Airflow) -> list[str]:
    """The plan of each statement of a read that concerns runs or task instances."""
    command = "EXPLAIN QUERY PLAN" if airflow.kind == "sqlite" else "EXPLAIN"
    plans = []

    def explain(_connection: Any, cursor: Any, sql: str, values: Any, *_: Any) -> None:
        if sql.startswith("SELECT") and re.search(r"(dag_run|task_instance)\.state", sql):
            cursor.execute(f"{command} {sql}", values)
            rows = cursor.fetchall()
            plans.append("\n".join(f"{row[3]} {row[2]}" if airflow.kind == "mysql" else str(row[-1]) for row in rows))

    event.listen(Engine, "before_cursor_execute", explain)
    try:
        airflow.read()
    finally:
        event.remove(Engine, "before_cursor_execute", explain)
    return plans
