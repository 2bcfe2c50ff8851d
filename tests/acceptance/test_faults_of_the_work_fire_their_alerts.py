"""Faults of the work are made on a running system: their alerts fire, no other does, and all resolve.

Time is hurried thirtyfold: a hold of ten minutes lasts twenty seconds. The table in docs/alerts.md tells what was seen.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.hurried import Fault, Hurried
from tests.servers.machine import Machine
from tests.servers.mail import MailServer
from tests.servers.processes import wait_until

pytestmark = [pytest.mark.timeout(480), pytest.mark.usefixtures("goes_first")]

HEAD = """
import time
from datetime import datetime, timedelta, timezone
from engine import DAG, BashOperator, EmptyOperator

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
"""
REGULAR = """
with DAG("regular", schedule=timedelta(seconds=5), start_date=START, catchup=False):
    EmptyOperator(task_id="nothing")
"""
CROWDS = """
with DAG("narrow", schedule=None):
    for number in range(2):
        BashOperator(task_id=f"t_{number}", bash_command="sleep 60", pool="narrow")

with DAG("late", schedule=None):
    BashOperator(task_id="t", bash_command="sleep 30", sla=timedelta(seconds=20))

with DAG("crowd", schedule=None):
    for number in range(6):
        BashOperator(task_id=f"t_{number}", bash_command="sleep 60")
"""
STALE = """
with DAG("stale", schedule=timedelta(seconds=6), start_date=START, catchup=False):
    BashOperator(task_id="t", bash_command="test -e {flag}")
"""
FAILING = """
def raises(context):
    raise RuntimeError("the callback's own fault")

with DAG("fails", schedule=None, on_failure_callback=raises):
    BashOperator(task_id="t", bash_command="exit 1")

with DAG("mails", schedule=None, default_args={"email": "oncall@example.com"}):
    BashOperator(task_id="t", bash_command="exit 1")

with DAG("floods", schedule=None, default_args={"email": "oncall@example.com"}):
    for number in range(105):
        BashOperator(task_id=f"t_{number}", bash_command="exit 1")

# Four callbacks run at once, so the fifth waits for one of these to end.
with DAG("dawdles", schedule=None, default_args={"on_failure_callback": lambda context: time.sleep(20)}):
    for number in range(5):
        BashOperator(task_id=f"t_{number}", bash_command="exit 1")

with DAG("endless", schedule=None):
    BashOperator(task_id="t", bash_command="sleep 600")
"""
FAILING_DAGS = ("fails", "mails", "floods", "dawdles", "endless")
REPAIRED = """
for name in ("fails", "mails", "floods", "dawdles", "endless"):
    with DAG(name, schedule=None):
        BashOperator(task_id="t", bash_command="true")
"""
BROKEN = "\nDAG('broken'\n"
SLOW = "\nimport time\ntime.sleep(11)\nDAG('slow')\n"
HANG = "\nimport time\ntime.sleep(1000)\n"


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, mail: MailServer) -> Iterator[Machine]:
    made = Machine(
        tmp_path_factory.mktemp("home"),
        WINDSOCK__CORE__LOAD_EXAMPLES="false",
        WINDSOCK__CORE__PARALLELISM="6",
        WINDSOCK__CORE__DAGBAG_IMPORT_TIMEOUT="14",
        WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="1",
        WINDSOCK__SCHEDULER__JOB_HEARTBEAT_SEC="1",
        WINDSOCK__SCHEDULER__DAG_DIR_LIST_INTERVAL="1",
        WINDSOCK__SCHEDULER__MIN_FILE_PROCESS_INTERVAL="5",
        WINDSOCK__SCHEDULER__MAX_FILE_PROCESS_INTERVAL="0",
        WINDSOCK__SCHEDULER__PARSING_PROCESSES="4",
        WINDSOCK__EXPORTER__METASTORE_CACHE_SECONDS="0.5",
        WINDSOCK__SMTP__SMTP_HOST="127.0.0.1",
        WINDSOCK__SMTP__SMTP_PORT=str(mail.port),
    )
    made.call("up", "--detach")
    yield made
    made.call("down")


@pytest.fixture(scope="module")
def prometheus(machine: Machine) -> Hurried:
    """Settled, with a DAG that runs every five seconds."""
    machine.write_dag("regular.py", HEAD + REGULAR)
    hurried = Hurried(machine)
    hurried.settle()
    wait_until(lambda: machine.promql("airflow_metastore_next_run_timestamp_seconds"), "the regular DAG", 30)
    return hurried


def write(machine: Machine, name: str, text: str, *dag_ids: str) -> None:
    """Put a DAG file there and wait until its DAGs are known as it says."""

    def version(dag_id: str) -> str:
        rows = machine.query("SELECT version FROM dag WHERE dag_id = ? AND is_active", dag_id)
        return str(rows[0]["version"]) if rows else ""

    before = {dag_id: version(dag_id) for dag_id in dag_ids}
    machine.write_dag(name, HEAD + text)
    wait_until(lambda: all(version(dag_id) != before[dag_id] for dag_id in dag_ids), f"{dag_ids} to be known", 30)


def runs(machine: Machine, dag_id: str, state: str) -> bool:
    return bool(machine.query("SELECT 1 FROM task_instance WHERE dag_id = ? AND state = ?", dag_id, state))


def test_nothing_fires_while_all_is_well(prometheus: Hurried) -> None:
    Fault(prometheus, ()).stays_away(10)


def test_files_that_are_broken_slow_or_hang(machine: Machine, prometheus: Hurried) -> None:
    fault = Fault(prometheus, ("WindsockImportErrors", "WindsockParseSlow", "WindsockParseTimeouts"))
    files = {"broken.py": BROKEN, "slow.py": SLOW, "hang.py": HANG}
    for name, text in files.items():
        machine.write_dag(name, HEAD + text)
    try:
        fault.fires(60)
    finally:
        for name in files:
            (machine.home / "dags" / name).unlink()
    fault.resolves(60)


def test_a_scheduler_a_dag_processor_and_a_notifier_that_hang(prometheus: Hurried) -> None:
    fault = Fault(
        prometheus,
        (
            "WindsockSchedulerHeartbeatMissing",
            "WindsockDagProcessorHeartbeatMissing",
            "WindsockNotifierHeartbeatMissing",
            "WindsockProcessSilent",
            "WindsockSchedulerMetricsMissing",
            "WindsockRunOverdue",
        ),
    )
    hanging = ("scheduler", "dag-processor", "notifier")
    for component in hanging:
        prometheus.signal(component, signal.SIGSTOP)
    try:
        fault.fires(60)
        following = {"WindsockProcessSilent", "WindsockRunOverdue", "WindsockSchedulerMetricsMissing"}
        wait_until(lambda: following <= prometheus.muted(), "what follows to be muted", 30)
    finally:
        for component in hanging:
            prometheus.signal(component, signal.SIGCONT)
    fault.resolves(60)


def test_a_full_pool_a_full_executor_and_a_promise_that_is_broken(machine: Machine, prometheus: Hurried) -> None:
    machine.call("pools", "set", "narrow", "1")
    write(machine, "crowds.py", CROWDS, "narrow", "late", "crowd")
    fault = Fault(
        prometheus,
        (
            "WindsockPoolStarving",
            "WindsockQueueStuck",
            "WindsockExecutorNoFreeSlots",
            "WindsockSlaMissed",
            "WindsockSlaAtRisk",
        ),
    )
    machine.trigger("narrow")
    machine.trigger("late")
    wait_until(lambda: runs(machine, "late", "running") and runs(machine, "narrow", "running"), "the first tasks")
    machine.trigger("crowd")
    fault.fires(60)
    fault.resolves(90)  # each task ends by itself
    over = ("narrow", "late", "crowd")
    wait_until(lambda: not any(runs(machine, dag_id, "running") for dag_id in over), "the last tasks", 60)


def test_work_that_fails_and_mail_that_cannot_be_delivered(
    machine: Machine, prometheus: Hurried, mail: MailServer, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    write(machine, "failing.py", FAILING, *FAILING_DAGS)
    write(machine, "stale.py", STALE.format(flag=flag), "stale")
    machine.trigger("endless")
    wait_until(lambda: runs(machine, "stale", "success") and runs(machine, "endless", "running"), "work", 20)
    fault = Fault(
        prometheus,
        (
            "WindsockRunFailed",
            "WindsockTaskFailures",
            "WindsockNoRecentSuccess",
            "WindsockTasksLost",
            "WindsockCallbacksFail",
            "WindsockAlertsDead",
            "WindsockDeliveryFails",
            "WindsockAlertsDelayed",
            "WindsockAlertsStuck",
            "WindsockAlertBacklog",
            "WindsockCallbacksDelayed",
        ),
    )
    flag.unlink()
    (supervisor,) = machine.query("SELECT pid FROM process WHERE kind = 'supervisor' AND ended_at IS NULL")
    os.kill(int(supervisor["pid"]), signal.SIGKILL)
    mail.answers.append("550 no such mailbox")
    machine.trigger("fails")
    machine.trigger("mails")
    dead = "SELECT 1 FROM alert_delivery WHERE state = 'dead'"
    wait_until(lambda: machine.query(dead), "a dead alert", 20)
    mail.stop()
    for dag_id in ("mails", "floods", "dawdles"):
        machine.trigger(dag_id)
    fault.fires(100)

    flag.touch()
    mail.start()
    write(machine, "failing.py", REPAIRED, *FAILING_DAGS)
    for dag_id in FAILING_DAGS:
        machine.trigger(dag_id)
    machine.call("alerts", "replay")
    fault.resolves(120)
