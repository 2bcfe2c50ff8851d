"""Processes that work on this metastore and that the stack of this home did not start.

A scheduler that was started by itself, or the stack of another machine: their heartbeats are in the metastore, while
``run/stack.json`` does not know them. Only who started them stops them.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import select

from alerting.clock import database_now
from engine.cli.opening import if_there
from engine.cli.output import shown
from engine.metastore.processes import find_dead
from engine.metastore.states import ProcessKind
from engine.metastore.tables import Process
from engine.stack.state import read_state, running_pid

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from engine.config import Settings

_KINDS: Final = tuple(kind for kind in ProcessKind if kind is not ProcessKind.SUPERVISOR)  # it goes with its scheduler


class Elsewhere(NamedTuple):
    """A process that beats."""

    kind: str
    hostname: str
    pid: int
    started_at: datetime

    @property
    def name(self) -> str:
        return self.kind.replace("_", "-")

    def __str__(self) -> str:
        return f"{self.name} on {self.hostname}, pid {self.pid}, since {shown(self.started_at)} UTC"


def started_elsewhere(settings: Settings) -> list[Elsewhere]:
    """Who works on this metastore and is not of this home's stack; nobody where the metastore cannot be asked."""
    return if_there(settings, lambda connection: beating_elsewhere(connection, settings))


def beating_elsewhere(connection: Connection, settings: Settings) -> list[Elsewhere]:
    """The same, for who asks this metastore anyway."""
    threshold = timedelta(seconds=settings.scheduler.scheduler_health_check_threshold)
    return _beating(connection, threshold, _own_pids(settings.home))


def _own_pids(home: Path) -> set[int]:
    state = read_state(home) if running_pid(home) is not None else None
    return {component.pid for component in state.components if component.pid is not None} if state else set()


def _beating(connection: Connection, threshold: timedelta, own: Collection[int]) -> list[Elsewhere]:
    dead = find_dead(connection, database_now(connection), threshold, _KINDS)
    columns = (Process.kind, Process.hostname, Process.pid, Process.started_at)
    living = select(*columns).where(Process.kind.in_(_KINDS), Process.ended_at.is_(None), Process.id.not_in(dead))
    found = [Elsewhere(*row) for row in connection.execute(living.order_by(*columns))]
    here = socket.gethostname()
    return [process for process in found if process.hostname != here or process.pid not in own]


def named(found: Sequence[Elsewhere]) -> list[str]:
    """A heading and a line for each; nothing where there is nobody."""
    heading = "At work on the same metastore, not started by the stack of this home:"
    return [heading, *(f"  {process}" for process in found)] if found else []


def how_to_stop(found: Sequence[Elsewhere]) -> str:
    """What ``down`` says of those it leaves alone."""
    those = "That process is" if len(found) == 1 else "Those processes are"
    return f"{those} stopped by whoever started {'it' if len(found) == 1 else 'them'}."


def as_json(process: Elsewhere) -> dict[str, object]:
    """With the keys of a component, so that who reads those can read this; its name is no component's."""
    return {
        "component": f"{process.name} on {process.hostname}, pid {process.pid}",
        "address": "",
        "state": "healthy",
        "detail": "not started by the stack of this home",
        "core": False,
        "pid": process.pid,
        "started_at": process.started_at.timestamp(),
        "restarts": 0,
        "last_exit": "",
        "of_this_stack": False,
        "kind": process.name,
        "host": process.hostname,
    }
