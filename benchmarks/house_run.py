"""What the house takes when nothing happens, and how soon it is up."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import mean
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks.databases import database
from benchmarks.engine_run import engine, start
from benchmarks.usage import cpu_seconds, family, pss_mib
from tests.servers.processes import free_port, wait_until

SETTLE_SECONDS = 40.0  # zygotes are let go by then
IDLE_SECONDS = 60.0  # DAG files that have not changed are parsed again once in this time: a minute after the last time
LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 60.0


def measure(name: str) -> dict[str, Any]:
    """`windsock standalone`: seconds until healthy; then memory, processor time and statements of doing nothing."""
    port = free_port()
    settings = {
        "WINDSOCK__WEBSERVER__WEB_SERVER_PORT": str(port),
        "WINDSOCK__EXPORTER__STATSD_PORT": str(free_port()),
        "WINDSOCK__EXPORTER__PORT": str(free_port()),
        "WINDSOCK__EXPORTER__METASTORE_PORT": str(free_port()),
        "WINDSOCK__CORE__LOAD_EXAMPLES": "true",  # a house without DAGs would parse nothing
    }
    with database(name) as base, ExitStack() as stack:
        home = stack.enter_context(engine(base.url, settings, watched=base.watched, schedulers=0))
        began = time.perf_counter()
        house = start(stack, home.environment, "standalone")
        wait_until(lambda: _healthy(port), "standalone to be healthy", PATIENCE_SECONDS)
        healthy = time.perf_counter() - began
        time.sleep(SETTLE_SECONDS)
        processes = family(house.pid)
        cpu, counted = cpu_seconds(processes), base.counted(processes)
        memory = _memory_of_idleness(house.pid)
        used, asked = cpu_seconds(processes) - cpu, base.counted(processes) - counted
        return {
            "database": name,
            "healthy_seconds": healthy,
            "processes": len(processes),
            "core_pss_mib": mean(core for core, _ in memory),
            "pss_mib": mean(everything for _, everything in memory),
            "highest_pss_mib": max(everything for _, everything in memory),
            "speakers": speakers(processes, base.url),
            "cpu_share": used / IDLE_SECONDS,
            "statements_per_second": None if asked.statements is None else asked.statements / IDLE_SECONDS,
        }


def _memory_of_idleness(house: int) -> list[tuple[float, float]]:
    """MiB of the core, and of the core with both exporters, once a second: what comes and goes counts by its time."""
    found = []
    until = time.monotonic() + IDLE_SECONDS
    while (left := until - time.monotonic()) > 0:
        everything = family(house)
        exporters = [process for process in everything if _is_exporter(process)]
        whole = pss_mib(everything)
        found.append((whole - pss_mib(exporters), whole))
        time.sleep(min(LOOK_SECONDS, left))
    return found


def _is_exporter(process: psutil.Process) -> bool:
    try:
        return "exporter" in process.cmdline()
    except psutil.Error:
        return False


def speakers(processes: Sequence[psutil.Process], url: str | None) -> int:
    """How many of the processes are connected to the database's server."""
    port = urlsplit(url).port if url else None
    return sum(
        any(connection.raddr and connection.raddr.port == port for connection in process.net_connections("tcp"))
        for process in processes
        if process.is_running()
    )


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
