"""Events that are about to be deleted: a message that tells of others too goes on without them.

A wave is carried by one of its rows. Deleting an event deletes its deliveries, and with the row that carries a wave
would go all that the others rest on: those that wait would wait for ever, and nobody would be told again or told after
somebody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select, update

from alerting import groups
from alerting.database import batches
from alerting.outbox import DeliveryState
from alerting.tables import alert_delivery, alert_event, alert_follow_up

_d, _e, _f = alert_delivery.c, alert_event.c, alert_follow_up.c
_OPEN: Final = (DeliveryState.PENDING, DeliveryState.SENDING)


def hand_over(connection: Connection, now: datetime, event_ids: Sequence[int]) -> bool:
    """What the deliveries of these events carry goes on with others; then the events may be deleted.

    False, with nothing changed, while a message is being sent that tells of other events as well: its outcome could not
    be written any more. It has one when its lease ends, at the latest.

    1. Lock the events, so that nobody writes a delivery of theirs, and then the deliveries, so that no wave is formed.
    2. Find the waves that they carry, and of each the rows that stay and share its fate.
    3. The first of those carries it, with its follow-ups; where it is not sent yet, with its attempts and its moment.
    """
    leaving = _locked(connection, event_ids)
    carriers = [row for row in leaving if row.wave == row.id]
    waves = [(carrier, left) for carrier in carriers if (left := _staying(connection, carrier, set(event_ids)))]
    if any(carrier.state == DeliveryState.SENDING and carrier.due_at > now for carrier, _ in waves):
        return False
    for carrier, left in waves:
        _go_on(connection, carrier, left)
    return True


def _locked(connection: Connection, event_ids: Sequence[int]) -> list[Any]:
    found: list[Any] = []
    for part in batches(sorted(event_ids)):
        connection.execute(select(_e.id).where(_e.id.in_(part)).order_by(_e.id).with_for_update()).all()
        columns = (_d.id, _d.wave, _d.state, _d.due_at, _d.attempts, _d.error, _d.held_by)
        query = select(*columns).where(_d.event_id.in_(part)).order_by(_d.id).with_for_update()
        found += connection.execute(query).all()
    return found


def _staying(connection: Connection, carrier: Any, leaving: set[int]) -> list[int]:
    """The other rows of a wave: those that wait for its outcome, or have the same."""
    fate = DeliveryState.WAITING if carrier.state in _OPEN else DeliveryState(carrier.state)
    query = select(_d.id, _d.event_id).where(_d.wave == carrier.wave, _d.state == fate.value).order_by(_d.id)
    rows = connection.execute(query.with_for_update()).all()
    return [row.id for row in rows if row.event_id not in leaving]


def _go_on(connection: Connection, carrier: Any, left: Sequence[int]) -> None:
    if carrier.state in _OPEN:
        groups.carry_on(connection, carrier.due_at, left)
        tried = {"attempts": carrier.attempts, "error": carrier.error, "held_by": carrier.held_by}
        connection.execute(update(alert_delivery).where(_d.id == left[0]).values(tried))
    else:
        for part in batches(left):
            connection.execute(update(alert_delivery).where(_d.id.in_(part)).values(wave=None))
        groups.form_wave(connection, left)
    has = connection.execute(select(_f.origin).where(_f.delivery_id == left[0])).scalars().all()
    moved = update(alert_follow_up).where(_f.delivery_id == carrier.id, _f.origin.not_in(has))
    connection.execute(moved.values(delivery_id=left[0]))
