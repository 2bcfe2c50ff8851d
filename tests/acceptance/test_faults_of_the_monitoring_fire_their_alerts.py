"""Faults of exporters, Prometheus, Alertmanager and the database are made on a running system; and budgets are burned.

Their alerts fire, no other does, and all resolve. Time is hurried thirtyfold, and for budgets three hundredfold. The
table in docs/alerts.md tells what was seen.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.metrics import KEEP_SECONDS
from exporters.generate import STATSD_MAPPING
from prometheus.pace import Pace
from tests.servers.binaries import require
from tests.servers.hurried import Fault, Hurried
from tests.servers.machine import Machine
from tests.servers.processes import ServerProcess, free_port, wait_until
from tests.servers.webhook import Answer, WebhookServer

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("goes_first")]

BURNING = """
from datetime import datetime, timedelta, timezone
from engine import DAG, BashOperator, EmptyOperator

with DAG("burns", schedule=None):
    for number in range(25):
        BashOperator(task_id=f"t_{number}", bash_command="exit 1")

now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
start = now - timedelta(minutes=32)
with DAG("catches_up", schedule=timedelta(minutes=1), start_date=start, catchup=True, max_active_runs=1):
    BashOperator(task_id="t", bash_command="sleep 0.5")
"""
WRONG = "mappings: [{match: 1.2, name: }]\n"
MOST_SERIES = 5000
FILLER = """
- match: airflow.filler.*
  name: airflow_filler
  labels: {number: $1}
  ttl: 25s
"""
DOUBLED = """
groups:
  - name: doubled
    rules:
      - record: ambiguous:up:sum
        expr: up * on (nothing) up
"""


@pytest.fixture(scope="module")
def receiver() -> Iterator[WebhookServer]:
    server = WebhookServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def mapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's, and a rule for series that live for seconds."""
    path = tmp_path_factory.mktemp("mapping") / "mapping.yml"
    path.write_text(STATSD_MAPPING.read_text().replace("mappings:\n", f"mappings:{FILLER}"))
    return path


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, mapping: Path) -> Iterator[Machine]:
    made = Machine(
        tmp_path_factory.mktemp("home"),
        WINDSOCK__CORE__LOAD_EXAMPLES="false",
        # Young ones: when the exporter that shows them is stopped, they are the last that is seen for seconds.
        WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="0.5",
        WINDSOCK__SCHEDULER__JOB_HEARTBEAT_SEC="0.5",
        WINDSOCK__SCHEDULER__DAG_DIR_LIST_INTERVAL="1",
        WINDSOCK__EXPORTER__METASTORE_CACHE_SECONDS="0.2",
        WINDSOCK__EXPORTER__MAX_SERIES=str(MOST_SERIES),
        WINDSOCK__EXPORTER__MAPPING=str(mapping),
    )
    made.call("up", "--detach")
    yield made
    made.call("down")


@pytest.fixture(scope="module")
def prometheus(machine: Machine) -> Hurried:
    hurried = Hurried(machine)
    hurried.settle()
    return hurried


def send(machine: Machine, lines: list[str], times: int = 1) -> None:
    """In datagrams of 48 KB at most."""
    port = machine.ports["WINDSOCK__EXPORTER__STATSD_PORT"]
    packets = ["\n".join(lines[first : first + 1500]).encode() for first in range(0, len(lines), 1500)]
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        for packet in packets * times:
            sender.sendto(packet, ("127.0.0.1", port))


def flood(machine: Machine) -> None:
    """More datagrams than the exporter's socket holds while nobody reads it."""
    send(machine, ["airflow.scheduler_heartbeat:0|c"] * 1500, times=1500)


def fill(machine: Machine) -> None:
    """Have the exporter hold 95 % of the series that it may; in 25 s they are gone."""
    (held,) = machine.series("statsd_exporter_series")
    send(machine, [f"airflow.filler.{number}:1|g" for number in range(int(MOST_SERIES * 0.95 - held))])


def test_exporters_that_hang_and_lose_what_is_sent(machine: Machine, prometheus: Hurried) -> None:
    fault = Fault(
        prometheus,
        ("WindsockExporterDown", "WindsockMetastoreExporterDown", "WindsockSchedulerMetricsMissing"),
        ("WindsockSamplesLost",),
    )
    hanging = ("exporter", "metastore-exporter")
    for component in hanging:
        prometheus.signal(component, signal.SIGSTOP)
    try:
        fault.fires(40)
        wait_until(lambda: "WindsockSchedulerMetricsMissing" in prometheus.muted(), "what follows to be muted", 30)
        flood(machine)
    finally:
        lost = Fault(
            prometheus,
            ("WindsockSamplesLost",),
            ("WindsockExporterDown", "WindsockMetastoreExporterDown", "WindsockSchedulerMetricsMissing"),
        )
        for component in hanging:
            prometheus.signal(component, signal.SIGCONT)
    lost.fires(60)
    lost.resolves(60)


def test_an_exporter_that_cannot_start(machine: Machine, prometheus: Hurried, mapping: Path) -> None:
    away = Fault(prometheus, ("WindsockExporterDown",), ("WindsockSchedulerMetricsMissing", "WindsockSenderDropsLines"))
    began = time.monotonic()
    right = mapping.read_text()
    mapping.write_text(WRONG)
    prometheus.signal("exporter", signal.SIGKILL)
    try:
        away.fires(40)
        time.sleep(max(0.0, began + KEEP_SECONDS + 4 - time.monotonic()))  # longer than senders keep their lines
    finally:
        mapping.write_text(right)
    lost = Fault(prometheus, ("WindsockSenderDropsLines",), ("WindsockExporterDown", "WindsockSchedulerMetricsMissing"))
    lost.fires(60)
    prometheus.learn_pids()
    lost.resolves(90)


def test_an_exporter_that_refuses_its_mapping_and_holds_too_many_series(
    machine: Machine, prometheus: Hurried, mapping: Path
) -> None:
    fault = Fault(prometheus, ("WindsockMappingReloadFailed", "WindsockSeriesLimitNear"))
    right = mapping.read_text()
    mapping.write_text(WRONG)
    prometheus.signal("exporter", signal.SIGHUP)
    fill(machine)
    fault.fires(60)
    mapping.write_text(right)
    prometheus.signal("exporter", signal.SIGHUP)
    fault.resolves(90)


def test_an_alerting_yml_that_is_wrong(machine: Machine, prometheus: Hurried) -> None:
    fault = Fault(prometheus, ("WindsockAlertingConfigRejected",))
    routing = machine.home / "alerting.yml"
    routing.write_text("route: {receiver: nobodyy}\n")
    try:
        fault.fires(40)
    finally:
        routing.unlink()
    fault.resolves(60)


def test_a_database_that_refuses(machine: Machine, prometheus: Hurried) -> None:
    fault = Fault(
        prometheus,
        ("WindsockMetastoreUnreadable", "WindsockHeartbeatWritesFail"),
        ("WindsockSchedulerMetricsMissing",),
    )
    machine.query("ALTER TABLE process RENAME TO away")
    try:
        fault.fires(40)
    finally:
        machine.query("ALTER TABLE away RENAME TO process")
    fault.resolves(60)


def test_a_receiver_that_refuses(prometheus: Hurried, receiver: WebhookServer) -> None:
    fault = Fault(prometheus, ("WindsockNotificationsFail",))
    receiver.answers.extend([Answer(status=404)] * 1000)

    def tell(config: dict[str, Any]) -> None:
        config["route"] |= {"group_wait": "1s", "group_interval": "1s", "repeat_interval": "1s"}
        for each in config["receivers"]:
            each["webhook_configs"] = [{"url": receiver.url}]

    prometheus.configure_alertmanager(tell)
    fault.fires(40)
    receiver.answers.clear()
    fault.resolves(60)


def test_a_hanging_alertmanager(prometheus: Hurried) -> None:
    fault = Fault(prometheus, ("WindsockAlertmanagerDown", "WindsockPrometheusDropsAlerts"))
    prometheus.signal("alertmanager", signal.SIGSTOP)
    try:
        fault.fires(60)
    finally:
        prometheus.signal("alertmanager", signal.SIGCONT)
    fault.resolves(60)


def test_configurations_that_are_wrong_and_an_exporter_that_is_away(prometheus: Hurried, tmp_path: Path) -> None:
    fault = Fault(
        prometheus,
        (
            "WindsockPrometheusWithoutAlertmanager",
            "WindsockTargetDown",
            "WindsockRuleFailures",
            "WindsockMonitoringConfigRejected",
        ),
        ("WindsockPrometheusDropsAlerts",),
    )
    address = f"127.0.0.1:{free_port()}"

    def node(config: dict[str, Any]) -> None:
        config["scrape_configs"].append({"job_name": "node", "static_configs": [{"targets": [address]}]})

    def node_and_nobody_to_tell(config: dict[str, Any]) -> None:
        node(config)
        del config["alerting"]

    prometheus.add_rules("doubled.yml", DOUBLED)
    prometheus.configure(node_and_nobody_to_tell)
    prometheus.spoil()
    fault.fires(60)
    prometheus.remove_rules("doubled.yml")
    prometheus.configure(node)
    # Without collectors: how this machine fares is not the matter here.
    command = (require("prometheus-node-exporter"), "--collector.disable-defaults", f"--web.listen-address={address}")
    exporter = ServerProcess(command, tmp_path)
    try:
        fault.resolves(60)
    finally:
        exporter.stop()


def test_budgets_that_burn(machine: Machine, prometheus: Hurried) -> None:
    prometheus.use_rules(Pace(faster=300, shortest_range=timedelta(seconds=4)), ("slo",))
    prometheus.configure(lambda config: None)
    fault = Fault(
        prometheus,
        (
            "WindsockTaskSuccessBurnsFast",
            "WindsockTaskSuccessBurns",
            "WindsockScheduleDelayBurnsFast",
            "WindsockScheduleDelayBurns",
        ),
    )
    machine.write_dag("burning.py", BURNING)
    wait_until(lambda: machine.query("SELECT 1 FROM dag WHERE dag_id = 'burns'"), "the DAG", 30)
    machine.trigger("burns")
    fault.fires(60)
    fault.resolves(120)
