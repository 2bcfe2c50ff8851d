"""A retry that was announced and is over: nobody is told that an attempt will follow which has ended meanwhile.

A message waits where its receiver is away, or in a group. When the next attempt has ended by then, what it says is
false, and it would come after the news of that end. So whoever is about to send it, or forms a wave with it, looks
whether the task's episode has gone on, and suppresses it with what has happened since.

A retry that is told as soon as it can be is no stale news, also where the next attempt was quicker than the message.

Where the attempt succeeded, its "recovered" was meant for whoever was to hear of the retry. Those who hear of no
trouble any more are not told of its end either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, select, update

from alerting import addressees
from alerting.database import batches
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.routes import Suppressed, SuppressedBy
from alerting.tables import alert_delivery, alert_event

MOST_SWEPT: Final = 500  # deliveries in one statement
STALE_AFTER: Final = timedelta(seconds=10)
_d, _e = alert_delivery.c, alert_event.c
_ENDS: Final = EventKind.TASK_RECOVERED
_UNHEARD: Final = Suppressed("nobody was told here of what this ends: the retry was overtaken", SuppressedBy.OVERTAKEN)
_later: Final = alert_event.alias("later")
_l = _later.c
_ENDED: Final = {
    EventKind.TASK_FAILED.value: "failed",
    EventKind.TASK_RETRY.value: "failed",
    EventKind.TASK_RECOVERED.value: "succeeded",
}


def may_be(events: Iterable[AlertEvent | None]) -> bool:
    """Whether any of these announces an attempt, or ends what did; asked before a statement is spent on it."""
    return any(event is not None and event.kind in (EventKind.TASK_RETRY, _ENDS) for event in events)


def reasons(connection: Connection, now: datetime, delivery_ids: Sequence[int]) -> dict[int, Suppressed]:
    """Those of these deliveries that announce an attempt which has ended, each with its reason."""
    found: dict[int, Suppressed] = {}
    for batch in batches(delivery_ids):
        part = _overtaken(now).where(_d.id.in_(batch))
        found |= {row.id: _reason(row) for row in connection.execute(part)}
    return found


def due(connection: Connection, now: datetime, channels: Sequence[str]) -> dict[int, Suppressed]:
    """The same of what these channels could be given now, and of no wave, MOST_SWEPT at most; locks them.

    What another deliverer has locked is passed over.
    """
    free = (_d.channel.in_(channels), _d.due_at <= now, _d.state == "pending", _d.wave.is_(None))
    found = {row.id: _reason(row) for row in connection.execute(_overtaken(now).where(*free).limit(MOST_SWEPT))}
    if not found:
        return {}
    locked = select(_d.id).where(_d.id.in_(sorted(found)), *free).order_by(_d.id).with_for_update(skip_locked=True)
    return {delivery_id: found[delivery_id] for delivery_id in connection.execute(locked).scalars()}


def unheard(connection: Connection, now: datetime, delivery_ids: Sequence[int]) -> dict[int, Suppressed]:
    """Those of these deliveries that end a trouble of which nobody hears there, because a retry was overtaken.

    Whoever has another message about the same trouble, delivered or under way, is told of its end.
    """
    found: dict[int, Suppressed] = {}
    for batch in batches(delivery_ids):
        ends = connection.execute(_ends(batch)).all()
        troubles = _troubles(connection, now, ends) if ends else {}
        found |= {end.id: _UNHEARD for end in ends if _is_unheard(end, troubles.get(end.event_id, ()))}
    return found


def suppress(connection: Connection, found: dict[int, Suppressed]) -> None:
    """Writes down that these are not told. They leave the message that they were part of."""
    by_reason: dict[Suppressed, list[int]] = {}
    for delivery_id, why in sorted(found.items()):
        by_reason.setdefault(why, []).append(delivery_id)
    for why, ids in by_reason.items():
        values: dict[str, Any] = {"state": "suppressed", "due_at": None, "token": None, "wave": None}
        values |= {"error": why.reason, "held_by": why.by.value}
        for batch in batches(ids):
            part = _d.id.in_(batch)
            connection.execute(update(alert_delivery).where(part).values(values))


def _overtaken(now: datetime) -> Select[Any]:
    """With the last that is known of each one's episode: of several rows the last one counts."""
    return (
        select(_d.id, _l.kind, _l.try_number)
        .join(alert_event, _e.id == _d.event_id)
        .join(_later, (_l.episode_key == _e.episode_key) & (_l.id > _e.id))
        .where(_e.kind == EventKind.TASK_RETRY.value, _e.occurred_at <= now - STALE_AFTER)
        .where(_l.kind.in_(sorted(_ENDED)))
        .order_by(_d.id, _l.id)
    )


def _reason(row: Row[Any]) -> Suppressed:
    who = "the task" if row.try_number is None else f"attempt {row.try_number}"
    return Suppressed(f"overtaken: {who} {_ENDED[row.kind]} before this was sent", SuppressedBy.OVERTAKEN)


@dataclass(frozen=True)
class _Trouble:
    """A message about what an end is the end of."""

    channel: str
    addresses: frozenset[str]
    is_told: bool  # or is about to be; False where it was overtaken, or will be when it is to be sent


def _ends(delivery_ids: Sequence[int]) -> Select[Any]:
    return (
        select(_d.id, _d.event_id, _d.channel, _d.address, _e.episode_key)
        .join(alert_event, _e.id == _d.event_id)
        .where(_d.id.in_(delivery_ids), _e.kind == _ENDS.value)
    )


def _troubles(connection: Connection, now: datetime, ends: Sequence[Row[Any]]) -> dict[int, list[_Trouble]]:
    """By the event that ended it, what was written of each trouble: told, on its way, or overtaken."""
    query = (
        select(_e.ended_by, _e.kind, _e.occurred_at, _d.channel, _d.address, _d.state, _d.held_by)
        .join(alert_delivery, _d.event_id == _e.id)
        .where(_e.episode_key.in_({end.episode_key for end in ends}), _e.ended_by.in_({end.event_id for end in ends}))
    )
    found: dict[int, list[_Trouble]] = {}
    for row in connection.execute(query):
        is_late = row.kind == EventKind.TASK_RETRY.value and row.occurred_at <= now - STALE_AFTER
        is_open = row.state in ("pending", "waiting")
        is_told = row.state in ("delivered", "sending") or (is_open and not is_late)
        if is_told or is_open or row.held_by == SuppressedBy.OVERTAKEN.value:
            found.setdefault(row.ended_by, []).append(_Trouble(row.channel, _addresses(row.address), is_told))
    return found


def _is_unheard(end: Row[Any], troubles: Sequence[_Trouble]) -> bool:
    people = _addresses(end.address)
    here = [one for one in troubles if one.channel == end.channel and one.addresses & people]
    return bool(here) and not any(one.is_told for one in here)


def _addresses(stored: str) -> frozenset[str]:
    """The channel's own room stands for an address where it has none."""
    return frozenset(addressees.known(stored) or ("",))
