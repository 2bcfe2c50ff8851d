"""What follows a message: escalation and repetition of what nobody acknowledges, and the fallback of what is dead.

A message that is confirmed or dead leaves rows in ``alert_follow_up``, in the same transaction, where its receiver asks
for them; the one of an escalation is there from the moment at which the message was to be sent: see ``escalations``.
When one is due, any deliverer takes it by deleting it, in the transaction that writes the new deliveries, so a
death at any moment loses nothing and does nothing twice. What is acknowledged or over by then is left out, and what is
silenced gets a row that says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, or_, select

from alerting import escalations, fallbacks, heard, numbers, repetitions
from alerting.errors import Unreadable
from alerting.events import AlertEvent
from alerting.kinds import WITH_END, EventKind
from alerting.outbox import DeliveryState, Lease
from alerting.routes import Origin, Plan
from alerting.routing import Receiver
from alerting.tables import alert_ack, alert_delivery, alert_event, alert_follow_up
from alerting.telling import Events, Telling, Told, all_ways, decoded, note_repetition, tell

MOST_AT_ONCE: Final = 50  # follow-ups in one transaction
KEPT_FOR: Final = timedelta(days=1)  # what is due and no file asks for
_KNOWN: Final = sorted(kind.value for kind in EventKind)
_a, _d, _e, _f = alert_ack.c, alert_delivery.c, alert_event.c, alert_follow_up.c


def schedule(connection: Connection, now: datetime, lease: Lease, plan: Plan) -> int:
    """Notes what follows a message that was delivered now; returns how many steps. In the transaction of confirm()."""
    receiver = plan.receiver(lease.receiver)
    return escalations.restart(connection, now, lease, receiver) + _repeat(connection, now, lease, receiver, lease.id)


def schedule_for_dead(connection: Connection, now: datetime, lease: Lease, plan: Plan) -> int:
    """Notes what follows a message that died now, as if it were delivered; returns how many steps. With bury()."""
    receiver = plan.receiver(lease.receiver)
    clock = escalations.start_for_dead(connection, now, lease, receiver)
    return clock + _repeat(connection, now, lease, receiver, lease.id)


def schedule_for_refused(connection: Connection, now: datetime, lease: Lease, plan: Plan) -> list[int]:
    """For mail addresses that refused a message for good while others took it: their rows are dead already.

    The fallback is to be told instead of them, now: the ids of these steps are returned. What is told again to those
    who have it is told again to them.
    """
    receiver = plan.receiver(lease.receiver)
    if receiver is None:
        return []
    event_id = select(_d.event_id).where(_d.id == lease.id).scalar_subquery()
    chosen = (_d.event_id == event_id, _d.channel == lease.channel, _d.state == DeliveryState.DEAD.value)
    same = (_d.receiver == lease.receiver, _d.turn == lease.turn)
    carriers = or_(_d.wave.is_(None), _d.wave == _d.id)
    ids = connection.execute(select(_d.id).where(*chosen, *same, carriers)).scalars().all()
    for delivery_id in ids:
        _repeat(connection, now, lease, receiver, delivery_id)
    return fallbacks.note(connection, now, plan, ids)


def _repeat(connection: Connection, now: datetime, lease: Lease, receiver: Receiver | None, delivery_id: int) -> bool:
    kinds = {event.kind for event in (lease.event, *lease.others) if event is not None}
    if receiver is None or receiver.repeat_interval is None or not kinds & WITH_END:
        return False
    note_repetition(connection, delivery_id, now + receiver.repeat_interval)
    return True


def next_due(connection: Connection, plan: Plan) -> datetime | None:
    """When the next follow-up is due that this plan asks for."""
    query = select(_f.due_at).where(_asked_for(plan)).order_by(_f.due_at).limit(1)
    due: datetime | None = connection.execute(query).scalar()
    return due


def _asked_for(plan: Plan) -> ColumnElement[bool]:
    """The steps of receivers that escalate, repeat or have a fallback by this file.

    A deliverer may have an older file than others, or a newer one, and take nothing from those who know what to do.
    """
    receivers = () if plan.routing is None else plan.routing.receivers.values()
    told = select(_d.receiver).where(_d.id == _f.delivery_id).scalar_subquery()
    escalating = sorted(receiver.name for receiver in receivers if receiver.escalate is not None)
    repeating = sorted(receiver.name for receiver in receivers if receiver.repeat_interval is not None)
    falling = sorted(receiver.name for receiver in receivers if receiver.fallback is not None)
    return or_(
        and_(_f.origin == Origin.FALLBACK.value, told.in_(falling)),
        and_(_f.origin == Origin.ESCALATION.value, told.in_(escalating)),
        and_(_f.origin == Origin.REPEAT.value, told.in_(repeating)),
    )


def due(connection: Connection, now: datetime, plan: Plan) -> list[int]:
    """The ids of what follow_up() would take. Nothing is locked."""
    query = select(_f.id).where(*_due(now, plan)).order_by(_f.due_at, _f.id).limit(MOST_AT_ONCE)
    return list(connection.execute(query).scalars())


def _due(now: datetime, plan: Plan) -> tuple[ColumnElement[bool], ...]:
    return (_f.due_at <= now, or_(_asked_for(plan), _f.due_at <= now - KEPT_FOR))


def follow_up(connection: Connection, now: datetime, plan: Plan, only: int | None = None) -> Told | None:
    """Does what is due, or ``only`` this one; None where nothing is.

    1. Lock follow-ups that are due, longest first, where this plan asks for them or nobody took them for KEPT_FOR;
       those that another deliverer has locked are passed over.
    2. Delete them: the claim is theirs who commits.
    3. For each, lock the events of its message, so that the end of one is routed either before or after this.
    4. Leave out what is acknowledged or over, and tell the rest as one message. What is dead falls back whatever it
       tells of; what waits to be sent, and was put off, is looked at by whoever finds its channel down.

    Raises Unreadable where there is something to tell and this version can read none of it.
    """
    query = select(_f.id, _f.delivery_id, _f.origin).where(*_due(now, plan)).order_by(_f.due_at, _f.id)
    if only is not None:
        query = query.where(_f.id == only)
    taken = connection.execute(query.limit(MOST_AT_ONCE).with_for_update(skip_locked=True)).all()
    if not taken:
        return None
    connection.execute(delete(alert_follow_up).where(_f.id.in_([row.id for row in taken])))
    tellings: list[Telling | None] = []
    dead: list[int] = []
    for row in taken:
        delivery = connection.execute(select(alert_delivery).where(_d.id == row.delivery_id)).one()
        receiver = plan.receiver(delivery.receiver)
        if receiver is None:
            continue  # the file changed, and nobody says any more what is to follow
        if row.origin == Origin.FALLBACK:
            dead += [delivery.id] if delivery.state == DeliveryState.DEAD else []
            continue
        step = _escalation if row.origin == Origin.ESCALATION else _repetition
        tellings.append(step(connection, now, plan, delivery, receiver))
    told = tell(connection, now, plan, [telling for telling in tellings if telling is not None])
    return told + fallbacks.fall_back(connection, now, plan, dead)


def _escalation(
    connection: Connection, now: datetime, plan: Plan, delivery: Row[Any], receiver: Receiver
) -> Telling | None:
    to = None if receiver.escalate is None else plan.receiver(receiver.escalate.to)
    if receiver.escalate is None or to is None:
        return None
    events = _open(connection, delivery, escalations.TROUBLES)
    why = escalations.reason(heard.teller(connection, delivery), receiver, now)
    note = f"{why}, and nobody has acknowledged it: windsock alerts ack {_number(connection, delivery)}"
    return Telling(to, events, all_ways(plan, to, Origin.ESCALATION, note))


def _repetition(
    connection: Connection, _now: datetime, plan: Plan, delivery: Row[Any], receiver: Receiver
) -> Telling | None:
    if receiver.repeat_interval is None:
        return None
    events = _newest(connection, _open(connection, delivery, WITH_END))
    note = f"It lasts, and nobody has acknowledged it: windsock alerts ack {_number(connection, delivery)}"
    rows: dict[int, list[Row[Any]]] = {}
    for row in heard.rows_of(connection, [event_id for event_id, _ in events]):
        rows.setdefault(row.event_id, []).append(row)
    again = {
        event.dedup_key: repetitions.targets(event, delivery, receiver, plan, rows[event_id], note)
        for event_id, event in events
    }
    return Telling(receiver, events, lambda event: again[event.dedup_key], receiver.repeat_interval)


def _number(connection: Connection, delivery: Row[Any]) -> str:
    """What to acknowledge: the alert, or the line of it that stands for all alerts of one message."""
    if delivery.wave is None:
        return str(delivery.event_id)
    return str(numbers.of_delivery(connection, delivery.id))


def _open(connection: Connection, delivery: Row[Any], kinds: Iterable[str]) -> list[tuple[int, AlertEvent]]:
    """The events of a message that are of these kinds, and neither over nor acknowledged.

    Raises Unreadable where there are such, and this version can read none of them: another one may.
    """
    ids = _members(connection, delivery)
    connection.execute(select(_e.id).where(_e.id.in_(ids)).order_by(_e.id).with_for_update()).all()
    query = (
        select(_e.id, _e.payload)
        .outerjoin(alert_ack, _a.event_id == _e.id)
        .where(
            _e.id.in_(ids),
            or_(_e.kind.in_(sorted(kinds)), _e.kind.not_in(_KNOWN)),
            _e.ended_by.is_(None),
            _a.event_id.is_(None),
        )
        .order_by(_e.id)
    )
    rows = connection.execute(query).all()
    events = decoded(rows)
    if rows and not events:
        raise Unreadable("this version cannot read the event: upgrade")
    return events


def _members(connection: Connection, delivery: Row[Any]) -> Sequence[int]:
    if delivery.wave is None:
        return [delivery.event_id]
    return connection.execute(select(_d.event_id).where(_d.wave == delivery.wave).order_by(_d.id)).scalars().all()


def _newest(connection: Connection, events: Events) -> Events:
    """Of a trouble that came several times, only the latest is told again."""
    keys = {event.episode_key for _, event in events}
    query = select(func.max(_e.id)).where(
        _e.episode_key.in_(keys), _e.ended_by.is_(None), _e.kind.in_(sorted(WITH_END))
    )
    newest = set(connection.execute(query.group_by(_e.episode_key)).scalars()) if keys else set()
    return [(event_id, event) for event_id, event in events if event_id in newest]
