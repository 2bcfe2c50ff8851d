"""How each component is, asked of the component itself."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, assert_never
from urllib.parse import urlsplit

from engine.linux import start_mark
from engine.stack.component import Alive, Check, Heartbeat, Http, Tcp, Udp
from engine.stack.state import ComponentState, Phase, StackState

_TIMEOUT_SECONDS = 2.0
_STARTING_SECONDS = 20.0


class Health(StrEnum):
    """What a person is told; only HEALTHY is good, and NOT_INSTALLED, BLOCKED are no news."""

    HEALTHY = "healthy"
    ALIVE = "alive"  # its process is; whether it works was not asked
    STARTING = "starting"
    UNHEALTHY = "not answering"
    RESTARTING = "restarting"
    STOPPED = "stopped"
    NOT_INSTALLED = "not installed"
    BLOCKED = "port taken"


class Beat(NamedTuple):
    """One heartbeat row of a process on this machine."""

    pid: int
    age_seconds: float


# Kind of process → its heartbeats. Raises nothing it cannot put into words: the text stands in the table.
Beats = Mapping[str, Sequence[Beat]]
ReadBeats = Callable[[], Beats]


class Report(NamedTuple):
    """One component's health, and one sentence where it is not well, or healthy and late."""

    state: ComponentState
    health: Health
    detail: str

    @property
    def name(self) -> str:
        return self.state.component.name

    @property
    def is_core(self) -> bool:
        return self.state.component.core


def examine(stack: StackState, read_beats: ReadBeats) -> list[Report]:
    """Ask every component at once; takes as long as the slowest, two seconds at most."""
    needs_beats = any(isinstance(check, Heartbeat) for state in stack.components for check in state.component.checks)
    with ThreadPoolExecutor(max_workers=len(stack.components) + 1) as pool:
        beats = pool.submit(read_beats) if needs_beats else pool.submit(dict)
        return list(pool.map(lambda state: _report(state, beats.result), stack.components))


def all_core_healthy(reports: Sequence[Report]) -> bool:
    return all(report.health is Health.HEALTHY for report in reports if report.is_core)


def _report(state: ComponentState, read_beats: ReadBeats) -> Report:
    match state.phase:
        case Phase.RUNNING:
            return _report_running(state, read_beats)
        case Phase.BACKOFF:
            wait = max(0.0, (state.retry_at or 0.0) - time.time())
            return Report(state, Health.RESTARTING, f"{state.last_exit}; again in {wait:.1f} s")
        case Phase.NOT_INSTALLED:
            return Report(state, Health.NOT_INSTALLED, state.component.remedy)
        case Phase.BLOCKED:
            return Report(state, Health.BLOCKED, state.note)
        case Phase.STOPPING | Phase.STOPPED:
            return Report(state, Health.STOPPED, state.last_exit)
        case _:
            assert_never(state.phase)


def _report_running(state: ComponentState, read_beats: ReadBeats) -> Report:
    if state.pid is None or start_mark(state.pid) != state.pid_mark:
        return Report(state, Health.STOPPED, "its process is gone")
    problem = next((text for check in state.component.checks if (text := problem_of(check, state, read_beats))), "")
    if not problem:
        return Report(state, Health.HEALTHY, _lateness(state, read_beats))
    young = time.time() - (state.started_at or 0.0) < _STARTING_SECONDS
    return Report(state, Health.STARTING if young else Health.UNHEALTHY, problem)


def problem_of(check: Check, state: ComponentState, read_beats: ReadBeats) -> str:
    """Say what is wrong according to one check; empty where nothing is."""
    match check:
        case Http(url):
            return _http_problem(url)
        case Tcp(host, port):
            return _tcp_problem(host, port)
        case Udp(_, port):
            return "" if udp_is_bound(port) else f"nothing listens at {port}/udp"
        case Heartbeat():
            return _heartbeat_problem(check, state, read_beats)
        case Alive():
            return ""
        case _:
            assert_never(check)


def _http_problem(url: str) -> str:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer ({_reason(error)})"
    finally:
        connection.close()
    return "" if status < 400 else f"{url} answers with status {status}"


def _tcp_problem(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS).close()
    except OSError as error:
        return f"{host}:{port} does not answer ({_reason(error)})"
    return ""


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def udp_is_bound(port: int) -> bool:
    """Whether somebody listens at a UDP port, without touching it."""
    wanted = f":{port:04X}"
    tables = (Path("/proc/net/udp"), Path("/proc/net/udp6"))
    lines = (line for table in tables if table.exists() for line in table.read_text(encoding="ascii").splitlines()[1:])
    return any(line.split()[1].endswith(wanted) for line in lines)


def _heartbeat_problem(check: Heartbeat, state: ComponentState, read_beats: ReadBeats) -> str:
    try:
        age = _age(check, state, read_beats())
    except Exception as error:  # whatever the database says; here it is only one cell of a table
        return str(error).partition("\n")[0]
    if age is None:
        return "no heartbeat yet"
    return "" if age <= check.stale_after_seconds else f"its last heartbeat is {age:.0f} s old"


def _age(check: Heartbeat, state: ComponentState, beats: Beats) -> float | None:
    return min((beat.age_seconds for beat in beats.get(check.kind, ()) if beat.pid == state.pid), default=None)


def _lateness(state: ComponentState, read_beats: ReadBeats) -> str:
    """Of a component that is healthy: its heartbeat should have come, but is not old enough to be a problem."""
    for check in state.component.checks:
        if isinstance(check, Heartbeat):
            age = _age(check, state, read_beats()) or 0.0
            if age > check.late_after_seconds:
                return (
                    f"its last heartbeat is {age:.0f} s old; from {check.stale_after_seconds:g} s on it counts as dead"
                )
    return ""
