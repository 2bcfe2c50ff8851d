"""What follows a message: escalation and repetition of what nobody acknowledges, and the fallback of what is not told.

A message that is confirmed or dead leaves rows in ``alert_follow_up``, in the same transaction, where its receiver asks
for them; the one of an escalation is there from the moment at which the message was to be sent: see ``escalations``.
When one is due, any deliverer takes it by deleting it, in the transaction that writes the new deliveries, so a
death at any moment loses nothing and does nothing twice. What is acknowledged or over by then is left out, and what is
silenced gets a row that says so.

A fallback needs no row of its own: whoever buries a delivery, or finds its channel down for too long, writes the
deliveries of the fallback receiver, guarded by the delivery's ``fell_back_at``. What is told as a fallback does not
fall back again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, func, or_, select, update

from alerting import (
    addressees,
    escalations,
    groups,
    heard,
    mailings,
    numbers,
    outbox,
    putting_off,
    repetitions,
    revivals,
    silences,
    throttle,
)
from alerting.cleaning import shorten
from alerting.database import batches, insert_new
from alerting.events import AlertEvent, decode
from alerting.groups import Draft
from alerting.heard import Hearing
from alerting.kinds import WITH_END
from alerting.outbox import DeliveryState, Lease
from alerting.routes import Origin, Plan, SuppressedBy, Target, ways
from alerting.routing import Receiver
from alerting.spans import span
from alerting.tables import alert_ack, alert_delivery, alert_event, alert_follow_up

MOST_AT_ONCE: Final = 50  # follow-ups, or messages that fall back, in one transaction
KEPT_FOR: Final = timedelta(days=1)  # what is due and no file asks for
REASON_LIMIT: Final = 200
ANSWER_LIMIT: Final = 140  # of a channel, within a reason
_a, _d, _e, _f = alert_ack.c, alert_delivery.c, alert_event.c, alert_follow_up.c

Events: TypeAlias = Sequence[tuple[int, AlertEvent]]
ToWhom: TypeAlias = Callable[[AlertEvent], tuple[Target, ...]]


@dataclass(frozen=True)
class Telling:
    """What a receiver is to be told in one message per channel and address."""

    receiver: Receiver
    events: Events
    to_whom: ToWhom
    again_after: timedelta | None = None  # of a repetition: what a silence holds back now is told after so long


@dataclass(frozen=True)
class Told:
    """What was written: the origin of each new message, the channels that have one now, and why some are not told."""

    origins: tuple[Origin, ...] = ()
    channels: tuple[str, ...] = ()
    suppressed: tuple[SuppressedBy, ...] = ()

    def __add__(self, other: Told) -> Told:
        return Told(self.origins + other.origins, self.channels + other.channels, self.suppressed + other.suppressed)


def schedule(connection: Connection, now: datetime, lease: Lease, plan: Plan) -> int:
    """Notes what follows a message that was delivered now; returns how many steps. In the transaction of confirm()."""
    receiver = plan.receiver(lease.receiver)
    return escalations.restart(connection, now, lease, receiver) + _repeat(connection, now, lease, receiver, lease.id)


def schedule_for_dead(connection: Connection, now: datetime, lease: Lease, plan: Plan) -> int:
    """Notes what follows a message that died now, as if it were delivered; returns how many steps. With bury()."""
    receiver = plan.receiver(lease.receiver)
    clock = escalations.start_for_dead(connection, now, lease, receiver)
    return clock + _repeat(connection, now, lease, receiver, lease.id)


def schedule_for_refused(connection: Connection, now: datetime, lease: Lease, plan: Plan) -> Told:
    """For mail addresses that refused a message for good while others took it: their rows are dead already.

    The fallback is told instead of them, and what is told again to those who have it is told again to them.
    """
    receiver = plan.receiver(lease.receiver)
    if receiver is None:
        return Told()
    event_id = select(_d.event_id).where(_d.id == lease.id).scalar_subquery()
    chosen = (_d.event_id == event_id, _d.channel == lease.channel, _d.state == DeliveryState.DEAD.value)
    same = (_d.receiver == lease.receiver, _d.turn == lease.turn)
    carriers = or_(_d.wave.is_(None), _d.wave == _d.id)
    ids = connection.execute(select(_d.id).where(*chosen, *same, carriers)).scalars().all()
    for delivery_id in ids:
        _repeat(connection, now, lease, receiver, delivery_id)
    return Told() if receiver.fallback is None else fall_back(connection, now, plan, ids)


def _repeat(connection: Connection, now: datetime, lease: Lease, receiver: Receiver | None, delivery_id: int) -> bool:
    kinds = {event.kind for event in (lease.event, *lease.others) if event is not None}
    if receiver is None or receiver.repeat_interval is None or not kinds & WITH_END:
        return False
    _note_repetition(connection, delivery_id, now + receiver.repeat_interval)
    return True


def _note_repetition(connection: Connection, delivery_id: int, due_at: datetime) -> None:
    row = {"delivery_id": delivery_id, "origin": Origin.REPEAT.value, "due_at": due_at}
    connection.execute(insert_new(connection, alert_follow_up, "delivery_id", "origin").values(row))


def next_due(connection: Connection, plan: Plan) -> datetime | None:
    """When the next follow-up is due that this plan asks for."""
    query = select(_f.due_at).where(_asked_for(plan)).order_by(_f.due_at).limit(1)
    due: datetime | None = connection.execute(query).scalar()
    return due


def _asked_for(plan: Plan) -> ColumnElement[bool]:
    """The steps of receivers that escalate, or repeat, by this file.

    A deliverer may have an older file than others, or a newer one, and take nothing from those who know what to do.
    """
    receivers = () if plan.routing is None else plan.routing.receivers.values()
    told = select(_d.receiver).where(_d.id == _f.delivery_id).scalar_subquery()
    escalating = sorted(receiver.name for receiver in receivers if receiver.escalate is not None)
    repeating = sorted(receiver.name for receiver in receivers if receiver.repeat_interval is not None)
    return or_(
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
    4. Leave out what is acknowledged or over, and tell the rest as one message.
    """
    query = select(_f.id, _f.delivery_id, _f.origin).where(*_due(now, plan)).order_by(_f.due_at, _f.id)
    if only is not None:
        query = query.where(_f.id == only)
    taken = connection.execute(query.limit(MOST_AT_ONCE).with_for_update(skip_locked=True)).all()
    if not taken:
        return None
    connection.execute(delete(alert_follow_up).where(_f.id.in_([row.id for row in taken])))
    tellings: list[Telling | None] = []
    for row in taken:
        delivery = connection.execute(select(alert_delivery).where(_d.id == row.delivery_id)).one()
        delivery = putting_off.no_longer(connection, delivery, row.origin)
        receiver = plan.receiver(delivery.receiver)
        if receiver is None:
            continue  # the file changed, and nobody says any more what is to follow
        step = _escalation if row.origin == Origin.ESCALATION else _repetition
        tellings.append(step(connection, now, plan, delivery, receiver))
    return _tell(connection, now, plan, [telling for telling in tellings if telling is not None])


def _escalation(
    connection: Connection, now: datetime, plan: Plan, delivery: Row[Any], receiver: Receiver
) -> Telling | None:
    to = None if receiver.escalate is None else plan.receiver(receiver.escalate.to)
    if receiver.escalate is None or to is None:
        return None
    events = _open(connection, delivery, escalations.TROUBLES)
    why = escalations.reason(heard.teller(connection, delivery), receiver, now)
    note = f"{why}, and nobody has acknowledged it: windsock alerts ack {_number(connection, delivery)}"
    return Telling(to, events, _all_ways(plan, to, Origin.ESCALATION, note))


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


def _all_ways(plan: Plan, receiver: Receiver, origin: Origin, note: str) -> ToWhom:
    def targets(event: AlertEvent) -> tuple[Target, ...]:
        return tuple(replace(target, origin=origin, note=note) for target in ways(event, receiver, plan))

    return targets


def _open(connection: Connection, delivery: Row[Any], kinds: Iterable[str]) -> list[tuple[int, AlertEvent]]:
    """The events of a message that are of these kinds, and neither over nor acknowledged."""
    ids = _members(connection, delivery)
    connection.execute(select(_e.id).where(_e.id.in_(ids)).order_by(_e.id).with_for_update()).all()
    query = (
        select(_e.id, _e.payload)
        .outerjoin(alert_ack, _a.event_id == _e.id)
        .where(
            _e.id.in_(ids),
            _e.kind.in_(sorted(kinds)),
            _e.ended_by.is_(None),
            _a.event_id.is_(None),
        )
        .order_by(_e.id)
    )
    return _decoded(connection.execute(query).all())


def _members(connection: Connection, delivery: Row[Any]) -> Sequence[int]:
    if delivery.wave is None:
        return [delivery.event_id]
    return connection.execute(select(_d.event_id).where(_d.wave == delivery.wave).order_by(_d.id)).scalars().all()


def _decoded(rows: Iterable[Any]) -> list[tuple[int, AlertEvent]]:
    events = ((row.id, decode(row.payload)) for row in rows)
    return [(event_id, event) for event_id, event in events if event is not None]


def _newest(connection: Connection, events: Events) -> Events:
    """Of a trouble that came several times, only the latest is told again."""
    keys = {event.episode_key for _, event in events}
    query = select(func.max(_e.id)).where(
        _e.episode_key.in_(keys), _e.ended_by.is_(None), _e.kind.in_(sorted(WITH_END))
    )
    newest = set(connection.execute(query.group_by(_e.episode_key)).scalars()) if keys else set()
    return [(event_id, event) for event_id, event in events if event_id in newest]


@dataclass(frozen=True)
class _Fallback:
    """A delivery that falls back, to whom, and the rows of its message with their events."""

    delivery: Row[Any]
    to: Receiver
    to_whom: ToWhom
    members: Sequence[Any]  # delivery_id, id and payload of the event

    @property
    def telling(self) -> Telling:
        return Telling(self.to, _decoded(self.members), self.to_whom)


def fall_back(
    connection: Connection, now: datetime, plan: Plan, delivery_ids: Sequence[int], why: str | None = None
) -> Told:
    """Tells the fallback receivers of these deliveries, each once; ``why`` is what the message says of the reason.

    Without it, the reason is the delivery's own error. An id stands for the whole message that it carries. Where a
    fallback has a delivery of the event already, it gets no other, and the row says which one it is.
    """
    may = (_d.fell_back_at.is_(None), _d.receiver.is_not(None), _not_a_fallback())
    query = select(alert_delivery).where(_d.id.in_(delivery_ids), *may).order_by(_d.id).with_for_update()
    found: list[tuple[Any, Receiver, ToWhom]] = []
    for delivery in connection.execute(query).all():
        receiver = plan.receiver(delivery.receiver)
        to = None if receiver is None or receiver.fallback is None else plan.receiver(receiver.fallback.to)
        if receiver is None or to is None:
            continue
        reason = shorten(why or delivery.error or "", REASON_LIMIT)
        note = f"Meant for {_whom(delivery, receiver)}, which could not be told through {delivery.channel}: {reason}"
        found.append((delivery, to, _all_ways(plan, to, Origin.FALLBACK, note)))
    members = _fallen_back(connection, now, [(delivery, to) for delivery, to, _ in found])
    steps = [_Fallback(delivery, to, to_whom, members[delivery.id]) for delivery, to, to_whom in found]
    told = _tell(connection, now, plan, [step.telling for step in steps])
    _note_what_was_heard(connection, now, steps)
    return told


def _whom(delivery: Row[Any], receiver: Receiver) -> str:
    """Others of the receiver may have been told, where only these addresses refuse."""
    if delivery.held_by != outbox.ADDRESSEE:
        return receiver.name
    return f"{', '.join(addressees.known(delivery.address))} of {receiver.name}"


def _fallen_back(
    connection: Connection, now: datetime, found: Sequence[tuple[Any, Receiver]]
) -> dict[int, Sequence[Any]]:
    """Marks the messages that these deliveries belong to; returns the rows of each, by the delivery's id."""
    if not found:
        return {}
    for name in dict.fromkeys(to.name for _, to in found):
        chosen = _of_messages([delivery for delivery, to in found if to.name == name])
        connection.execute(update(alert_delivery).where(chosen).values(fell_back_at=now, fell_back_to=name))
    query = select(_d.id.label("delivery_id"), _d.wave, _e.id, _e.payload).join(alert_event, _e.id == _d.event_id)
    members: dict[int, list[Any]] = {}
    deliveries = [delivery for delivery, _ in found]
    for row in connection.execute(query.where(_of_messages(deliveries)).order_by(_e.id)).all():
        members.setdefault(row.delivery_id if row.wave is None else row.wave, []).append(row)
    return {row.id: members[row.id if row.wave is None else row.wave] for row in deliveries}


def _of_messages(deliveries: Sequence[Any]) -> ColumnElement[bool]:
    """The rows of the messages that these deliveries belong to."""
    alone = [delivery.id for delivery in deliveries if delivery.wave is None]
    return or_(_d.id.in_(alone), _d.wave.in_({delivery.wave for delivery in deliveries} - {None}))


def _note_what_was_heard(connection: Connection, now: datetime, steps: Sequence[_Fallback]) -> None:
    """Keeps with each row for which deliveries its fallback was not told once more."""
    wanted: dict[Hearing, list[tuple[int, str | None]]] = {}
    for step in steps:
        row_ids = {member.id: member.delivery_id for member in step.members}
        for draft in _drafts_of(step.telling):
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


def _not_a_fallback() -> Any:
    return or_(_d.origin.is_(None), _d.origin != Origin.FALLBACK.value)


def fall_back_from(
    connection: Connection, now: datetime, plan: Plan, channel: str, down_for: timedelta, answer: str = ""
) -> Told | None:
    """Tells the fallback receivers of what waits for a channel that has been down for so long; None where nothing does.

    ``answer`` is why it did not take the last one. The deliveries stay pending: when the channel is back, they are told
    there too.
    """
    impatient = _impatient(plan, down_for)
    chosen = (_d.channel == channel, _d.state == DeliveryState.PENDING.value, _d.fell_back_at.is_(None))
    query = (
        select(_d.id)
        .where(*chosen, _d.receiver.in_(impatient), _not_a_fallback())
        .order_by(_d.id)
        .limit(MOST_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    ids = connection.execute(query).scalars().all() if impatient else []
    if not ids:
        return None
    reason = f" ({shorten(answer, ANSWER_LIMIT)})" if answer else ""
    return fall_back(connection, now, plan, ids, f"it has taken nothing for {span(down_for)}{reason}; it is tried on")


def _impatient(plan: Plan, down_for: timedelta) -> list[str]:
    receivers = {} if plan.routing is None else plan.routing.receivers
    return sorted(
        name for name, receiver in receivers.items() if receiver.fallback and receiver.fallback.after <= down_for
    )


def _tell(connection: Connection, now: datetime, plan: Plan, tellings: Sequence[Telling]) -> Told:
    """One message for each of these, and each channel and address, about what was not told there before.

    Each counts against its receiver's limit like any other message; beyond it, it waits in the receiver's digest.
    """
    asked = [_drafts_of(telling) for telling in tellings]
    drafted = _new(connection, asked)
    if not any(drafted):
        return _clocks_of_heard(connection, now, plan, tellings, asked)
    silenced = silences.active(connection, now)
    drafted = [[_unless_silenced(draft, plan, silenced) for draft in drafts] for drafts in drafted]
    late = _late(connection, now, tellings, drafted)
    drafted = [
        [_in_digest(draft, telling.receiver) if place in late else draft for draft in drafts]
        for place, (telling, drafts) in enumerate(zip(tellings, drafted, strict=True))
    ]
    drafts = [draft for part in drafted for draft in part]
    revivals.revive(connection, outbox.add(connection, now, drafts, plan.give_up_after))
    channels: list[str] = []
    for telling, part in zip(tellings, drafted, strict=True):
        for (channel, target), event_ids in _messages(part, held=False).items():
            if len(event_ids) > 1:
                outbox.unite(connection, channel, target, event_ids, DeliveryState.PENDING)
            channels.append(channel)
        if telling.again_after is not None:
            _try_again_later(connection, now + telling.again_after, part)
    escalations.start(connection, now, plan, channels)
    origins = tuple(origin for part in drafted for origin in _origins(part))
    told = Told(origins, tuple(channels), tuple(draft.target.held.by for draft in drafts if draft.target.held))
    return told + _clocks_of_heard(connection, now, plan, tellings, asked)


def _clocks_of_heard(
    connection: Connection, now: datetime, plan: Plan, tellings: Sequence[Telling], asked: Sequence[Sequence[Draft]]
) -> Told:
    """Who is not told since somebody else has the same address is to answer for it all the same."""
    drafts = [
        draft
        for telling, part in zip(tellings, asked, strict=True)
        if telling.receiver.escalate is not None
        for draft in part
    ]
    untold = heard.untold(connection, drafts)
    if not untold:
        return Told()
    silenced = silences.active(connection, now)
    held = [_unless_silenced(draft, plan, silenced) for draft in untold]
    revivals.note_heard(connection, outbox.add(connection, now, held, plan.give_up_after))
    loud = [draft for draft in held if draft.target.held and draft.target.held.by is SuppressedBy.HEARD]
    for (channel, target), event_ids in _messages(loud, held=True).items():
        carrier = outbox.unite(connection, channel, target, event_ids, DeliveryState.SUPPRESSED)
        if carrier is not None:
            escalations.start_for_heard(connection, now, plan, carrier)
    return Told(suppressed=tuple(draft.target.held.by for draft in held if draft.target.held))


def _drafts_of(telling: Telling) -> list[Draft]:
    return [Draft(event_id, event, target) for event_id, event in telling.events for target in telling.to_whom(event)]


def _new(connection: Connection, drafted: Sequence[Sequence[Draft]]) -> list[list[Draft]]:
    """The drafts without the ways by which somebody has heard of the event, or does by one that comes before.

    Mail counts by address, for a list of addresses may have been taken apart. What is left of the lists of one telling
    is sorted by people again, so that each of them gets one mail.
    """
    event_ids = sorted({draft.event_id for drafts in drafted for draft in drafts})
    _lock(connection, event_ids)
    before = (row for row in heard.rows_of(connection, event_ids) if not revivals.is_untold(row))
    known = {hearing for row in before for hearing in heard.hearings_of_row(row)}
    kept: list[list[Draft]] = []
    for drafts in drafted:
        new: list[Draft] = []
        for draft in drafts:
            fresh = [one for one in heard.hearings_of(draft.event_id, draft.target) if one not in known]
            known.update(fresh)
            if fresh:
                addresses = tuple(dict.fromkeys(one.way.address for one in fresh if one.way.address))
                new.append(replace(draft, target=replace(draft.target, addresses=addresses)))
        kept.append(_by_people(new))
    return kept


def _lock(connection: Connection, event_ids: Sequence[int]) -> None:
    """Two deliverers that tell different receivers of one event at the same time: the second sees what the first wrote.

    On PostgreSQL this lets others write deliveries of the event, which lock it for its key alone.
    """
    for batch in batches(event_ids):
        part = _e.id.in_(batch)
        connection.execute(select(_e.id).where(part).order_by(_e.id).with_for_update(key_share=True)).all()


def _by_people(drafts: Sequence[Draft]) -> list[Draft]:
    parts = mailings.by_people({place: draft.target.addresses for place, draft in enumerate(drafts)})
    return [
        replace(draft, target=replace(draft.target, addresses=addresses))
        for place, draft in enumerate(drafts)
        for addresses in parts[place] or [()]
    ]


def _unless_silenced(draft: Draft, plan: Plan, silenced: Sequence[silences.Silence]) -> Draft:
    why = None if draft.event is None else groups.why_held(draft.event_id, draft.event, plan, silenced)
    return draft if why is None else replace(draft, target=replace(draft.target, held=why))


def _late(
    connection: Connection, now: datetime, tellings: Sequence[Telling], drafted: Sequence[Sequence[Draft]]
) -> set[int]:
    """The places of those that are beyond their receiver's limit."""
    loud: dict[str, list[int]] = {}
    for place, drafts in enumerate(drafted):
        if any(draft.target.held is None for draft in drafts):
            loud.setdefault(tellings[place].receiver.name, []).append(place)
    limits = {telling.receiver.name: telling.receiver.limit for telling in tellings}
    allowed = throttle.take(connection, now, limits, {name: len(places) for name, places in loud.items()})
    return {place for name, places in loud.items() for place in places[allowed[name] :]}


def _in_digest(draft: Draft, receiver: Receiver) -> Draft:
    if draft.target.held is not None:
        return draft
    return replace(draft, target=replace(draft.target, group=groups.digest_of(receiver.name, receiver.limit)))


def _messages(drafts: Sequence[Draft], *, held: bool) -> dict[tuple[str, str], list[int]]:
    """The events by channel and address, of those that are held back or of those that are told now."""
    found: dict[tuple[str, str], list[int]] = {}
    for draft in drafts:
        target = draft.target
        if (target.held is not None) is held and target.group is None:
            found.setdefault((target.channel, target.digest), []).append(draft.event_id)
    return found


def _try_again_later(connection: Connection, due_at: datetime, drafts: Sequence[Draft]) -> None:
    """A silence ends, and what it held back of a repetition may last: its rows are a message that was not sent."""
    for (channel, target), event_ids in _messages(drafts, held=True).items():
        carrier = outbox.unite(connection, channel, target, event_ids, DeliveryState.SUPPRESSED)
        if carrier is not None:
            _note_repetition(connection, carrier, due_at)


def _origins(drafts: Sequence[Draft]) -> tuple[Origin, ...]:
    """One per message that is told, now or in a digest."""
    loud = [draft.target for draft in drafts if draft.target.held is None]
    ways_taken = {(target.channel, target.digest): target.origin for target in loud}
    return tuple(origin for origin in ways_taken.values() if origin is not None)
