"""The services of docker-compose.yml as they are written there, started one by one without Docker.

Each runs its own command with its own environment; only the addresses of the other services are those of this machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from engine.stack.compose import FOLDER
from tests.servers.binaries import ROOT, require
from tests.servers.compose import example, filled, services, variables
from tests.servers.databases import PostgreSQL
from tests.servers.grafana import TOKEN, FakeGrafana
from tests.servers.mail import MailServer
from tests.servers.processes import ServerProcess, free_port, wait_until

DAG = """
from engine import DAG, BashOperator

with DAG("fails", schedule=None):
    BashOperator(task_id="t", bash_command="echo about to fail; exit 3", email="oncall@example.com")
"""
SCRAPED = {"windsock": 1.0, "windsock-metastore": 1.0, "prometheus": 1.0, "blackbox": 1.0}
WORKERS = ("scheduler", "dag-processor", "notifier", "webserver", "metastore-exporter")
PORTS = (8080, 9090, 9102, 9103, 9115, 9125)
PATIENCE = 60.0  # seconds, on a machine that has much else to do


@dataclass
class Stack:
    """The compose file's services on this machine."""

    home: Path
    database_url: str
    smtp: MailServer
    grafana: FakeGrafana
    statsd_exporter: Path
    ports: dict[int, int] = field(default_factory=lambda: {port: free_port() for port in PORTS})
    running: dict[str, ServerProcess] = field(default_factory=dict)

    def environment(self, name: str) -> dict[str, str]:
        values = {key: "secret0-secret0-secret0" if how == "?" else example()[key] for key, how in variables().items()}
        written = {key: filled(value, values) for key, value in services()[name]["environment"].items()}
        here = {
            "WINDSOCK_HOME": str(self.home),
            "WINDSOCK__CORE__DAGS_FOLDER": str(self.home / "dags"),
            "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN": self.database_url,
            "WINDSOCK__METRICS__STATSD_HOST": "127.0.0.1",
            "WINDSOCK__METRICS__STATSD_PORT": str(self.ports[9125]),
            "WINDSOCK__SMTP__SMTP_HOST": "127.0.0.1",
            "WINDSOCK__SMTP__SMTP_PORT": str(self.smtp.port),
            "WINDSOCK__WEBSERVER__WEB_SERVER_PORT": str(self.ports[8080]),
            "WINDSOCK__EXPORTER__METASTORE_PORT": str(self.ports[9103]),
            "WINDSOCK__GRAFANA__URL": self.grafana.url,
            "WINDSOCK__GRAFANA__TOKEN": TOKEN,
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WINDSOCK__")}
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**inherited, **written, **here, "PATH": programs, "PYTHONPATH": str(ROOT)}

    def command(self, words: list[str]) -> list[str]:
        """The words with this machine's ports."""
        return [self._moved(word) for word in words]

    def _moved(self, word: str) -> str:
        for port, here in self.ports.items():
            word = word.replace(f":{port}", f":{here}")
        return word

    def configuration(self, path: str) -> Path:
        """A copy of what a service mounts from deploy/compose, with this machine's addresses."""
        copy = self.home / "configuration" / path
        copy.parent.mkdir(parents=True)
        text = self._moved(
            (ROOT / FOLDER / path).read_text().replace("grafana:3000", urlsplit(self.grafana.url).netloc)
        )
        names = "|".join(services())
        copy.write_text(re.sub(rf"\b({names}):", "127.0.0.1:", text))
        return copy

    def call(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """A command in the container of `name`, to its end."""
        return subprocess.run(words, env=self.environment(name), capture_output=True, text=True, timeout=PATIENCE)

    def start(self, name: str, command: list[str]) -> None:
        folder = self.home / "services" / name
        folder.mkdir(parents=True)
        settings = [f"{key}={value}" for key, value in self.environment(name).items()] if name in WORKERS else []
        self.running[name] = ServerProcess(["env", *settings, *command], folder)

    def is_healthy(self, name: str) -> bool:
        """What the health check of the compose file says."""
        test = self.command(services()[name]["healthcheck"]["test"][1:])
        return self.call(name, *test).returncode == 0

    def trigger(self) -> bool:
        """Whether the DAG was there to be run."""
        return self.call("scheduler", "windsock", "dags", "trigger", "fails").returncode == 0

    def answers(self, query: str) -> dict[str, float]:
        """What Prometheus answers, by job."""
        found = json.loads(self.get(9090, f"/api/v1/query?{urlencode({'query': query})}"))["data"]["result"]
        return {each["metric"]["job"]: float(each["value"][1]) for each in found}

    def get(self, port: int, path: str) -> str:
        return httpx.get(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=10).raise_for_status().text

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            process.stop()

    def logs(self) -> str:
        return "\n".join(f"{name}:\n{process.log.read_text()}" for name, process in self.running.items())


@pytest.fixture
def stack(
    tmp_path: Path, postgresql_server: PostgreSQL, smtp_server: MailServer, statsd_exporter: Path
) -> Iterator[Stack]:
    url = postgresql_server.create()
    grafana = FakeGrafana().start()
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "fails.py").write_text(DAG)
    made = Stack(tmp_path, url, smtp_server, grafana, statsd_exporter)
    yield made
    made.stop()
    grafana.stop()
    postgresql_server.drop(url)


def prometheus(stack: Stack, program: Path) -> list[str]:
    """The service's command, with its files and its port on this machine."""
    config = stack.configuration("prometheus/prometheus.yml")
    shutil.copytree(ROOT / FOLDER / "prometheus" / "rules", config.parent / "rules")
    places = {"/etc/prometheus/prometheus.yml": str(config), "=/prometheus": f"={stack.home / 'samples'}"}
    words = [filled(word, example()) for word in services()["prometheus"]["command"]]
    for place, here in places.items():
        words = [word.replace(place, here) for word in words]
    return [str(program), *words, f"--web.listen-address=127.0.0.1:{stack.ports[9090]}"]


def blackbox_exporter(stack: Stack) -> list[str]:
    modules = stack.configuration("blackbox/blackbox.yml")
    listen = f"--web.listen-address=127.0.0.1:{stack.ports[9115]}"
    return [str(require("prometheus-blackbox-exporter")), f"--config.file={modules}", listen]


@pytest.mark.timeout(400)  # each wait below has its own, shorter limit
def test_a_failure_goes_all_the_way_through_the_services(stack: Stack, prometheus_binary: Path) -> None:
    mapping = str(ROOT / "exporters/statsd_mapping.yml")
    told = stack.command(services()["statsd-exporter"]["command"])
    arguments = [word.replace("/etc/statsd/mapping.yml", mapping) for word in told]
    stack.start("statsd-exporter", [str(stack.statsd_exporter), *arguments])
    assert not stack.is_healthy("scheduler"), "without tables and process there is no health"
    prepared = stack.call("prepare", "windsock", *services()["prepare"]["command"])
    assert prepared.returncode == 0, prepared.stderr
    for name in WORKERS:
        stack.start(name, ["windsock", *services()[name]["command"]])
    stack.start("prometheus", prometheus(stack, prometheus_binary))
    stack.start("blackbox-exporter", blackbox_exporter(stack))
    try:
        for name in WORKERS:
            wait_until(lambda name=name: stack.is_healthy(name), f"health of {name}", PATIENCE)
        wait_until(stack.trigger, "the DAG", PATIENCE)
        (mail,) = stack.smtp.wait_for(1, PATIENCE)
        wait_until(lambda: stack.grafana.annotations, "the annotation", PATIENCE)
        wait_until(lambda: 'airflow_ti_failures{dag_id="fails"' in stack.get(9102, "/metrics"), "the metric", PATIENCE)
        wait_until(lambda: 'dag_id="fails"' in stack.get(9103, "/metrics"), "the metastore's metrics", PATIENCE)
        wait_until(lambda: stack.answers("min by (job) (up)").items() >= SCRAPED.items(), "every scrape", PATIENCE)
        wait_until(lambda: stack.answers("sum by (job) (probe_success)") == {"blackbox": 2.0}, "both probes", PATIENCE)
        assert (stack.home / "admin-password").exists()
    except (TimeoutError, AssertionError) as error:
        raise AssertionError(f"{error}\n{stack.logs()}") from error
    assert "oncall@example.com" in mail.recipients
    assert stack.grafana.annotations[0]["tags"] == ["windsock", "alert", "event:task_failed", "dag:fails", "task:t"]
