"""Falling back: who is told instead where a receiver cannot be.

1. Whoever buries a delivery notes that it falls back, in the transaction of the death: :func:`note`. So the death is
   written whatever the fallback raises, and a process that is killed in between loses nothing.
2. In the next one the deliveries of the fallback receiver are written: see ``follow_ups``, which does what was noted.
3. Whoever finds a channel down for too long does so at once for what waits: :func:`waiting`. Both are guarded by the
   delivery's ``fell_back_at``.
4. What raises is put off, and passed over until it is due again: see ``putting_off``.

What is told as a fallback does not fall back again. Of an event that this version cannot read, nobody is told instead.
Its row has a ``fell_back_at`` and no ``fell_back_to``: nobody looks at it again until it dies anew, or is replayed by a
version that can read it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, bindparam, exists, or_, select, update

from alerting import addressees, heard, outbox
from alerting.cleaning import shorten
from alerting.database import batches, insert_new
from alerting.events import AlertEvent, decode
from alerting.heard import Hearing
from alerting.outbox import DeliveryState
from alerting.routes import Origin, Plan
from alerting.routing import Receiver
from alerting.spans import span
from alerting.tables import alert_delivery, alert_event, alert_follow_up
from alerting.telling import Telling, Told, ToWhom, all_ways, drafts_of, tell

AT_ONCE: Final = 50  # messages that fall back in one transaction
REASON_LIMIT: Final = 200
ANSWER_LIMIT: Final = 140  # of a channel, within a reason
_d, _e, _f = alert_delivery.c, alert_event.c, alert_follow_up.c
_NO_FALLBACK: Final = or_(_d.origin.is_(None), _d.origin != Origin.FALLBACK.value)


def note(connection: Connection, now: datetime, plan: Plan, delivery_ids: Sequence[int]) -> list[int]:
    """These are dead: those that may fall back are to do so now. Returns the ids of these steps.

    The step of one that fell back in vain, and was put off, is there. It is due now, and locked: whoever took it while
    the death is not to be seen yet would drop it.
    """
    receivers = () if plan.routing is None else plan.routing.receivers.values()
    falling = sorted(receiver.name for receiver in receivers if receiver.fallback is not None)
    if not falling or not delivery_ids:
        return []
    query = select(_d.id).where(_d.id.in_(delivery_ids), _d.receiver.in_(falling), *_may_fall_back())
    ids = connection.execute(query.order_by(_d.id)).scalars().all()
    if not ids:
        return []
    steps = (_f.delivery_id.in_(ids), _f.origin == Origin.FALLBACK.value)
    connection.execute(update(alert_follow_up).where(*steps).values(due_at=now))
    rows = [{"delivery_id": key, "origin": Origin.FALLBACK.value, "due_at": now} for key in ids]
    connection.execute(insert_new(connection, alert_follow_up, "delivery_id", "origin").values(rows))
    return list(connection.execute(select(_f.id).where(*steps).order_by(_f.id)).scalars())


def waiting(
    connection: Connection, receivers: Collection[str], *also: ColumnElement[bool], only: int | None = None
) -> Sequence[int]:
    """The ids of what waits to be sent to these receivers and may fall back, AT_ONCE at most; locks them."""
    may = (_d.receiver.in_(receivers), _d.fell_back_at.is_(None), _NO_FALLBACK)
    chosen = (_d.state == DeliveryState.PENDING.value, *may, *also)
    put_off = exists().where(_f.delivery_id == _d.id, _f.origin == Origin.FALLBACK.value)
    query = select(_d.id).where(*chosen, ~put_off).order_by(_d.id).limit(AT_ONCE)
    if only is not None:
        query = query.where(_d.id == only)
    return connection.execute(query.with_for_update(skip_locked=True)).scalars().all() if receivers else []


def _may_fall_back() -> tuple[ColumnElement[bool], ...]:
    """Of deliveries whose fallback has not been told yet, and that are no fallback themselves."""
    return (or_(_d.fell_back_at.is_(None), _d.fell_back_to.is_(None)), _NO_FALLBACK)


@dataclass(frozen=True)
class _Member:
    """A row of a message, and its event where this version can read it."""

    delivery_id: int
    event_id: int
    event: AlertEvent | None


@dataclass(frozen=True)
class _Fallback:
    """A delivery that falls back, to whom, and what can be read of its message."""

    delivery: Row[Any]
    to: Receiver
    to_whom: ToWhom
    members: Sequence[_Member]

    @property
    def telling(self) -> Telling:
        events = [(member.event_id, member.event) for member in self.members if member.event is not None]
        return Telling(self.to, events, self.to_whom)


def fall_back(
    connection: Connection, now: datetime, plan: Plan, delivery_ids: Sequence[int], why: str | None = None
) -> Told:
    """Tells the fallback receivers of these deliveries, each once; ``why`` is what the message says of the reason.

    Without it, the reason is the delivery's own error. An id stands for the whole message that it carries. Where a
    fallback has a delivery of the event already, it gets no other, and the row says which one it is.
    """
    may = (_d.receiver.is_not(None), *_may_fall_back())
    query = select(alert_delivery).where(_d.id.in_(delivery_ids), *may).order_by(_d.id).with_for_update()
    found: list[tuple[Any, Receiver, ToWhom]] = []
    for delivery in connection.execute(query).all():
        receiver = plan.receiver(delivery.receiver)
        to = None if receiver is None or receiver.fallback is None else plan.receiver(receiver.fallback.to)
        if receiver is None or to is None:
            continue
        reason = shorten(why or delivery.error or "", REASON_LIMIT)
        note = f"Meant for {_whom(delivery, receiver)}, which could not be told through {delivery.channel}: {reason}"
        found.append((delivery, to, all_ways(plan, to, Origin.FALLBACK, note)))
    members = _fallen_back(connection, now, [(delivery, to) for delivery, to, _ in found])
    steps = [_Fallback(delivery, to, to_whom, members[delivery.id]) for delivery, to, to_whom in found]
    told = tell(connection, now, plan, [step.telling for step in steps])
    _note_what_was_heard(connection, now, steps)
    return told


def _whom(delivery: Row[Any], receiver: Receiver) -> str:
    """Others of the receiver may have been told, where only these addresses refuse."""
    if delivery.held_by != outbox.ADDRESSEE:
        return receiver.name
    return f"{', '.join(addressees.known(delivery.address))} of {receiver.name}"


def _fallen_back(
    connection: Connection, now: datetime, found: Sequence[tuple[Any, Receiver]]
) -> dict[int, Sequence[_Member]]:
    """Marks the messages that these deliveries belong to; returns what can be read of each, by the delivery's id."""
    if not found:
        return {}
    query = select(_d.id.label("delivery_id"), _d.wave, _e.id, _e.payload).join(alert_event, _e.id == _d.event_id)
    messages: dict[int, list[_Member]] = {}
    of_messages = _of_messages([delivery for delivery, _ in found])
    for row in connection.execute(query.where(of_messages).order_by(_e.id)).all():
        member = _Member(row.delivery_id, row.id, decode(row.payload))
        messages.setdefault(row.delivery_id if row.wave is None else row.wave, []).append(member)
    named: dict[str | None, list[int]] = {}
    members: dict[int, Sequence[_Member]] = {}
    for delivery, to in found:
        message = messages[delivery.id if delivery.wave is None else delivery.wave]
        members[delivery.id] = [member for member in message if member.event is not None]
        for member in message:
            named.setdefault(None if member.event is None else to.name, []).append(member.delivery_id)
    for name, ids in named.items():
        for part in batches(ids):
            fallen = update(alert_delivery).where(_d.id.in_(part))
            connection.execute(fallen.values(fell_back_at=now, fell_back_to=name))
    return members


def _of_messages(deliveries: Sequence[Any]) -> ColumnElement[bool]:
    """The rows of the messages that these deliveries belong to."""
    alone = [delivery.id for delivery in deliveries if delivery.wave is None]
    return or_(_d.id.in_(alone), _d.wave.in_({delivery.wave for delivery in deliveries} - {None}))


def _note_what_was_heard(connection: Connection, now: datetime, steps: Sequence[_Fallback]) -> None:
    """Keeps with each row for which deliveries its fallback was not told once more."""
    wanted: dict[Hearing, list[tuple[int, str | None]]] = {}
    for step in steps:
        row_ids = {member.event_id: member.delivery_id for member in step.members}
        for draft in drafts_of(step.telling):
            for hearing in heard.hearings_of(draft.event_id, draft.target):
                wanted.setdefault(hearing, []).append((row_ids[draft.event_id], draft.target.note))
    known: dict[int, dict[int, None]] = {}
    for row in heard.rows_of(connection, sorted({hearing.event_id for hearing in wanted})):
        for row_id, note in (asked for hearing in heard.hearings_of_row(row) for asked in wanted.get(hearing, ())):
            if not (row.created_at == now and row.note == note):  # else it was written for this row
                known.setdefault(row_id, {})[row.id] = None
    if known:
        values = [{"row": row_id, "ids": msgspec.json.encode(list(ids)).decode()} for row_id, ids in known.items()]
        noted = update(alert_delivery).where(_d.id == bindparam("row")).values(heard_before=bindparam("ids"))
        connection.execute(noted, values)


def stranded(
    connection: Connection,
    plan: Plan,
    channel: str,
    down_for: timedelta,
    known_until: datetime,
    answer: str = "",
    *,
    only: int | None = None,
) -> dict[int, str]:
    """What waits for a channel that has been down for so long, or ``only`` this one, with what its fallback is told.

    ``answer`` is why it did not take the last one. ``known_until`` is when it might be tried again: whether it still
    was down when a later message came, nobody knows before that one, or another, was tried. The deliveries stay
    pending: when the channel is back, they are told there too.
    """
    reason = f" ({shorten(answer, ANSWER_LIMIT)})" if answer else ""
    why = f"it has taken nothing for {span(down_for)}{reason}; it is tried on"
    is_known = or_(_d.attempts > 0, _d.due_at <= known_until)
    ids = waiting(connection, _impatient(plan, down_for), _d.channel == channel, is_known, only=only)
    return dict.fromkeys(ids, why)


def fall_back_all(connection: Connection, now: datetime, plan: Plan, reasons: Mapping[int, str]) -> Told | None:
    """Tells the fallback receivers of these deliveries, each with its reason; None where there are none."""
    told = [
        fall_back(connection, now, plan, [key for key, each in reasons.items() if each == why], why)
        for why in dict.fromkeys(reasons.values())
    ]
    return sum(told, Told()) if told else None


def _impatient(plan: Plan, down_for: timedelta) -> list[str]:
    receivers = {} if plan.routing is None else plan.routing.receivers
    return sorted(
        name for name, receiver in receivers.items() if receiver.fallback and receiver.fallback.after <= down_for
    )
