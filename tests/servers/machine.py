"""A machine on which Windsock is used: a home, ports of its own, the command, and what it shows to the outside."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.servers.binaries import ROOT
from tests.servers.pages import answers
from tests.servers.processes import free_port, wait_until


class Machine:
    """A home with ports of its own, and the command in it. `settings` are environment variables for every command."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.settings = settings
        statsd = free_port()
        self.ports = {
            "WINDSOCK__WEBSERVER__WEB_SERVER_PORT": free_port(),
            "WINDSOCK__EXPORTER__PORT": free_port(),
            "WINDSOCK__EXPORTER__METASTORE_PORT": free_port(),
            "WINDSOCK__EXPORTER__STATSD_PORT": statsd,
            "WINDSOCK__METRICS__STATSD_PORT": statsd,
            "WINDSOCK__PROMETHEUS__PORT": free_port(),
            "WINDSOCK__PROMETHEUS__ALERTMANAGER_PORT": free_port(),
            "WINDSOCK__GRAFANA__PORT": free_port(),
        }

    @property
    def environment(self) -> Mapping[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WINDSOCK__")}
        ports = {name: str(port) for name, port in self.ports.items()}
        own = {"WINDSOCK_HOME": str(self.home), "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
        return {**inherited, **own, **ports, **self.settings}

    # -- the command

    def run(self, *words: str, timeout: float = 100, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end, however it ends; `settings` are more environment variables."""
        return subprocess.run(
            [sys.executable, "-m", "engine.cli", *words],
            env={**self.environment, **settings},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def call(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the command; it must end with `status`."""
        done = self.run(*words)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def ask(self, *words: str) -> Any:
        """What a command answers with ``--output json``, whatever its exit status."""
        done = self.run(*words, "--output", "json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def trigger(self, dag_id: str) -> str:
        """Start a run; returns its run_id."""
        return str(self.ask("dags", "trigger", dag_id)[0]["run_id"])

    def status(self) -> dict[str, dict[str, Any]]:
        """Component → what ``status`` says of it, well or not."""
        return {row["component"]: row for row in self.ask("status")}

    # -- files

    def write_dag(self, name: str, text: str) -> Path:
        """Put a DAG file into the DAG folder, in one step."""
        folder = self.home / "dags"
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{name}.draft"
        draft.write_text(text)
        return draft.rename(folder / name)

    def log(self, component: str) -> str:
        """What a component of the stack has said."""
        return (self.home / "logs" / component / f"{component}.log").read_text()

    def query(self, statement: str, *values: object) -> list[sqlite3.Row]:
        """Rows of the metastore, which is SQLite here; times are UTC."""
        with closing(sqlite3.connect(self.home / "windsock.db", timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            with connection:
                return connection.execute(statement, values).fetchall()

    # -- what the monitoring sees

    def wait_for_monitoring(self) -> None:
        """Return once Prometheus and Alertmanager are ready; ``up`` waits for them for a few seconds only."""
        for name in ("PORT", "ALERTMANAGER_PORT"):
            ready = f"http://127.0.0.1:{self.ports[f'WINDSOCK__PROMETHEUS__{name}']}/-/ready"
            wait_until(lambda ready=ready: answers(ready), ready, 60)  # type: ignore[misc]

    def series(self, name: str, **labels: str) -> list[float]:
        """The values of a series on the exporter's /metrics, of those that have these labels at least."""
        # The parser gives every counter the suffix _total.
        url = f"http://127.0.0.1:{self.ports['WINDSOCK__EXPORTER__PORT']}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name.removesuffix("_total") == name and labels.items() <= sample.labels.items()
        ]

    def total(self, name: str, **labels: str) -> float:
        """The sum over a series' label values; 0 where there is none yet."""
        return sum(self.series(name, **labels))

    def promql(self, expression: str) -> list[float]:
        """What Prometheus answers to an instant query."""
        base = f"http://127.0.0.1:{self.ports['WINDSOCK__PROMETHEUS__PORT']}/api/v1/query?"
        with urllib.request.urlopen(base + urllib.parse.urlencode({"query": expression}), timeout=30) as answer:
            return [float(row["value"][1]) for row in json.load(answer)["data"]["result"]]

    # -- what a browser sees

    def signed_in(self) -> httpx.Client:
        """A browser in which the administrator has signed in with the generated password; close it after use."""
        base = f"http://127.0.0.1:{self.ports['WINDSOCK__WEBSERVER__WEB_SERVER_PORT']}"
        browser = httpx.Client(base_url=base, follow_redirects=True, trust_env=False, timeout=60)
        found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/login").text)
        assert found
        password = (self.home / "admin-password").read_text().strip()
        form = {"csrf_token": found[1], "username": "admin", "password": password}
        done = browser.post("/login", data=form, headers={"Origin": base})
        assert done.status_code == 200, done.text
        assert done.url.path == "/dags"
        return browser
