"""The StatsD bridge on free ports: in a thread with a mapping file of choice, or as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporters.bridge import Bridge, BridgeConfig
from exporters.listener import Endpoints
from tests.servers.binaries import ROOT
from tests.servers.processes import free_port, wait_until


@contextmanager
def bridge_serving(mapping: Path) -> Iterator[tuple[int, int]]:
    """Its StatsD port and its web port."""
    bridge = Bridge(BridgeConfig(statsd=Endpoints(port=free_port()), web_port=0, mapping=mapping))
    thread = threading.Thread(target=bridge.serve, name="bridge")
    thread.start()
    try:
        yield bridge.statsd_port, bridge.web_port
    finally:
        bridge.stop()
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def exporter_process(home: Path, **settings: object) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """`windsock exporter` with these settings; its StatsD port and its web port."""
    statsd, web = free_port(), free_port()
    given = {"statsd_port": statsd, "port": web, **settings}
    environ = {f"WINDSOCK__EXPORTER__{name}".upper(): str(value) for name, value in given.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "exporter"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "WINDSOCK_HOME": str(home), **environ},
    )
    try:
        wait_until(lambda: _is_ready(web), "the exporter", 60)
        yield process, statsd, web
    finally:
        process.kill()
        process.wait()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
