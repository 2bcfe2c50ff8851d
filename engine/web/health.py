"""Who is alive: the newest heartbeat of each kind of process, by the database's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, func, select

from alerting.clock import database_now
from engine.metastore.states import ProcessKind
from engine.metastore.tables import Process

if TYPE_CHECKING:
    from engine.metastore.store import Store

WATCHED: Final = (ProcessKind.SCHEDULER, ProcessKind.DAG_PROCESSOR, ProcessKind.NOTIFIER)


@dataclass(frozen=True, slots=True)
class Pulse:
    """One kind of process: when it was last heard of, and whether that is recent enough."""

    kind: ProcessKind
    heard_at: datetime | None
    healthy: bool

    @property
    def name(self) -> str:
        return self.kind.replace("_", " ")


def take_pulses(connection: Connection, threshold: timedelta, now: datetime) -> tuple[Pulse, ...]:
    """The pulse of every watched kind; processes that ended in good order do not count."""
    statement = (
        select(Process.kind, func.max(Process.heartbeat_at).label("heard_at"))
        .where(Process.kind.in_(WATCHED), Process.ended_at.is_(None))
        .group_by(Process.kind)
    )
    heard = {row.kind: row.heard_at for row in connection.execute(statement)}
    return tuple(_pulse(kind, heard.get(kind), threshold, now) for kind in WATCHED)


def _pulse(kind: ProcessKind, heard_at: datetime | None, threshold: timedelta, now: datetime) -> Pulse:
    return Pulse(kind, heard_at, heard_at is not None and now - heard_at < threshold)


def report(store: Store, threshold: timedelta) -> dict[str, Any]:
    """The body of ``/health`` in Airflow's shape, and an overall ``status``. Raises what the database raises."""
    with store.read() as connection:
        pulses = take_pulses(connection, threshold, database_now(connection))
    return _report(True, pulses)


def report_down() -> dict[str, Any]:
    """The body of ``/health`` when the metastore cannot be asked."""
    return _report(False, tuple(Pulse(kind, None, healthy=False) for kind in WATCHED))


def _report(metastore: bool, pulses: tuple[Pulse, ...]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "status": _word(metastore and all(pulse.healthy for pulse in pulses)),
        "metadatabase": {"status": _word(metastore)},
    }
    for pulse in pulses:
        heard = pulse.heard_at.isoformat() if pulse.heard_at else None
        body[pulse.kind] = {"status": _word(pulse.healthy), f"latest_{pulse.kind}_heartbeat": heard}
    return body


def _word(healthy: bool) -> str:
    return "healthy" if healthy else "unhealthy"
