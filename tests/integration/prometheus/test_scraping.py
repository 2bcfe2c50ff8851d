"""A real Prometheus with the generated configuration and rules, scraping a real bridge."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.parse
import urllib.request
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from prometheus.generate import rule_files
from prometheus.pace import NORMAL, Pace
from prometheus.rules_by_area import ALERTS
from prometheus.scrape import scrape_config
from tests.servers.bridges import exporter_process
from tests.servers.processes import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE_SECONDS = 60.0


class Exporter(NamedTuple):
    """Where it listens."""

    statsd_port: int
    web_port: int


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """A process of its own: rules look at when it was started."""
    with exporter_process(tmp_path / "home") as (_, statsd_port, web_port):
        yield Exporter(statsd_port, web_port)


class Queries:
    """Asks a Prometheus."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    def get(self, path: str, **parameters: str) -> Any:
        url = f"{self._base}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def series(self, query: str) -> list[dict[str, str]]:
        return [each["metric"] for each in self.get("/api/v1/query", query=query)["result"]]

    def ready(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self._base}/-/ready", timeout=30).status == 200
        except OSError:
            return False


@pytest.fixture
def pace() -> Pace:
    return NORMAL


@pytest.fixture
def rules_dir(pace: Pace, tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    for name, text in rule_files(pace=pace).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def queries(exporter: Exporter, rules_dir: Path, tmp_path: Path, prometheus_binary: Path) -> Iterator[Queries]:
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        scrape_config(
            exporter_address=f"127.0.0.1:{exporter.web_port}",
            prometheus_address=f"127.0.0.1:{port}",
            rules_dir=rules_dir,
            scrape_interval=timedelta(seconds=1),
        ),
        encoding="utf-8",
    )
    command = [
        str(prometheus_binary),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    asked = Queries(port)
    try:
        wait_until(asked.ready, f"prometheus, see {tmp_path}", DEADLINE_SECONDS)
        yield asked
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def send(exporter: Exporter, *lines: str) -> None:
    with socket.create_connection(("127.0.0.1", exporter.statsd_port)) as sender:
        sender.sendall("\n".join(lines).encode())


def test_signals_are_answered_in_promql_with_the_labels_of_the_catalogue(exporter: Exporter, queries: Queries) -> None:
    send(
        exporter,
        "airflow.scheduler_heartbeat:1|c",
        "airflow.executor.open_slots,status=open,name=LocalExecutor:7|g",
        "airflow.operator_failures,dag_id=etl,task_id=load,operator=BashOperator:1|c",
        "airflow.ti_failures,dag_id=etl,task_id=load:1|c",
    )
    wait_until(lambda: queries.series("airflow_ti_failures"), "the first scrape", DEADLINE_SECONDS)
    (slots,) = queries.series("airflow_executor_open_slots")
    (failures,) = queries.series("airflow_operator_failures")
    assert (slots.get("executor_class_name"), slots.get("name")) == ("LocalExecutor", None)
    assert (failures.get("operator_name"), failures.get("operator")) == ("BashOperator", None)
    wait_until(
        lambda: [each["dag_id"] for each in queries.series("dag_task:ti_failures:increase10m")] == ["etl"],
        "the recorded failure",
        DEADLINE_SECONDS,
    )
    firing = 'ALERTS{alertname="WindsockWatchdog",alertstate="firing"}'
    wait_until(lambda: queries.series(firing), "the watchdog", DEADLINE_SECONDS)


# Hurried, because the slowest group is evaluated every five minutes.
@pytest.mark.parametrize("pace", [Pace(faster=60, shortest_range=timedelta(seconds=5))], ids=["hurried"])
def test_every_rule_is_loaded_and_healthy(queries: Queries) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in queries.get("/api/v1/rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: rules() and all(rule["health"] == "ok" for rule in rules()), "healthy rules", DEADLINE_SECONDS)
    assert {rule["name"] for rule in rules() if rule["type"] == "alerting"} == {alert.name for alert in ALERTS}
