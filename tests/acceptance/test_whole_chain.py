"""From a DAG file to a series in Prometheus; and every signal of the catalogue moves when what it tells of happens."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporters.catalogue import CATALOGUE, windsock_signals
from tests.servers.binaries import ROOT
from tests.servers.machine import Machine
from tests.servers.processes import free_port, wait_until
from tests.servers.statsd_tap import StatsdTap
from tests.servers.webhook import WebhookServer

NAMED = (
    "airflow_ti_failures",
    "airflow_executor_open_slots",
    "airflow_executor_running_tasks",
    "airflow_dagbag_size",
    "airflow_dag_processing_import_errors",
    "airflow_dag_processing_total_parse_time",
)

# What cannot move yet, and why.
STILL = {
    "pool.queued_slots": "a claimed task is queued and started in one transaction, so nobody sees it queued: always 0",
    "ti.queued": "for the same reason never sent",
}

# What moves only with an alerting.yml, a dead-man's switch or the death of a deliverer, as in no part of this run: the
# test that moves it.
ELSEWHERE = {
    "alerts.heartbeats": "tests/integration/running/test_watchman.py",
    "alerts.config_ok": "tests/integration/alerting/test_routing.py",
    "alerts.follow_ups": "tests/integration/alerting/test_follow_ups.py",
    "alerts.possible_duplicates": "tests/integration/alerting/test_deliver.py",
    "alerts.groups_open": "tests/integration/alerting/test_routing.py",
    "statsd.lines_dropped": "tests/unit/test_metrics.py",
}
# What never moves while the settings stay.
CONSTANT = frozenset({"dag_processing.min_file_process_interval"})

STORIES = """
from datetime import datetime, timedelta, timezone
from engine import DAG, BashOperator, EmptyOperator

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def raises(context):
    raise RuntimeError("the callback's own fault")


with DAG("fails", schedule=None, on_failure_callback=raises, default_args={"email": "oncall@example.com"}):
    BashOperator(task_id="t", bash_command="exit 1", retries=1, retry_delay=timedelta(0))

with DAG("sleeps", schedule=None):
    for number in range(3):
        BashOperator(task_id=f"sleep_{number}", bash_command="until [ -e GATES/sleeps ]; do sleep .1; done")

with DAG("greedy", schedule=None):
    BashOperator(task_id="all_of_the_pool", bash_command="true", pool_slots=128)

with DAG("crowd", schedule=None, max_active_tasks=1):
    for number in range(6):
        BashOperator(task_id=f"turn_{number}", bash_command="sleep 3")

with DAG("often", schedule=timedelta(seconds=2), start_date=START, catchup=False):
    EmptyOperator(task_id="nothing")
    BashOperator(task_id="t", bash_command="true")

with DAG("killed", schedule=None):
    BashOperator(task_id="t", bash_command="kill -9 $$")

with DAG("endless", schedule=None):
    BashOperator(task_id="t", bash_command="sleep 1000")

with DAG("lasting", schedule=None):
    BashOperator(task_id="t", bash_command="sleep 60")

with DAG("taken_away", schedule=None):
    BashOperator(task_id="t", bash_command="until [ -e GATES/taken_away ]; do sleep .1; done")
"""
HANG = "from engine import DAG\nimport time\ntime.sleep(1000)\n"
ONE_MORE = "from engine import DAG\nDAG('one_more')\n"
BROKEN = "from engine import DAG\nDAG('broken'\n"


@pytest.fixture(scope="module")
def tap() -> Iterator[StatsdTap]:
    made = StatsdTap()
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def chat() -> Iterator[WebhookServer]:
    server = WebhookServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, tap: StatsdTap, chat: WebhookServer) -> Iterator[Machine]:
    """A machine whose metrics go through the tap to the exporter, and whose mail server is away."""
    made = Machine(
        tmp_path_factory.mktemp("home"),
        WINDSOCK__METRICS__STATSD_HOST="127.0.0.1",
        WINDSOCK__METRICS__STATSD_PORT=str(tap.port),
        WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="1",
        WINDSOCK__SCHEDULER__JOB_HEARTBEAT_SEC="1",
        WINDSOCK__SCHEDULER__DAG_DIR_LIST_INTERVAL="1",
        WINDSOCK__SCHEDULER__MIN_FILE_PROCESS_INTERVAL="5",
        WINDSOCK__SCHEDULER__MAX_FILE_PROCESS_INTERVAL="0",
        WINDSOCK__CORE__DAGBAG_IMPORT_TIMEOUT="8",
        WINDSOCK__SMTP__SMTP_HOST="127.0.0.1",
        WINDSOCK__SMTP__SMTP_PORT=str(free_port()),
        WINDSOCK__ALERTING__APPRISE_URLS=f"json://127.0.0.1:{chat.port}/",
        WINDSOCK__ALERTING__GIVE_UP_AFTER="12",
        WINDSOCK__LOGGING__REMOTE_LOGGING="true",
        WINDSOCK__LOGGING__REMOTE_BASE_LOG_FOLDER=f"file://{tmp_path_factory.mktemp('share')}",
    )
    tap.target = made.ports["WINDSOCK__EXPORTER__STATSD_PORT"]
    made.call("up", "--detach")
    yield made
    made.call("down")


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files appear that tasks wait for."""
    return tmp_path_factory.mktemp("gates")


def test_hello_world_ends_in_success(machine: Machine) -> None:
    done = machine.call("dags", "trigger", "hello_world", "--wait", "--timeout", "60")
    assert "run success" in done.stdout


def test_the_named_series_are_on_the_metrics_page(machine: Machine) -> None:
    for name in NAMED:
        wait_until(lambda name=name: machine.series(name), f"{name} on /metrics")  # type: ignore[misc]


def test_the_named_series_move_with_the_work(machine: Machine, tap: StatsdTap, gates: Path) -> None:
    machine.wait_for_monitoring()
    wait_until(lambda: machine.promql("sum(airflow_ti_failures)") == [0], "Prometheus's first look", timeout=60)
    idle = {name: machine.total(name) for name in NAMED}
    machine.write_dag("stories.py", STORIES.replace("GATES", str(gates)))
    wait_until(lambda: machine.total("airflow_dagbag_size") == idle["airflow_dagbag_size"] + 9, "nine more DAGs")
    machine.trigger("crowd")  # takes one slot at a time
    machine.trigger("sleeps")
    machine.trigger("greedy")  # while those have three of the pool's 128 slots
    busy = idle["airflow_executor_open_slots"] - 3
    wait_until(lambda: machine.total("airflow_executor_open_slots") <= busy, "three slots to be taken")
    busy = idle["airflow_executor_running_tasks"] + 3
    wait_until(lambda: machine.total("airflow_executor_running_tasks") >= busy, "three tasks to run")
    machine.call("dags", "trigger", "fails", "--wait", "--timeout", "60", status=1)
    wait_until(lambda: machine.total("airflow_ti_failures", dag_id="fails") == 2, "both attempts to be counted")
    machine.write_dag("broken.py", BROKEN)
    wait_until(lambda: machine.total("airflow_dag_processing_import_errors") == 1, "the import error")
    wait_until(
        lambda: (
            machine.total("airflow_dag_processing_total_parse_time") != idle["airflow_dag_processing_total_parse_time"]
        ),
        "another round of parsing",
    )
    wait_until(lambda: "pool.starving_tasks" in tap.moved(), "the greedy task to be told as starving")
    (gates / "sleeps").touch()


def pid_of(machine: Machine, kind: str) -> int:
    """The pid of the newest living process of a kind."""
    rows = machine.query("SELECT pid FROM process WHERE kind = ? AND ended_at IS NULL ORDER BY started_at DESC", kind)
    return int(rows[0]["pid"])


def running(machine: Machine, dag_id: str) -> bool:
    statement = "SELECT count(*) AS n FROM task_instance WHERE dag_id = ? AND state = 'running'"
    return bool(machine.query(statement, dag_id)[0]["n"])


def start(machine: Machine, dag_id: str) -> None:
    """Trigger a DAG and wait until its task runs."""
    machine.trigger(dag_id)
    wait_until(lambda: running(machine, dag_id), f"{dag_id} to run", timeout=60)


def heartbeats(machine: Machine, count: int) -> None:
    """Wait until the newest scheduler has written so many more heartbeats."""
    seen: set[str] = set()

    def beaten() -> bool:
        living = "FROM process WHERE kind = 'scheduler' AND ended_at IS NULL ORDER BY started_at DESC LIMIT 1"
        seen.update(row["heartbeat_at"] for row in machine.query(f"SELECT heartbeat_at {living}"))
        return len(seen) > count

    wait_until(beaten, f"{count} heartbeats of the scheduler", timeout=60)


@pytest.fixture(scope="module")
def told(machine: Machine, tap: StatsdTap, gates: Path) -> StatsdTap:
    """The tap, after everything that signals tell of has happened."""
    for name in ("hang_1.py", "hang_2.py"):  # both parse processes are busy, and the others wait
        machine.write_dag(name, HANG)
    machine.write_dag("one_more.py", ONE_MORE)
    machine.trigger("killed")

    # Somebody else decides about a running attempt; its own end comes too late.
    start(machine, "taken_away")
    machine.query(
        "UPDATE task_instance SET state = 'failed', token = NULL, owner = NULL, end_date = start_date "
        "WHERE dag_id = 'taken_away'"
    )
    (gates / "taken_away").touch()
    wait_until(lambda: "scheduler.late_finishes" in tap.moved(), "the late finish", timeout=60)

    # The supervisor dies with its attempt; then a scheduler dies, and its attempt goes on.
    start(machine, "endless")
    os.kill(pid_of(machine, "supervisor"), signal.SIGKILL)
    wait_until(lambda: "task_instances_without_heartbeats_killed" in tap.moved(), "the lost attempt", timeout=60)
    start(machine, "endless")
    os.kill(pid_of(machine, "scheduler"), signal.SIGKILL)
    wait_until(lambda: "scheduler.orphaned_tasks.adopted" in tap.moved(), "the adoption", timeout=60)
    # The metastore fails for a moment.
    machine.query("ALTER TABLE process RENAME TO away")
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: "job_heartbeat_failure" in tap.moved(), "a failed heartbeat", timeout=60)
    machine.query("ALTER TABLE away RENAME TO process")

    os.kill(pid_of(machine, "scheduler"), signal.SIGTERM)
    wait_until(lambda: "job_end" in tap.moved(), "the scheduler's end", timeout=60)
    # Nobody listens for a moment. A sender hears of it with its second packet, and each heartbeat is one at least.
    tap.stop()
    heartbeats(machine, 3)
    tap.start()

    with contextlib.suppress(TimeoutError):  # the tests say which ones
        wait_until(
            lambda: not moving() - tap.moved(),
            "every signal to move",
            timeout=60,
        )
    return tap


def names() -> set[str]:
    return {row.name for row in windsock_signals()}


def moving() -> set[str]:
    """Those that this run must move."""
    return names() - STILL.keys() - ELSEWHERE.keys() - CONSTANT


@pytest.mark.parametrize("name", sorted(moving()))
def test_every_signal_moves(told: StatsdTap, name: str) -> None:
    assert name in told.moved()


@pytest.mark.parametrize("name", sorted(STILL))
def test_what_is_said_to_be_still_is_so(told: StatsdTap, name: str) -> None:
    assert name in names()
    assert {sample.value for sample in told.samples if sample.name == name} <= {0}


def test_no_signal_is_sent_that_the_catalogue_does_not_know(told: StatsdTap) -> None:
    assert told.names() <= names()


def test_signals_are_sent_with_the_type_and_labels_of_the_catalogue(told: StatsdTap) -> None:
    for sample in {(sample.name, sample.series, sample.kind) for sample in told.samples}:
        name, series, kind = sample
        row = CATALOGUE[name]
        assert kind == row.type.wire, series
        sent = {tag.partition("=")[0] for tag in series.split(",")[1:]}
        assert sent <= {label.value for label in (*row.labels, *(row.engine_labels or ()))}, series


@pytest.fixture(scope="module")
def lasting(machine: Machine, told: StatsdTap) -> None:
    """A task that runs for longer than Prometheus takes from one look to the next."""
    start(machine, "lasting")


@pytest.mark.parametrize("name", NAMED)
def test_the_named_series_have_moved_in_prometheus(machine: Machine, lasting: None, name: str) -> None:
    over = f"(sum({name}))[10m:1s]"
    spread = f"max_over_time({over}) - min_over_time({over})"
    wait_until(lambda: any(value > 0 for value in machine.promql(spread)), f"{name} to move in Prometheus", timeout=40)


@pytest.mark.parametrize("name", sorted(CONSTANT))
def test_what_is_a_setting_is_told_as_it_is(told: StatsdTap, name: str) -> None:
    (value,) = {sample.value for sample in told.samples if sample.name == name}
    assert value > 0


@pytest.mark.parametrize(("name", "test"), sorted(ELSEWHERE.items()))
def test_what_moves_elsewhere_is_asked_for_there(name: str, test: str) -> None:
    assert re.search(rf"""["\[]{re.escape(name)}[",:\]]""", (ROOT / test).read_text())
