"""A Prometheus of a test's own, which looks every second."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.servers.binaries import require
from tests.servers.processes import ServerFolder, ServerProcess, free_port


class Prometheus:
    """Scrapes itself and `targets` (job → addresses), and evaluates `rules` (file name → content).

    Alerts go to the target of the job ``alertmanager``, where there is one. `options` are further arguments. Its
    links begin with the host `seen_at`, or with this machine's own name.
    """

    def __init__(
        self, targets: Mapping[str, list[str]], rules: Mapping[str, str], *options: str, seen_at: str = ""
    ) -> None:
        self.port = free_port()
        self._folder = ServerFolder("prometheus", None)
        self._targets = {**targets, "prometheus": [f"127.0.0.1:{self.port}"]}
        self._rules = rules
        self._options = (*options, f"--web.external-url=http://{seen_at}:{self.port}/") if seen_at else options

    def start(self) -> None:
        for name, text in self._rules.items():
            (self._folder.path / name).write_text(text, encoding="utf-8")
        config = self._folder.path / "prometheus.yaml"
        config.write_text(yaml.safe_dump(self._config()), encoding="utf-8")
        command: list[str | Path] = [
            require("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={self._folder.path / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            *self._options,
        ]
        self._process = ServerProcess(command, self._folder.path)
        self._process.wait_ready(self._ready, "Prometheus")

    def stop(self) -> None:
        self._process.stop()
        self._folder.remove()

    def instant(self, query: str) -> list[dict[str, Any]]:
        """What the query answers now: ``metric`` and ``value`` of each series. A scalar has no labels."""
        data = self._ask("query", query=query)
        return [{"metric": {}, "value": data["result"]}] if data["resultType"] == "scalar" else data["result"]

    def over(self, query: str, start: float, end: float, step: float = 1.0) -> list[dict[str, Any]]:
        """What the query answers from `start` to `end`: ``metric`` and ``values`` of each series."""
        return self._ask("query_range", query=query, start=start, end=end, step=step)["result"]  # type: ignore[no-any-return]

    def firing(self) -> set[tuple[str, str]]:
        """Name and DAG of every alert that fires."""
        found = self._ask("alerts")["alerts"]
        labels = [alert["labels"] for alert in found if alert["state"] == "firing"]
        return {(each["alertname"], each.get("dag_id", "")) for each in labels}

    def read(self, query: str) -> None:
        """Read a query without answering it; raises ValueError where it is none."""
        self._ask("format_query", query=query)

    def _ask(self, path: str, **parameters: str | float) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{json.load(error)['error']}: {parameters.get('query', path)}") from None

    def _ready(self) -> bool:
        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5).status == 200)
        except OSError:
            return False

    def _config(self) -> dict[str, Any]:
        managers = self._targets.get("alertmanager", [])
        return {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": managers}]}]},
            "rule_files": [str(self._folder.path / "*.yml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": addresses}]}
                for job, addresses in self._targets.items()
            ],
        }
