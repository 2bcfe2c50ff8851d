"""The queue of logs to ship, one row per ended attempt until its log is where it should be.

=========  ==============================================================================================
verb       does
=========  ==============================================================================================
request    insert rows for the attempts that a transaction ended: one INSERT for all of them
lease      take due rows of a place, for a while; no other shipper takes them meanwhile
renew      make all leases of a holder last longer
confirm    delete rows whose logs have arrived; guarded by the token
postpone   note why a log could not be shipped and when to try again; guarded by the token
release    give back what was leased and not tried
take_over  end the leases of holders that are dead
=========  ==============================================================================================
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, select, update

from alerting.clock import database_now
from engine.logs.paths import attempt_log_path
from engine.logs.place import place_of
from engine.metastore.database import Tx
from engine.metastore.outcome import Cause
from engine.metastore.tables import Base, LogShipment, Process

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from engine.config.sections import Logging
    from engine.metastore.changes import Changes, TaskChange

_SHIPMENT: Final = Base.metadata.tables[LogShipment.__tablename__]
PLACE: Final = "logs"
"""The key in a supervisor's detail under which its log folder stands."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """One log that is to be shipped; `path` is relative to the log folder."""

    id: int
    path: str
    lost: bool
    attempts: int
    age: timedelta


@dataclass(frozen=True, slots=True)
class Setback:
    """Why a shipment failed, and how long to wait before the next try."""

    shipment_id: int
    reason: str
    error: str
    wait: timedelta


@dataclass(frozen=True, slots=True)
class ShipmentRequests:
    """Asks for the logs of ended attempts. `place` is the caller's log folder; an owner's own is looked up once."""

    place: str
    _places: dict[str, str] = field(default_factory=dict)

    def request(self, tx: Tx, changes: Changes) -> None:
        """Insert a row for each attempt that ended in this transaction; a log that goes on with the next poke waits."""
        ended = changes.ended
        if not ended:
            return
        self._learn(tx, {change.owner for change in ended if change.owner})
        rows = [_row(change, self._places.get(change.owner or "", self.place), tx) for change in ended]
        tx.dialect.insert_rows(tx.connection, _SHIPMENT, rows)

    def _learn(self, tx: Tx, owners: set[str]) -> None:
        if unknown := owners - self._places.keys():
            found = tx.connection.execute(select(Process.id, Process.detail).where(Process.id.in_(sorted(unknown))))
            self._places.update({row.id: row.detail.get(PLACE, self.place) for row in found})


def shipment_requests(settings: Logging) -> ShipmentRequests | None:
    """What a ledger needs to have logs shipped; None where they stay."""
    return ShipmentRequests(place_of(settings.base_log_folder)) if settings.remote_logging else None


def place_detail(settings: Logging) -> dict[str, str]:
    """What a supervisor's row tells of the log folder it writes to, where logs are shipped."""
    return {PLACE: place_of(settings.base_log_folder)} if settings.remote_logging else {}


def _row(change: TaskChange, place: str, tx: Tx) -> dict[str, Any]:
    path = attempt_log_path(change.dag_id, change.run_id, change.task_id, change.try_number, change.map_index)
    lost = change.outcome is not None and change.outcome.cause == Cause.LOST
    return {
        "place": place,
        "path": str(path),
        "lost": lost,
        "created_at": tx.now,
        "due_at": tx.now,
        "attempts": 0,
    }


def any_due(connection: Connection, place: str) -> bool:
    """Whether something of `place` waits to be tried now: a look that locks nothing."""
    now = database_now(connection)
    statement = select(_SHIPMENT.c.id).where(_SHIPMENT.c.place == place, _SHIPMENT.c.due_at <= now)
    return connection.execute(statement.limit(1)).first() is not None


def lease(tx: Tx, place: str, holder: str, limit: int, lease_for: timedelta) -> tuple[str, Sequence[Shipment]]:
    """Take up to `limit` due shipments, those that are due for longest first; returns their token and them.

    1. Lock due rows, skipping what another shipper is just taking.
    2. Give them holder and token, and make them due when the lease ends: who dies holding them is overtaken then.
    """
    statement = (
        select(_SHIPMENT)
        .where(_SHIPMENT.c.place == place, _SHIPMENT.c.due_at <= tx.now)
        .order_by(_SHIPMENT.c.due_at)
        .limit(limit)
    )
    if tx.dialect.locks_rows:
        statement = statement.with_for_update(skip_locked=True)
    rows = tx.connection.execute(statement).all()
    token = str(uuid.uuid4())
    if rows:
        taken = update(_SHIPMENT).where(_SHIPMENT.c.id.in_([row.id for row in rows]))
        tx.connection.execute(taken.values(holder=holder, token=token, due_at=tx.now + lease_for))
    return token, [Shipment(row.id, row.path, row.lost, row.attempts, tx.now - row.created_at) for row in rows]


def renew(tx: Tx, holder: str, lease_for: timedelta) -> None:
    """Make all leases of `holder` last from now on: a long log takes longer than a lease."""
    statement = update(_SHIPMENT).where(_SHIPMENT.c.holder == holder)
    tx.connection.execute(statement.values(due_at=tx.now + lease_for))


def confirm(tx: Tx, token: str, ids: Collection[int]) -> int:
    """Forget shipments whose logs have arrived; returns how many were still ours."""
    if not ids:
        return 0
    statement = delete(_SHIPMENT).where(_SHIPMENT.c.id.in_(sorted(ids)), _SHIPMENT.c.token == token)
    return tx.connection.execute(statement).rowcount


def postpone(tx: Tx, token: str, setbacks: Iterable[Setback]) -> None:
    """Note why shipments failed; they are due again after their wait."""
    for setback in setbacks:
        statement = update(_SHIPMENT).where(_SHIPMENT.c.id == setback.shipment_id, _SHIPMENT.c.token == token)
        values = {
            "attempts": _SHIPMENT.c.attempts + 1,
            "reason": setback.reason,
            "error": setback.error,
            "due_at": tx.now + setback.wait,
            "holder": None,
            "token": None,
        }
        tx.connection.execute(statement.values(values))


def release(tx: Tx, token: str) -> None:
    """Give back what is still leased under `token`: it was not tried, and is due at once."""
    statement = update(_SHIPMENT).where(_SHIPMENT.c.token == token)
    tx.connection.execute(statement.values(holder=None, token=None, due_at=tx.now))


def take_over(tx: Tx, holders: Collection[str]) -> None:
    """End the leases of holders that are dead."""
    if holders:
        statement = update(_SHIPMENT).where(_SHIPMENT.c.holder.in_(sorted(holders)))
        tx.connection.execute(statement.values(holder=None, token=None, due_at=tx.now))
