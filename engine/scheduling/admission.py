"""Signing on: which schedulers may work side by side.

Any number on PostgreSQL, MySQL and MariaDB; on SQLite any number on one machine. With the SequentialExecutor exactly
one, since two would run two tasks at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, select

from engine.config import Settings
from engine.metastore import leases, processes
from engine.metastore.errors import Refused
from engine.metastore.processes import Identity, boot_of, find_dead
from engine.metastore.states import ProcessKind
from engine.metastore.store import Tx
from engine.metastore.tables import Process

_SEQUENTIAL = "SequentialExecutor"


def sign_on(tx: Tx, identity: Identity, settings: Settings) -> None:
    """Write this scheduler's first heartbeat. Raises Refused where it may not work.

    1. Hold the lock of admission, so that nobody signs on meanwhile.
    2. Look for schedulers that live; on this machine the kernel knows at once, elsewhere heartbeats must be fresh.
    3. Refuse, naming one of them, or register.
    """
    leases.lock(tx, leases.ADMISSION)
    others = _living(tx, settings.scheduler.scheduler_health_check_threshold)
    executor = settings.core.executor
    for other in others:
        where = f"pid {other.pid} on host {other.hostname}"
        theirs = (other.detail or {}).get("executor")
        if _SEQUENTIAL in (executor, theirs):
            whose = "this one" if executor == _SEQUENTIAL else "that one"
            raise Refused(
                f"another scheduler is at work ({where}), and {whose} uses the SequentialExecutor, which runs one task "
                "at a time. Stop the other one, or set WINDSOCK__CORE__EXECUTOR=LocalExecutor for both"
            )
        if not tx.dialect.is_server and other.hostname != identity.hostname and boot_of(other.pid_started) != boot_of():
            raise Refused(
                f"another scheduler is at work on another machine ({where}), and a SQLite file serves one machine. "
                "Stop it, or keep the metastore in PostgreSQL or MariaDB: WINDSOCK__DATABASE__SQL_ALCHEMY_CONN"
            )
    processes.register(tx, identity, detail_of(settings))


def detail_of(settings: Settings) -> dict[str, Any]:
    """What a scheduler tells of itself: how much it can run."""
    sequential = settings.core.executor == _SEQUENTIAL
    return {"executor": settings.core.executor, "parallelism": 1 if sequential else settings.core.parallelism}


def _living(tx: Tx, threshold_seconds: float) -> Sequence[Row[Any]]:
    dead = find_dead(tx.connection, tx.now, timedelta(seconds=threshold_seconds), [ProcessKind.SCHEDULER])
    statement = select(Process.pid, Process.hostname, Process.pid_started, Process.detail)
    statement = statement.where(Process.kind == ProcessKind.SCHEDULER, Process.ended_at.is_(None))
    return tx.connection.execute(statement.where(Process.id.not_in(dead)).order_by(Process.started_at)).all()
