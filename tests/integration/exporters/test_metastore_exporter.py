"""The metastore exporter as a process among others: a real engine, a database that dies, many scrapes at once."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporters.metastore.service import MetastoreConfig, MetastoreExporter
from tests.integration.exporters.statsd_wire import get
from tests.servers.databases import PostgreSQL
from tests.servers.machine import Machine
from tests.servers.processes import wait_until

GATED = """
from datetime import datetime, timedelta

from engine import DAG, BashOperator

with DAG("gated", schedule=None, max_active_tasks=2, default_args={{"sla": timedelta(hours=1)}}):
    wait = "while [ ! -e {gate} ]; do sleep 0.1; done"
    first = [BashOperator(task_id=f"first{{n}}", bash_command=wait) for n in range(4)]
    last = BashOperator(task_id="last", bash_command="true")
    first >> last

with DAG("fails", schedule=None):
    BashOperator(task_id="no", bash_command="exit 3", email="oncall@example.com")

with DAG("works", schedule="@yearly", start_date=datetime(2020, 1, 1)):
    BashOperator(task_id="yes", bash_command="true")
"""
Series = dict[tuple[str, ...], float]


def page_of(port: int) -> str:
    status, page = get(port, "/metrics")
    assert status == 200
    return page


def family(page: str, name: str, *labels: str) -> Series:
    """Label values → value, of one family."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for found in text_string_to_metric_families(page)
        for sample in found.samples
        if sample.name == f"airflow_metastore_{name}"
    }


@contextmanager
def serving(url: str, **more: Any) -> Iterator[MetastoreExporter]:
    """An exporter in a thread of this process."""
    exporter = MetastoreExporter(MetastoreConfig(url=url, port=0, **more))
    thread = threading.Thread(target=exporter.serve)
    thread.start()
    try:
        yield exporter
    finally:
        exporter.stop()
        thread.join()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A running stack in the middle of its work: two tasks run and wait for the gate, two wait for them."""
    made = Machine(
        tmp_path_factory.mktemp("home"),
        WINDSOCK__CORE__LOAD_EXAMPLES="false",
        WINDSOCK__EXPORTER__METASTORE_CACHE_SECONDS="0.01",
        WINDSOCK__EXPORTER__METASTORE_TIMEOUT_SECONDS="9",
    )
    made.write_dag("dags.py", GATED.format(gate=made.home / "gate"))
    made.write_dag("broken.py", "import nothing_of_this_name\nfrom engine import DAG\n")
    made.call("up", "--detach")
    try:
        set_going(made)
        yield made
        (made.home / "gate").touch()
    finally:
        made.call("down")


def set_going(machine: Machine) -> None:
    """One run that works, one that fails and is told of, one whose first tasks run and wait."""
    wait_until(lambda: len(machine.query("SELECT 1 FROM dag")) == 3, "the DAGs", timeout=60)
    wait_until(lambda: machine.query("SELECT 1 FROM dag_file WHERE error IS NOT NULL"), "the broken file", timeout=60)
    machine.call("dags", "trigger", "fails", "--wait", "--timeout", "60", status=1)
    machine.trigger("gated")
    ended = "SELECT count(*) FROM dag_run WHERE dag_id != 'gated' AND end_date IS NOT NULL"
    wait_until(lambda: machine.query(ended)[0][0] == 2, "two runs that are over", timeout=60)
    running = "SELECT count(*) FROM task_instance WHERE state = 'running'"
    wait_until(lambda: machine.query(running)[0][0] == 2, "two running tasks", timeout=60)
    told = "SELECT 1 FROM alert_event WHERE dag_id = 'fails'"
    wait_until(lambda: machine.query(told), "the alert of the run that fails", timeout=60)
    unrouted = "SELECT 1 FROM alert_event WHERE routed_at IS NULL"
    wait_until(lambda: not machine.query(unrouted), "every alert to be routed", timeout=60)


def scraped(machine: Machine) -> str:
    return page_of(machine.ports["WINDSOCK__EXPORTER__METASTORE_PORT"])


def counted(machine: Machine, statement: str) -> Series:
    """Rows whose last column is a number, by the columns before it."""
    return {tuple(row)[:-1]: float(tuple(row)[-1]) for row in machine.query(statement)}


def test_runs_and_task_instances_equal_what_the_metastore_holds(machine: Machine) -> None:
    page = scraped(machine)
    runs = counted(
        machine,
        "SELECT dag_id, state, count(*) FROM dag_run WHERE state IN ('queued', 'running') GROUP BY dag_id, state",
    )
    tasks = counted(
        machine,
        "SELECT t.dag_id, coalesce(t.state, 'none'), count(*) FROM task_instance t JOIN dag_run r ON r.id = t.run_pk "
        "WHERE r.end_date IS NULL GROUP BY t.dag_id, t.state",
    )
    assert family(page, "dag_runs", "dag_id", "state") == runs == {("gated", "running"): 1}
    assert family(page, "task_instances", "dag_id", "state") == tasks
    assert tasks["gated", "running"] == 2


def test_pools_equal_their_budgets(machine: Machine) -> None:
    page = scraped(machine)
    slots = counted(machine, "SELECT name, slots FROM budget WHERE kind = 'pool'")
    used = counted(machine, "SELECT name, used FROM budget WHERE kind = 'pool'")
    assert family(page, "pool_slots", "pool_name") == slots
    assert family(page, "pool_used_slots", "pool_name") == used == {("default_pool",): 2}


def test_the_last_runs_equal_the_history(machine: Machine) -> None:
    page = scraped(machine)
    ends = machine.query("SELECT dag_id, state, start_date, end_date FROM dag_run WHERE end_date IS NOT NULL")
    assert {row["dag_id"]: row["state"] for row in ends} == {"fails": "failed", "works": "success"}
    told = family(page, "last_run_timestamp_seconds", "dag_id")
    for row in ends:
        end = datetime.fromisoformat(row["end_date"] + "+00:00")
        start = datetime.fromisoformat(row["start_date"] + "+00:00")
        assert told[row["dag_id"],] == pytest.approx(end.timestamp(), abs=0.001)
        took = family(page, "last_run_duration_seconds", "dag_id")[row["dag_id"],]
        assert took == pytest.approx((end - start).total_seconds(), abs=0.001)
    assert family(page, "last_run_failed", "dag_id") == {("fails",): 1, ("works",): 0}
    assert set(family(page, "last_success_timestamp_seconds", "dag_id")) == {("works",)}


def test_every_living_process_has_a_fresh_heartbeat(machine: Machine) -> None:
    page = scraped(machine)
    beats = family(page, "heartbeat_timestamp_seconds", "component", "hostname")
    kinds = {row[0] for row in machine.query("SELECT DISTINCT kind FROM process WHERE ended_at IS NULL")}
    assert {component for component, _ in beats} == kinds >= {"scheduler", "supervisor", "dag_processor", "notifier"}
    read_at = family(page, "read_timestamp_seconds")[()]
    assert all(read_at - beat < 30 for beat in beats.values())


def test_deliveries_equal_the_outbox(machine: Machine) -> None:
    page = scraped(machine)
    outbox = machine.query("SELECT channel, state FROM alert_delivery")
    finished = Counter((row[0] or "none", row[1]) for row in outbox if row[1] not in ("pending", "sending"))
    assert finished
    none_dead = {(channel, "dead"): 0 for channel, _ in outbox if channel}
    assert family(page, "deliveries", "channel", "outcome") == none_dead | finished
    assert family(page, "outbox_backlog", "channel")["unrouted",] == 0


def test_schedules_deadlines_and_import_errors_are_those_of_the_files(machine: Machine) -> None:
    page = scraped(machine)
    due = machine.query("SELECT next_run_after FROM dag_schedule WHERE dag_id = 'works'")[0][0]
    expected = datetime.fromisoformat(due + "+00:00").timestamp()
    assert family(page, "next_run_timestamp_seconds", "dag_id") == {("works",): pytest.approx(expected, abs=0.001)}
    assert family(page, "sla_missed_tasks", "dag_id") == {("gated",): 0}
    assert family(page, "import_errors", "file_path") == {("broken.py",): 1}
    assert family(page, "dag_paused", "dag_id") == {("fails",): 0, ("gated",): 0, ("works",): 0}


def test_promtool_and_the_parser_accept_the_page(machine: Machine, promtool: Path) -> None:
    page = scraped(machine)
    checked = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    names = {found.name for found in text_string_to_metric_families(page)}
    assert {"airflow_metastore_up", "airflow_metastore_series_dropped", "process_resident_memory_bytes"} <= names


def test_fifty_scrapes_at_once_are_one_read(sqlite_url: str) -> None:
    together = threading.Barrier(50)
    with serving(sqlite_url, cache_seconds=60, timeout_seconds=30) as exporter:

        def scrape(_number: int) -> float:
            together.wait()
            return family(page_of(exporter.port), "up")[()]

        with ThreadPoolExecutor(max_workers=50) as pool:
            answers: Sequence[float] = list(pool.map(scrape, range(50)))
        assert answers == [1.0] * 50
        assert exporter.shared.reads == 1


def test_a_database_that_dies_leaves_nothing_but_up_0_and_comes_back_by_itself(
    postgresql_server: PostgreSQL, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "exporters")
    with serving(postgresql_url, cache_seconds=0) as exporter:
        assert family(page_of(exporter.port), "up") == {(): 1}
        postgresql_server.stop_process()
        try:
            page = page_of(exporter.port)
            names = {found.name for found in text_string_to_metric_families(page)}
            assert {name for name in names if name.startswith("airflow_")} == {"airflow_metastore_up"}
            assert family(page, "up") == {(): 0}
            assert get(exporter.port, "/-/ready")[0] == 200
        finally:
            postgresql_server.start()
        wait_until(lambda: family(page_of(exporter.port), "up") == {(): 1}, "the database", timeout=20)
        assert family(page_of(exporter.port), "pool_slots", "pool_name") == {("default_pool",): 128}
    told = [record.message for record in caplog.records]
    assert sum("No metrics of the metastore" in message for message in told) == 1
    assert "The metastore is read again" in told
    assert not any("windsock:windsock" in message for message in told)


def test_a_database_that_does_not_answer_is_not_waited_for_longer_than_allowed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://user:hunter2@127.0.0.1:{silent.getsockname()[1]}/database"
        with serving(url, timeout_seconds=0.3) as exporter:
            for _ in range(3):
                assert family(page_of(exporter.port), "up") == {(): 0}
            assert exporter.shared.reads == 1
    assert "has not answered for 0.3 s" in caplog.text
    assert "hunter2" not in caplog.text


def test_the_other_pages_say_what_they_are(sqlite_url: str) -> None:
    with serving(sqlite_url) as exporter:
        assert get(exporter.port, "/-/healthy") == (200, "The metastore exporter is healthy.\n")
        assert get(exporter.port, "/-/ready") == (200, "The metastore exporter is ready.\n")
        assert "/metrics" in get(exporter.port, "/")[1]
        assert get(exporter.port, "/nothing") == (404, "Here are /metrics, /-/healthy and /-/ready.\n")
