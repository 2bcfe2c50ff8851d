"""When an escalation is due, whether or not its first receiver could be told.

1. The clock starts when a message is to be sent: :func:`start`, in the transaction that makes it due. So what waits for
   a channel that is away escalates too: nobody acknowledges what nobody got. It runs for FIRST_TRY longer than the file
   says, so that nobody is told of what is only just being sent.
2. It starts again when the message is delivered: :func:`restart`. Who was reached late has all the time to answer.
3. Who has heard of it by way of another receiver is not told once more, and has a clock: :func:`start_for_heard`.
4. A message that dies needs no such patience: :func:`start_for_dead`. It may be older than the file that now says with
   whom to go on, and has a clock all the same.

What was escalated is not escalated again: whoever was told has a delivery of the event, and gets no other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, or_, select, update

from alerting.cleaning import shorten
from alerting.database import batches, insert_new
from alerting.events import AlertEvent
from alerting.kinds import KINDS
from alerting.outbox import DeliveryState, Lease
from alerting.routes import Origin, Plan
from alerting.routing import Receiver
from alerting.spans import rough_span
from alerting.tables import alert_delivery, alert_event, alert_follow_up

REASON_LIMIT: Final = 200
FIRST_TRY: Final = timedelta(minutes=1)
TROUBLES: Final = tuple(sorted(kind.value for kind, known in KINDS.items() if known.trouble))
_d, _e, _f = alert_delivery.c, alert_event.c, alert_follow_up.c


def start(connection: Connection, now: datetime, plan: Plan, channels: Collection[str]) -> int:
    """The clocks of what has become due for these channels in this transaction; returns how many there are."""
    after = _patience(plan)
    if not after or not channels:
        return 0
    query = (
        select(_d.id, _d.receiver)
        .join(alert_event, _e.id == _d.event_id)
        .where(
            _d.channel.in_(sorted(set(channels))),
            _d.due_at == now,
            _d.state == DeliveryState.PENDING.value,
            _d.receiver.in_(sorted(after)),
            _d.turn == 0,
            or_(_e.kind.in_(TROUBLES), _d.wave.is_not(None)),  # what a wave tells of is looked at when it is due
        )
        .order_by(_d.id)
    )
    due = [(row.id, now + after[row.receiver] + FIRST_TRY) for row in connection.execute(query)]
    for batch in batches(due):
        _note(connection, batch)
    return len(due)


def restart(connection: Connection, now: datetime, lease: Lease, receiver: Receiver | None) -> bool:
    """It was delivered now; whether it has a clock."""
    if receiver is None or receiver.escalate is None or not _is_trouble(lease):
        return False
    due_at = now + receiver.escalate.after
    known = (_f.delivery_id == lease.id, _f.origin == Origin.ESCALATION.value)
    if not connection.execute(update(alert_follow_up).where(*known).values(due_at=due_at, error=None)).rowcount:
        _note(connection, [(lease.id, due_at)])
    return True


def start_for_dead(connection: Connection, now: datetime, lease: Lease, receiver: Receiver | None) -> bool:
    """It died now; whether it has a clock, which runs on where it ends earlier."""
    if receiver is None or receiver.escalate is None or not _is_trouble(lease):
        return False
    due_at = now + receiver.escalate.after
    later = (_f.delivery_id == lease.id, _f.origin == Origin.ESCALATION.value, _f.due_at > due_at)
    connection.execute(update(alert_follow_up).where(*later).values(due_at=due_at))
    _note(connection, [(lease.id, due_at)])
    return True


def start_for_heard(connection: Connection, now: datetime, plan: Plan, delivery_id: int) -> None:
    """Its receiver is not told of it now, since others have told the same people: the clock of this one starts."""
    name = connection.execute(select(_d.receiver).where(_d.id == delivery_id)).scalar_one()
    _note(connection, [(delivery_id, now + _patience(plan)[name])])


def reason(delivery: Row[Any], receiver: Receiver, now: datetime) -> str:
    """Why it goes on to somebody else, in words; ``delivery`` is the one by which the receiver heard of it, if at all.

    That may be another receiver's.
    """
    error = shorten(delivery.error or "", REASON_LIMIT)
    match delivery.state:
        case DeliveryState.DELIVERED if delivery.receiver != receiver.name:
            return f"{receiver.name} has heard of it by way of {delivery.receiver}"
        case DeliveryState.DELIVERED:
            return f"{receiver.name} was told {rough_span(now - delivery.delivered_at)} ago"
        case DeliveryState.DEAD:
            return f"{receiver.name} could not be told through {delivery.channel} ({error})"
        case _:
            for_so_long, waits = rough_span(now - _waiting_since(delivery)), _waits(delivery, now, error)
            return f"{receiver.name} could not be told through {delivery.channel} for {for_so_long} ({waits})"


def _waits(delivery: Row[Any], now: datetime, error: str) -> str:
    if _is_excused(delivery) and delivery.waiting_since > now:  # until then the channel has had enough
        waits = f"it waits for the rate of {delivery.channel}"
        return f"{error}; {waits}" if error else waits
    return f"{error}; it is tried on" if error else "it waits for that channel"


def _waiting_since(delivery: Row[Any]) -> datetime:
    """Since when there has been something to send: what the rate of a channel excuses counts here as well."""
    since: datetime | None = delivery.waiting_since
    if _is_excused(delivery):
        since = None if delivery.attempts else delivery.due_at
    return since or delivery.created_at


def _is_excused(delivery: Row[Any]) -> bool:
    """Its age counts from when the channel could be used again, which is after it was due: see ``patience.excuse``.

    The rate may hold nothing any more since.
    """
    is_pending = delivery.state == DeliveryState.PENDING.value and delivery.waiting_since is not None
    return is_pending and bool(delivery.waiting_since > delivery.due_at)


def _patience(plan: Plan) -> dict[str, timedelta]:
    """The receivers that escalate, and after how long."""
    receivers = {} if plan.routing is None else plan.routing.receivers
    return {name: receiver.escalate.after for name, receiver in receivers.items() if receiver.escalate is not None}


def _is_trouble(lease: Lease) -> bool:
    """A repetition does not escalate: the first message did."""
    events: Iterable[AlertEvent | None] = (lease.event, *lease.others)
    return not lease.turn and any(event is not None and KINDS[event.kind].trouble for event in events)


def _note(connection: Connection, due: Collection[tuple[int, datetime]]) -> None:
    rows = [{"delivery_id": key, "origin": Origin.ESCALATION.value, "due_at": due_at} for key, due_at in due]
    connection.execute(insert_new(connection, alert_follow_up, "delivery_id", "origin").values(rows))
