"""Setting aside: what cannot be routed, or not be read, must not hold up the others.

1. Where a batch raises what is no fault of the database's, or holds an event that this version cannot read, its events
   are routed one by one.
2. One that raises alone gets a dead row with its reason, for a channel that no file can name. So it is listed, counted
   and told as every alert is that was given up.
3. To replay it is to route it anew, by a file or a version that is mended by then.

A delivery that raises when it is leased, since it holds what this version does not understand, is dead in the same way.
To replay it is to try it again; a mail has the addresses by then that its receiver has in alerting.yml.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from alerting.addressees import ROUTING
from alerting.cleaning import storable
from alerting.database import batches, insert_new
from alerting.outbox.deliveries import DeliveryState, row_of
from alerting.routes import Target
from alerting.tables import alert_delivery, alert_event

_d, _e = alert_delivery.c, alert_event.c


def is_at_fault(error: Exception) -> bool:
    """Whether it is what was read or written that is wrong, and not the database that is away, busy or broken.

    Nor this machine, which has no memory left: the next try may be better off.
    """
    if isinstance(error.orig if isinstance(error, StatementError) else error, MemoryError):
        return False
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError) and not error.connection_invalidated
    return isinstance(error, StatementError) or not isinstance(error, SQLAlchemyError | OSError)


def place_of(error: Exception) -> str:
    """Its type, and where it was raised. What it says may hold anything, so that is not repeated."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parts[-2:-1]]
    own = [frame for frame in frames if {"alerting", "engine"} & set(Path(frame.filename).parts[-3:-1])] or frames
    where = f" in {Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""
    return f"{type(error).__name__}{where}"


def unrouted(connection: Connection, limit: int) -> list[int]:
    """The ids of events that nobody has routed, the oldest first. Nothing is locked."""
    query = select(_e.id).where(_e.routed_at.is_(None)).order_by(_e.id).limit(limit)
    return list(connection.execute(query).scalars())


def set_aside(connection: Connection, now: datetime, event_id: int, reason: str) -> bool:
    """A dead row instead of routing; False where somebody has routed the event meanwhile."""
    open_one = update(alert_event).where(_e.id == event_id, _e.routed_at.is_(None))
    if connection.execute(open_one.values(routed_at=now)).rowcount != 1:
        return False
    row = row_of(Target(ROUTING), DeliveryState.DEAD, None, reason)
    row |= {"event_id": event_id, "attempts": 0, "created_at": now, "give_up_at": now}
    connection.execute(insert_new(connection, alert_delivery, "event_id", "channel", "target").values([row]))
    return True


def set_aside_delivery(connection: Connection, now: datetime, delivery_id: int, reason: str) -> int:
    """A message that cannot be read is dead with its reason; returns for how many events, 0 where others have it.

    Nothing is read of the row, whatever it holds.
    """
    dead = {"state": DeliveryState.DEAD.value, "due_at": None, "token": None, "error": storable(reason)}
    still_due = (_d.id == delivery_id, _d.due_at <= now)
    count = connection.execute(update(alert_delivery).where(*still_due).values(dead)).rowcount
    if count:
        others = (_d.wave == delivery_id, _d.state == DeliveryState.WAITING.value)
        count += connection.execute(update(alert_delivery).where(*others).values(dead)).rowcount
    return count


def route_again(connection: Connection, ids: Sequence[int] | None = None) -> int:
    """Of these rows, or all, those that were set aside go, and their events are to be routed; returns how many."""
    aside = (_d.channel == ROUTING, _d.state == DeliveryState.DEAD.value)
    query = select(_d.id, _d.event_id).where(*aside).order_by(_d.id).with_for_update()
    queries = [query] if ids is None else [query.where(_d.id.in_(part)) for part in batches(ids)]
    found = [row for one in queries for row in connection.execute(one)]
    for part in batches(found):
        connection.execute(delete(alert_delivery).where(_d.id.in_([row.id for row in part]), *aside))
        events = update(alert_event).where(_e.id.in_([row.event_id for row in part]))
        connection.execute(events.values(routed_at=None))
    return len(found)
