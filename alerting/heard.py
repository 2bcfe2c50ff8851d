"""Who hears of an event by which way, and what becomes of the clock of a receiver that is not told for that.

Nobody is told the same twice by one way. So a receiver to which a trouble escalates may have nobody left to tell, where
its addresses are those of another one that was told before. It is to answer for the trouble all the same: a row that is
suppressed stands for the message that was left out, and its escalation goes on from there. Where a silence or the like
held it back from that receiver before, the row that says so becomes that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from alerting import addressees, revivals
from alerting.database import batches
from alerting.groups import Draft
from alerting.kinds import KINDS
from alerting.outbox import DeliveryState
from alerting.routes import Suppressed, SuppressedBy, Target, Way
from alerting.tables import alert_delivery

_d: Final = alert_delivery.c


@dataclass(frozen=True)
class Hearing:
    """That somebody hears of an event by one way, and which time it is.

    The first time it counts whoever was told that way. A repetition is its receiver's own: where two receivers have one
    address, the one that repeats more often does not end the repetitions of the other.
    """

    event_id: int
    way: Way
    turn: int
    repeated_for: str | None


def hearings_of(event_id: int, target: Target) -> list[Hearing]:
    """Each way by which this target hears of an event."""
    repeated_for = target.receiver if target.turn else None
    return [Hearing(event_id, way, target.turn, repeated_for) for way in target.ways]


def hearings_of_row(row: Any) -> list[Hearing]:
    """Each way by which somebody hears, or was to hear, of a delivery's event."""
    addresses = addressees.known(row.address)
    return hearings_of(row.event_id, Target(row.channel, addresses, receiver=row.receiver, turn=row.turn))


def ways_of_row(row: Any) -> tuple[Way, ...]:
    """By which a delivery goes, whichever time it is."""
    return Target(row.channel, addressees.known(row.address)).ways


def rows_of(connection: Connection, event_ids: Sequence[int]) -> Iterator[Any]:
    """The deliveries of these events, those of each in order."""
    for batch in batches(event_ids):
        part = _d.event_id.in_(batch)
        columns = (_d.id, _d.event_id, _d.channel, _d.address, _d.receiver, _d.turn, _d.note, _d.created_at)
        query = select(*columns, _d.state, _d.held_by).where(part)
        yield from connection.execute(query.order_by(_d.id)).all()


def untold(connection: Connection, drafts: Sequence[Draft]) -> list[Draft]:
    """Of these troubles one draft for each receiver that has no message of it, held since another one has its way.

    Whoever is held back for now has no message either. Where nobody has a way of theirs, nothing is left out for them:
    the row that says what holds them back is all that there is.
    """
    wanted = [
        draft
        for draft in drafts
        if draft.event is not None and KINDS[draft.event.kind].trouble and not draft.target.turn
    ]
    there = rows_of(connection, sorted({draft.event_id for draft in wanted}))
    rows = [row for row in there if not revivals.is_untold(row)]
    told = {(row.event_id, row.receiver) for row in rows}
    by_hearing = {hearing: row for row in reversed(rows) for hearing in hearings_of_row(row)}
    found: dict[tuple[int, str | None], Draft] = {}
    for draft in wanted:
        place = (draft.event_id, draft.target.receiver)
        hearings = hearings_of(draft.event_id, draft.target)
        other = next((row for hearing in hearings if (row := by_hearing.get(hearing)) is not None), None)
        if place not in told and other is not None:
            found.setdefault(place, _held(draft, other.receiver))
    return list(found.values())


def _held(draft: Draft, other: str) -> Draft:
    reason = f"not told twice by the same way, which the receiver {other} has as well"
    return replace(draft, target=replace(draft.target, held=Suppressed(reason, SuppressedBy.HEARD)))


def teller(connection: Connection, delivery: Row[Any]) -> Row[Any]:
    """The delivery by which its receiver heard of it: another one's, where that has made this one needless."""
    if delivery.held_by != SuppressedBy.HEARD:
        return delivery
    query = select(alert_delivery).where(_d.event_id == delivery.event_id, _d.id != delivery.id).order_by(_d.id)
    hearings = set(hearings_of_row(delivery))
    others = [row for row in connection.execute(query) if hearings & set(hearings_of_row(row))]
    told = [row for row in others if row.state == DeliveryState.DELIVERED]
    return next(iter([*told, *others]), delivery)
