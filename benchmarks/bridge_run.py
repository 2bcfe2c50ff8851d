"""The StatsD bridge beside prom/statsd_exporter: the same bytes, the same mapping, in turns, each on one core."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from exporters.generate import STATSD_MAPPING
from tests.servers.processes import free_port, wait_until

ROOT = Path(__file__).parents[1]
LINES = 400_000
BURST_LINES = 100_000
BURST_RATE = 50_000
LINES_PER_PACKET = 10
TARGET_LINES_PER_SECOND = 250_000
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Server:
    """One exporter that runs."""

    name: str
    process: psutil.Process
    statsd: int
    web: int

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def page(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web}/metrics", timeout=PATIENCE_SECONDS) as answer:
            return str(answer.read().decode())

    def told(self, name: str) -> float:
        found = re.search(rf"^statsd_exporter_{name}(?:{{.*}})? (\S+)$", self.page(), re.MULTILINE)
        return float(found[1]) if found else 0.0


def payload(count: int) -> list[bytes]:
    """Lines as Airflow sends them: counters, timers and gauges with tags, some 2 000 series."""
    chance = random.Random(17)
    lines = []
    for _ in range(count):
        dag, task = f"dag_{chance.randrange(40)}", f"task_{chance.randrange(20)}"
        lines.append(
            chance.choice(
                [
                    f"airflow.ti_failures,dag_id={dag},task_id={task}:1|c",
                    f"airflow.task.duration,dag_id={dag},task_id={task}:{chance.random() * 1000:.6f}|ms",
                    f"airflow.pool.open_slots,pool_name={dag}:{chance.randrange(100)}|g",
                    "airflow.scheduler_heartbeat:1|c",
                ]
            ).encode()
        )
    return lines


def measure(rounds: int) -> dict[str, Any]:
    """Each exporter ``rounds`` times in turns; medians, and every round."""
    lines, burst = payload(LINES), payload(BURST_LINES)
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for name in ("bridge", "statsd_exporter"):
            command = _command(name)
            if command is None:
                continue
            with _running(name, command) as server:
                runs.setdefault(name, []).append({**_throughput(server, lines), **_burst(server, burst)})
    return {name: {"median": _median(found), "rounds": found} for name, found in runs.items()}


def slow_words(results: dict[str, Any]) -> list[str]:
    """A sentence where the bridge misses its target, or loses a line without counting it."""
    median = results["bridge"]["median"]
    words = []
    if median["lines_per_core_second"] < TARGET_LINES_PER_SECOND:
        words.append(f"bridge: {median['lines_per_core_second']:.0f} lines/s on a core, fewer than 250000")
    words += [
        f"bridge: {run['burst_unexplained']:.0f} lines of the burst are lost and not counted"
        for run in results["bridge"]["rounds"]
        if run["burst_unexplained"]
    ]
    return words


def show(results: dict[str, Any]) -> None:
    """Print the medians side by side."""
    print(f"\nStatsD bridge: {LINES} lines over TCP; {BURST_LINES} lines over UDP at {BURST_RATE}/s, one core each")
    print(
        f"{'':<18}{'lines/s':>10}{'per core s':>12}{'MiB RSS':>9}{'burst counted':>15}{'dropped':>9}{'uncounted':>11}"
    )
    for name, result in results.items():
        row = result["median"]
        print(
            f"{name:<18}{row['lines_per_second']:>10.0f}{row['lines_per_core_second']:>12.0f}{row['rss_mib']:>9.0f}"
            f"{row['burst_counted']:>15.0f}{row['burst_dropped']:>9.0f}{row['burst_unexplained']:>11.0f}"
        )
    if "statsd_exporter" not in results:
        print("statsd_exporter is not installed, so it is not measured; scripts/bootstrap test builds it where Go is")


def _command(name: str) -> list[str] | None:
    if name == "bridge":
        return [sys.executable, "-m", "engine.cli", "exporter"]
    own = ROOT / ".tools/bin/statsd_exporter"
    found = str(own) if own.exists() else shutil.which("statsd_exporter")
    return [found, f"--statsd.mapping-config={STATSD_MAPPING}", "--statsd.read-buffer=8388608"] if found else None


@contextmanager
def _running(name: str, command: list[str]) -> Iterator[Server]:
    statsd, web = free_port(), free_port()
    environ = {"WINDSOCK__EXPORTER__STATSD_PORT": str(statsd), "WINDSOCK__EXPORTER__PORT": str(web)}
    if name != "bridge":
        command = [
            *command,
            f"--statsd.listen-udp=127.0.0.1:{statsd}",
            f"--statsd.listen-tcp=127.0.0.1:{statsd}",
            f"--web.listen-address=127.0.0.1:{web}",
        ]
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environ, "WINDSOCK_HOME": home},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        server = Server(name, psutil.Process(process.pid), statsd, web)
        try:
            wait_until(lambda: _answers(server), f"{name} to answer", PATIENCE_SECONDS)
            yield server
        finally:
            process.kill()
            process.wait()


def _answers(server: Server) -> bool:
    try:
        server.page()
    except OSError:
        return False
    return True


def _throughput(server: Server, lines: Sequence[bytes]) -> dict[str, float]:
    """Over TCP, which loses nothing: from the first byte until the last line is on the page."""
    data = b"\n".join([*lines, b"airflow.dagbag_size:4711|g\n"])
    cpu, began = server.cpu_seconds(), time.perf_counter()
    with socket.create_connection(("127.0.0.1", server.statsd)) as sender:
        sender.sendall(data)
    wait_until(lambda: "airflow_dagbag_size 4711" in server.page(), "the last line", PATIENCE_SECONDS)
    wall = time.perf_counter() - began
    return {
        "lines_per_second": len(lines) / wall,
        "lines_per_core_second": len(lines) / (server.cpu_seconds() - cpu),
        "rss_mib": server.process.memory_info().rss / 2**20,
    }


def _burst(server: Server, lines: Sequence[bytes]) -> dict[str, float]:
    """Over UDP at a fixed rate; what was counted, what was dropped and counted, and what is in neither."""
    before = server.told("samples_total")
    packets = [b"\n".join(lines[at : at + LINES_PER_PACKET]) for at in range(0, len(lines), LINES_PER_PACKET)]
    began = time.perf_counter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number, packet in enumerate(packets):
            sender.sendto(packet, ("127.0.0.1", server.statsd))
            ahead = began + (number + 1) * LINES_PER_PACKET / BURST_RATE - time.perf_counter()
            if ahead > 0.002:
                time.sleep(ahead)
    counted, dropped = _settled(server, before)
    return {
        "burst_counted": counted,
        "burst_dropped": dropped,
        "burst_unexplained": len(lines) - counted - dropped,
    }


def _settled(server: Server, before: float) -> tuple[float, float]:
    """Lines counted and dropped, once two looks half a second apart agree."""
    last = (-1.0, -1.0)
    while True:
        now = (server.told("samples_total") - before, server.told("udp_packet_drops_total") * LINES_PER_PACKET)
        if now == last:
            return now
        last = now
        time.sleep(0.5)


def _median(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}
