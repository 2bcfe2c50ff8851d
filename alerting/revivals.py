"""Who was held back is told after all: the row that says why they were not becomes the message.

A silence, a mute window or an open trouble that explains it keeps an alert from somebody for a time. Whoever is the
fallback of another receiver, or comes after it, is to be told then all the same: they have heard nothing. Their row has
the unique key that the new message would have, so it is changed, and keeps its number.

Where they have heard by way of another receiver meanwhile, their row says so from then on, and stands for the message
that is left out: see ``heard``.

What is suppressed for another reason stays so: its receiver does not want it, was told the same by another way, or
cannot be told by this one. So does a repetition, which a silence only delays. And what is dead stays dead: that way was
tried, and its own fallback told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, select, update

from alerting.database import batches
from alerting.outbox import DeliveryState
from alerting.routes import SuppressedBy
from alerting.tables import alert_delivery

_d: Final = alert_delivery.c
_FOR_NOW: Final = tuple(why.value for why in (SuppressedBy.SILENCE, SuppressedBy.MUTE_WINDOW, SuppressedBy.INHIBITED))


def is_untold(row: Any) -> bool:
    """Whether this delivery leaves its receiver to be told by another message."""
    held_back = row.held_by is None or row.held_by in _FOR_NOW  # it is NULL in rows of an older release
    return row.state == DeliveryState.SUPPRESSED and row.turn == 0 and held_back


def revive(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Makes messages of these deliveries, as add() returned them, where a row that told nobody was in its way."""
    _take_over(connection, [row for row in rows if row["state"] != DeliveryState.SUPPRESSED])


def note_heard(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """The same of those whose receivers have heard by way of another one: the row that told nobody says that now."""
    _take_over(connection, [row for row in rows if row["held_by"] == SuppressedBy.HEARD])


def _take_over(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    told = {(row["event_id"], row["channel"], row["target"]): row for row in rows}
    columns = (_d.id, _d.event_id, _d.channel, _d.target, _d.state, _d.turn, _d.held_by)
    suppressed = _d.state == DeliveryState.SUPPRESSED.value
    for part in batches(sorted({event_id for event_id, _, _ in told})):
        query = select(*columns).where(_d.event_id.in_(part), suppressed).order_by(_d.id)
        for held in connection.execute(query).all():
            values = told.get((held.event_id, held.channel, held.target))
            if values is not None and is_untold(held):
                connection.execute(update(alert_delivery).where(_d.id == held.id, suppressed).values(**values))
