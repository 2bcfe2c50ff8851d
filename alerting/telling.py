"""Telling a receiver of events in one message per channel and address: what an escalation, a repetition, a fallback do.

Who has heard of an event by one way is not told by it again. What is silenced gets a row that says so, and what is
beyond the receiver's limit waits in its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Connection, select

from alerting import escalations, groups, heard, mailings, outbox, revivals, silences, throttle
from alerting.database import batches, insert_new
from alerting.events import AlertEvent, decode
from alerting.groups import Draft
from alerting.outbox import DeliveryState
from alerting.routes import Origin, Plan, SuppressedBy, Target, ways
from alerting.routing import Receiver
from alerting.tables import alert_event, alert_follow_up

_e = alert_event.c

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


def tell(connection: Connection, now: datetime, plan: Plan, tellings: Sequence[Telling]) -> Told:
    """One message for each of these, and each channel and address, about what was not told there before.

    Each counts against its receiver's limit like any other message; beyond it, it waits in the receiver's digest.
    """
    asked = [drafts_of(telling) for telling in tellings]
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


def drafts_of(telling: Telling) -> list[Draft]:
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
            note_repetition(connection, carrier, due_at)


def note_repetition(connection: Connection, delivery_id: int, due_at: datetime) -> None:
    row = {"delivery_id": delivery_id, "origin": Origin.REPEAT.value, "due_at": due_at}
    connection.execute(insert_new(connection, alert_follow_up, "delivery_id", "origin").values(row))


def _origins(drafts: Sequence[Draft]) -> tuple[Origin, ...]:
    """One per message that is told, now or in a digest."""
    loud = [draft.target for draft in drafts if draft.target.held is None]
    ways_taken = {(target.channel, target.digest): target.origin for target in loud}
    return tuple(origin for origin in ways_taken.values() if origin is not None)


def all_ways(plan: Plan, receiver: Receiver, origin: Origin, note: str) -> ToWhom:
    def targets(event: AlertEvent) -> tuple[Target, ...]:
        return tuple(replace(target, origin=origin, note=note) for target in ways(event, receiver, plan))

    return targets


def decoded(rows: Iterable[Any]) -> list[tuple[int, AlertEvent]]:
    events = ((row.id, decode(row.payload)) for row in rows)
    return [(event_id, event) for event_id, event in events if event is not None]
