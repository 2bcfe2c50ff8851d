"""An Alertmanager of a test's own."""

from __future__ import annotations

import urllib.request
from typing import Any

import yaml

from tests.servers.binaries import find, missing
from tests.servers.processes import ServerFolder, ServerProcess, free_port


class Alertmanager:
    """Alone, without a cluster. `config` is its configuration."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.port = free_port()
        self._folder = ServerFolder("alertmanager", None)
        self._config = config

    def start(self) -> None:
        path = self._folder.path / "alertmanager.yml"
        path.write_text(yaml.safe_dump(self._config), encoding="utf-8")
        program = find("prometheus-alertmanager") or find("alertmanager") or missing("alertmanager")
        command = [
            program,
            f"--config.file={path}",
            f"--storage.path={self._folder.path / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]
        self._process = ServerProcess(command, self._folder.path)
        self._process.wait_ready(self._ready, "Alertmanager")

    def stop(self) -> None:
        self._process.stop()

    def remove(self) -> None:
        """What it has written."""
        self._folder.remove()

    def _ready(self) -> bool:
        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5).status == 200)
        except OSError:
            return False
