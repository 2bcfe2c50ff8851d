"""Heartbeats: one row per long-lived process. Tasks point at their supervisor's row, so liveness costs no row per task.

Of a process that runs here the kernel tells whether it lives: by pid and start time. "Here" is a boot of a kernel and a
pid namespace: host names repeat between machines, and between containers that share one, where the same pid is somebody
else. Any other process is dead when its row is older than the threshold by the database's clock.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from engine.linux import start_mark
from engine.metastore.database import Tx
from engine.metastore.states import ProcessKind
from engine.metastore.tables import Process, TaskInstance


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process is in the metastore."""

    id: str
    kind: ProcessKind
    hostname: str
    pid: int


def identify(kind: ProcessKind, pid: int | None = None) -> Identity:
    """A new identity for a process of this host (this one by default)."""
    return Identity(str(uuid.uuid4()), kind, socket.gethostname(), pid or os.getpid())


def _place() -> str:
    """Where pids mean what they mean to this process."""
    own = start_mark(os.getpid()) or ""
    return f"{Path('/proc/self/ns/pid').stat().st_ino}:{own.partition(':')[0]}"


def boot_of(mark: str = "") -> str:
    """The boot of a kernel that a process was started in: that of a row's ``pid_started``, by default this one."""
    return (mark or _place()).split(":")[1]


def _mark(pid: int) -> str:
    """Place and start of a process; the place alone when it is gone."""
    return f"{_place()}:{(start_mark(pid) or '').partition(':')[2]}"


def register(tx: Tx, identity: Identity, detail: dict[str, Any] | None = None) -> None:
    """Write a process's first heartbeat."""
    row = {
        "id": identity.id,
        "kind": identity.kind,
        "hostname": identity.hostname,
        "pid": identity.pid,
        "pid_started": _mark(identity.pid),
        "started_at": tx.now,
        "heartbeat_at": tx.now,
        "detail": detail or {},
    }
    tx.connection.execute(insert(Process).values(row))


def heartbeat(tx: Tx, ids: Iterable[str]) -> int:
    """Say that processes live; returns how many rows there were: a missing one was declared dead."""
    statement = update(Process).where(Process.id.in_(sorted(ids)), Process.ended_at.is_(None))
    return tx.connection.execute(statement.values(heartbeat_at=tx.now)).rowcount


def describe(tx: Tx, process_id: str, detail: dict[str, Any]) -> None:
    """Say anew what a process is about."""
    tx.connection.execute(update(Process).where(Process.id == process_id).values(detail=detail))


def end(tx: Tx, ids: Iterable[str]) -> None:
    """Say that processes have ended in good order."""
    statement = update(Process).where(Process.id.in_(sorted(ids)), Process.ended_at.is_(None))
    tx.connection.execute(statement.values(ended_at=tx.now))


def declare_dead(tx: Tx, ids: Iterable[str]) -> None:
    """Say of processes that they have ended without a word."""
    statement = update(Process).where(Process.id.in_(sorted(ids)), Process.ended_at.is_(None))
    tx.connection.execute(statement.values(ended_at=tx.now, is_lost=True))


@dataclass(frozen=True, slots=True)
class Census:
    """Processes that have not signed off, by id: those that are dead all the same, and those that live, by kind."""

    dead: list[str]
    living: Mapping[str, set[str]]


def take_census(connection: Connection, now: datetime, threshold: timedelta, kinds: Iterable[ProcessKind]) -> Census:
    """Who of these kinds lives, and who is dead without having said so. One statement."""
    statement = select(Process.id, Process.kind, Process.pid, Process.pid_started, Process.heartbeat_at)
    statement = statement.where(Process.kind.in_(sorted(kinds)), Process.ended_at.is_(None))
    here = f"{_place()}:"
    census = Census([], defaultdict(set))
    for row in connection.execute(statement):
        if row.pid_started.startswith(here):
            gone = _mark(row.pid) != row.pid_started
        else:
            gone = row.heartbeat_at < now - threshold
        if gone:
            census.dead.append(row.id)
        else:
            census.living[row.kind].add(row.id)
    return census


def find_dead(connection: Connection, now: datetime, threshold: timedelta, kinds: Iterable[ProcessKind]) -> list[str]:
    """Ids of processes that neither ended nor live."""
    return take_census(connection, now, threshold, kinds).dead


def find_orphaned_owners(connection: Connection) -> list[str]:
    """Owners of attempts that have no living process row: ended, declared dead by somebody, or never there."""
    living = (Process.id == TaskInstance.owner) & Process.ended_at.is_(None)
    statement = select(TaskInstance.owner).distinct().outerjoin(Process, living)
    statement = statement.where(TaskInstance.owner.is_not(None), Process.id.is_(None))
    return [owner for owner in connection.execute(statement).scalars() if owner is not None]


def living(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Those of `ids` that nobody has declared dead."""
    statement = select(Process.id).where(Process.id.in_(sorted(ids)), Process.ended_at.is_(None))
    return set(connection.execute(statement).scalars())


def attempts_outliving(connection: Connection, dead_schedulers: Collection[str]) -> int:
    """Attempts that go on under living supervisors whose scheduler is among the dead."""
    if not dead_schedulers:
        return 0
    supervisors = select(Process.id, Process.detail).where(
        Process.kind == ProcessKind.SUPERVISOR, Process.ended_at.is_(None), Process.id.not_in(sorted(dead_schedulers))
    )
    owners = [row.id for row in connection.execute(supervisors) if row.detail.get("scheduler") in dead_schedulers]
    count = select(func.count()).select_from(TaskInstance).where(TaskInstance.owner.in_(owners))
    return connection.execute(count).scalar_one()
