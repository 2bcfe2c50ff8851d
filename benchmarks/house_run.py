"""What the house takes when nothing happens, and how soon it is up."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks.databases import database
from benchmarks.engine_run import engine, start
from benchmarks.usage import cpu_seconds, family, pss_mib
from tests.servers.processes import free_port, wait_until

SETTLE_SECONDS = 5.0
IDLE_SECONDS = 15.0
PATIENCE_SECONDS = 60.0


def measure(name: str) -> dict[str, Any]:
    """`windsock standalone`: seconds until healthy; then memory, processor time and statements of doing nothing."""
    port = free_port()
    settings = {
        "WINDSOCK__WEBSERVER__WEB_SERVER_PORT": str(port),
        "WINDSOCK__EXPORTER__STATSD_PORT": str(free_port()),
        "WINDSOCK__EXPORTER__PORT": str(free_port()),
        "WINDSOCK__EXPORTER__METASTORE_PORT": str(free_port()),
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
        time.sleep(IDLE_SECONDS)
        used, asked = cpu_seconds(processes) - cpu, base.counted(processes) - counted
        return {
            "database": name,
            "healthy_seconds": healthy,
            "processes": len(processes),
            "pss_mib": pss_mib(processes),
            "speakers": speakers(processes, base.url),
            "cpu_share": used / IDLE_SECONDS,
            "statements_per_second": None if asked.statements is None else asked.statements / IDLE_SECONDS,
        }


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
