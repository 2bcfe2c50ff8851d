"""The rows that are written for somebody who is to be told, and the states they pass through."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, select

from alerting import groups
from alerting.cleaning import storable
from alerting.database import batches, insert_new
from alerting.groups import Draft
from alerting.routes import Target
from alerting.tables import alert_delivery

_d: Final = alert_delivery.c


class DeliveryState(StrEnum):
    """State of one delivery."""

    PENDING = "pending"  # waits until due_at; lease() next
    SENDING = "sending"  # a deliverer holds its token; confirm(), retry(), release() or bury() next, or lease() again
    DELIVERED = "delivered"  # the receiver accepted it
    DEAD = "dead"  # given up, with its reason; replay() makes it pending again
    SUPPRESSED = "suppressed"  # nobody is told, with its reason
    WAITING = "waiting"  # for the wave of its group; groups.flush() next. Or for the row that carries its wave


OPEN: Final = (DeliveryState.PENDING, DeliveryState.SENDING)
# held_by of a delivery that its channel would take and its addresses alone refuse: nothing is wrong with the channel.
ADDRESSEE: Final = "addressee"
IN_VAIN: Final = 3  # tries that were not taken: then it is not the rate any more that a message waits for


def add(
    connection: Connection, now: datetime, drafts: Sequence[Draft], give_up_after: timedelta
) -> list[dict[str, Any]]:
    """Writes deliveries, and passes over what is there already; returns the rows."""
    ids = groups.open_groups(connection, now, [draft.target.group for draft in drafts if draft.target.group])
    rows = [_delivery_row(draft, now, give_up_after, ids) for draft in drafts]
    statement = insert_new(connection, alert_delivery, "event_id", "channel", "target")
    for part in batches(rows):
        connection.execute(statement.values(part))
    groups.join_runs(connection, drafts, ids)
    return rows


def _delivery_row(draft: Draft, now: datetime, give_up_after: timedelta, ids: dict[str, int]) -> dict[str, Any]:
    target = draft.target
    group_id = None if target.group is None else ids[target.group.key]
    if target.held is not None:
        row = row_of(target, DeliveryState.SUPPRESSED, None, target.held.reason)
        row["held_by"] = target.held.by.value
    elif group_id is not None:
        row = row_of(target, DeliveryState.WAITING, None, None)
    else:
        row = row_of(target, DeliveryState.PENDING, now, None)
    age = {"created_at": now, "waiting_since": row["due_at"], "give_up_at": now + give_up_after}
    common = {"event_id": draft.event_id, "attempts": 0, **age}
    note = None if target.note is None else storable(target.note)
    why = {"receiver": target.receiver, "origin": target.origin and target.origin.value, "note": note}
    return common | row | why | {"group_id": group_id}


def row_of(target: Target, state: DeliveryState, due_at: datetime | None, error: str | None) -> dict[str, Any]:
    return {
        "channel": target.channel,
        "target": target.digest,
        "address": target.address,
        "state": state.value,
        "due_at": due_at,
        "error": None if error is None else storable(error),
        "held_by": None,
        "turn": target.turn,
    }


def unite(
    connection: Connection, channel: str, target: str, event_ids: Sequence[int], state: DeliveryState
) -> int | None:
    """Makes one message of the deliveries of these events to one address; returns the id of the row that carries it.

    None where none of them is in this state.
    """
    chosen = (_d.channel == channel, _d.target == target, _d.event_id.in_(event_ids), _d.state == state.value)
    ids = connection.execute(select(_d.id).where(*chosen).order_by(_d.id)).scalars().all()
    groups.form_wave(connection, ids)
    return ids[0] if ids else None
