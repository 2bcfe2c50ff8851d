"""Which ports are free, and who holds the others."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from engine.stack.component import Component, Port

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def taken_ports(components: Iterable[Component]) -> list[tuple[Component, Port, str]]:
    """Return each port that an installed component needs and cannot have, with the sentence that says so.

    A number that is taken for UDP and for TCP is told once. No number is suggested twice, or where another component
    is to listen: who follows all of the advice at once can start.
    """
    found: dict[tuple[str, int], tuple[Component, Port, str]] = {}
    listening = [component for component in components if component.is_installed]
    promised = {port.number for component in listening for port in component.ports}
    for component in listening:
        for port in component.ports:
            if (component.name, port.number) not in found and (problem := problem_with(component, port, promised)):
                found[component.name, port.number] = (component, port, problem)
    return list(found.values())


def problem_with(component: Component, port: Port, promised: set[int]) -> str:
    """Say why `component` cannot listen at `port`, who holds it, and what moves it; empty where it can.

    The number that it suggests is none of those `promised`, and is one of them afterwards.
    """
    error = _bind_error(port)
    if error is None:
        return ""
    place = f"port {port.number}/{port.protocol}" if port.protocol == "udp" else f"port {port.number}"
    if error.errno == errno.EADDRINUSE:
        pid = holder(port)
        who = _describe(pid) if pid else "a process of another user"
        promised.add(free := _free_neighbour(port, promised))
        return (
            f"{component.name}: {place} is taken by {who}. Stop that{_as_service(component, pid)},"
            f" or move this: {_moved(port, free)}"
        )
    if error.errno == errno.EACCES:
        return f"{component.name}: {place} is for root only. Choose one above 1023: {_moved(port, port.number + 8000)}"
    reason = error.strerror or error
    where = port.host_setting or " and ".join(port.settings)
    return f"{component.name}: cannot listen at {port.host}:{port.number}: {reason}. Correct {where}"


def _moved(port: Port, number: int) -> str:
    return " ".join(f"{setting}={number}" for setting in port.settings)


def holder(port: Port) -> int | None:
    """The process that holds a port, as far as this user may know."""
    import psutil

    for connection in psutil.net_connections(kind=port.protocol):
        listens = port.protocol == "udp" or connection.status == psutil.CONN_LISTEN
        if listens and connection.laddr and connection.laddr.port == port.number and connection.pid:
            return int(connection.pid)
    return None


def _as_service(component: Component, pid: int | None) -> str:
    """How to stop the same program where the system runs it: Debian's packages start theirs when installed."""
    import psutil

    own = Path(component.argv[0]).name
    try:
        same = pid is not None and psutil.Process(pid).name() == own[:15] and psutil.Process(pid).ppid() == 1
    except psutil.Error:
        same = False
    return f" (systemctl disable --now {own})" if same else ""


def _describe(pid: int) -> str:
    import psutil

    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return f"process {pid}"
    return f"process {pid} ({command if len(command) <= 60 else command[:59] + '…'})"


def _bind_error(port: Port) -> OSError | None:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            port.host, port.number, type=_KINDS[port.protocol], flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, proto) as probe:
            if port.protocol == "tcp":  # what a closed connection leaves behind (TIME_WAIT) is no hindrance
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _free_neighbour(port: Port, promised: Collection[int]) -> int:
    candidates = [number for number in range(port.number + 1, min(port.number + 100, 65536)) if number not in promised]
    free = (number for number in candidates if _bind_error(msgspec.structs.replace(port, number=number)) is None)
    return next(free, port.number + 1000)
