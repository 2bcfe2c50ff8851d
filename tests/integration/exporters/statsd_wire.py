"""Real sockets: a bridge in a thread or a process, and prom/statsd_exporter as a process beside it."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.bridge import Bridge, BridgeConfig
from exporters.listener import Endpoints
from tests.servers.processes import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
DEADLINE_SECONDS = 30.0
wait_for = partial(wait_until, timeout=DEADLINE_SECONDS)
# prometheus-client's parser would add _total to the names of counters.
_LINE = re.compile(r"^([a-zA-Z_]\w*)(?:{(.*)})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(page: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every line of a page: name and labels → value."""
    found = {}
    for name, labels, value in _LINE.findall(page):
        found[name, tuple(sorted(_LABEL.findall(labels)))] = float(value)
    return found


class Wire:
    """Sends lines to a StatsD port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def udp(self, *lines: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for line in lines:
                sender.sendto(line.encode(), ("127.0.0.1", self.port))

    def tcp(self, payload: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_SECONDS) as sender:
            sender.sendall(payload)


def configured(
    statsd_port: int | None = None,
    web_port: int = 0,
    mapping: Path | None = None,
    **endpoints: object,
) -> BridgeConfig:
    """A bridge on free ports; what the kernel gives for TCP may be in use for UDP, so it is not asked for one."""
    port = free_port() if statsd_port is None else statsd_port
    return BridgeConfig(statsd=Endpoints(port=port, **endpoints), web_port=web_port, mapping=mapping)


@contextmanager
def serving(config: BridgeConfig) -> Iterator[Bridge]:
    bridge = Bridge(config)
    thread = threading.Thread(target=bridge.serve)
    thread.start()
    try:
        yield bridge
    finally:
        bridge.stop()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


@contextmanager
def statsd_exporter_serving(binary: Path, mapping: Path, log: Path, *flags: str) -> Iterator[tuple[int, int]]:
    """Its StatsD port and its web port."""
    statsd, web = free_port(), free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                binary,
                f"--statsd.mapping-config={mapping}",
                f"--statsd.listen-udp=127.0.0.1:{statsd}",
                f"--statsd.listen-tcp=127.0.0.1:{statsd}",
                f"--web.listen-address=127.0.0.1:{web}",
                *flags,
            ],
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: answers(web) or process.poll() is not None, f"statsd_exporter, see {log}")
        assert process.poll() is None, log.read_text()
        yield statsd, web
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def answers(port: int) -> bool:
    try:
        return get(port, "/-/ready")[0] == 200
    except OSError:
        return False
