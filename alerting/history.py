"""Looking into the history of alerts: what is sought, what need not be shown, one event and all that came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, func, not_, or_, select

from alerting import outbox
from alerting.events import AlertEvent, decode
from alerting.kinds import KINDS, EventKind
from alerting.outbox import DeliveryState, Entry
from alerting.tables import alert_delivery, alert_event

UNTOLD: Final = "untold"  # suppressed since nobody asked, and not by a silence or the like
MOST_DELIVERIES: Final = 500

# What a person looks for first.
_URGENCY: Final = ("dead", "sending", "pending", "waiting", "recorded", "suppressed", "delivered")
_d, _e = alert_delivery.c, alert_event.c
# Of these somebody ought to be told: troubles, and what somebody asked to be told by name.
_TO_TELL: Final = [kind.value for kind, known in KINDS.items() if known.trouble] + [EventKind.NOTIFIED.value]
# Where nobody is to be told there is one suppressed row without a channel. What is held back, like all else, has the
# channel that it was for. Asked with the event, this needs uq_alert_delivery_target alone. SQLite, which has no
# statistics, would take an index with the state instead, and read all deliveries in that state again for each event.
_IS_UNTOLD: Final = _d.channel == ""
_HAS_CHANNEL: Final = _d.channel > ""  # a range: an index can serve it, which it cannot with !=


@dataclass(frozen=True)
class Search:
    """What is sought; nothing said is everything but what nobody asked for. A state may be UNTOLD.

    An alert is found by a state that any of its deliveries is in.
    """

    states: Sequence[str] = ()
    dag_id: str = ""
    kind: str = ""
    since: datetime | None = None
    before_event: int | None = None
    everything: bool = False


@dataclass(frozen=True)
class Alert:
    """An event, and what became of it: all of its deliveries, the oldest first; none until it is routed."""

    head: Entry  # has the event's own facts
    deliveries: tuple[Entry, ...]

    @property
    def number(self) -> int:
        return self.head.event_id

    @property
    def entries(self) -> tuple[Entry, ...]:
        """As a list of lines: the event alone where it has no delivery."""
        return self.deliveries or (self.head,)


def search(connection: Connection, sought: Search, limit: int) -> list[Alert]:
    """Newest first, each with all of its deliveries."""
    chosen = select(_e.id).where(*_conditions(sought)).order_by(_e.id.desc()).limit(limit)
    return alerts_of(connection, connection.execute(chosen).scalars().all())


def alerts_of(connection: Connection, event_ids: Sequence[int]) -> list[Alert]:
    """These alerts, newest first. At most MOST_DELIVERIES of each, on average."""
    limit = MOST_DELIVERIES * len(event_ids)
    found = outbox.listing(connection, limit=limit, also=[_e.id.in_(event_ids)]) if event_ids else []
    grouped = (list(entries) for _, entries in groupby(found, key=lambda entry: entry.event_id))
    return [Alert(entries[0], tuple(_routed(entries))) for entries in grouped]


def _routed(entries: Iterable[Entry]) -> Iterator[Entry]:
    return (entry for entry in entries if entry.delivery_id is not None)


def _conditions(sought: Search) -> Iterator[ColumnElement[bool]]:
    if sought.states:
        yield or_(*map(_in_state, sought.states))
    elif not sought.everything:
        yield is_worth_a_look()
    yield from _about(sought)
    if sought.before_event is not None:
        yield _e.id < sought.before_event


def _about(sought: Search) -> Iterator[ColumnElement[bool]]:
    """What is sought of the events themselves, whatever became of them."""
    if sought.dag_id:
        yield _e.dag_id == sought.dag_id
    if sought.kind:
        yield _e.kind == sought.kind
    if sought.since is not None:
        yield _e.occurred_at >= sought.since


def _in_state(state: str) -> ColumnElement[bool]:
    """Most alerts are delivered, or nobody asked: the newest of these are met soon, event by event.

    Few are in any other state, and ix_alert_delivery_state finds them.
    """
    match state:
        case "recorded":
            return _e.routed_at.is_(None)  # from then on it has a delivery: ix_alert_event_unrouted
        case "untold":
            return _has(_IS_UNTOLD)
        case DeliveryState.DELIVERED:
            return _has(_HAS_CHANNEL, _d.state == state)
        case _:
            return _e.id.in_(select(_d.event_id).where(_HAS_CHANNEL, _d.state == state))


def _has(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(_d.id).where(_d.event_id == _e.id, *conditions).correlate(alert_event).exists()


def is_worth_a_look() -> ColumnElement[bool]:
    """All but what is no trouble and nobody asked for, such as a retry of a task without an email."""
    return or_(_e.kind.in_(_TO_TELL), not_(_has(_IS_UNTOLD)), _has(_HAS_CHANNEL))


def state_words(entry: Entry) -> str:
    """The state as people read it. That nobody asked to be told is no suppression."""
    if entry.state != DeliveryState.SUPPRESSED or entry.channel:
        return entry.state
    return "not told" if entry.kind in _TO_TELL else "nobody asked"


def counts(connection: Connection, sought: Search) -> dict[str, int]:
    """Deliveries by state, whichever is sought and however old, with those that are UNTOLD by themselves."""
    about = list(_about(sought))
    found: dict[str, int] = {}
    for channel, state, count in outbox.counts(connection, about):
        name = UNTOLD if state == DeliveryState.SUPPRESSED and not channel else state
        found[name] = found.get(name, 0) + count
    return found


def tally(alert: Alert) -> list[tuple[str, int, str]]:
    """How many of its deliveries are how: the words, how many, and the state; what asks for somebody first."""
    found: dict[str, tuple[int, str]] = {}
    for entry in alert.entries:
        words = state_words(entry)
        found[words] = (found.get(words, (0, ""))[0] + 1, entry.state)
    return sorted(((words, *told) for words, told in found.items()), key=lambda each: _URGENCY.index(each[2]))


def together(connection: Connection, entries: Iterable[Entry]) -> dict[int, int]:
    """How many other alerts the messages of these deliveries tell of, by the wave."""
    waves = {entry.wave for entry in entries if entry.wave is not None}
    query = select(_d.wave, func.count()).where(_d.wave.in_(waves)).group_by(_d.wave)
    return {row[0]: row[1] - 1 for row in connection.execute(query)} if waves else {}


def subjects(connection: Connection, entries: Iterable[Entry]) -> dict[int, str]:
    """What events are about that are about no task: an alert of Prometheus, a file, a component. By event."""
    ids = {entry.event_id for entry in entries if entry.task_id is None}
    rows = connection.execute(select(_e.id, _e.payload).where(_e.id.in_(ids))) if ids else ()
    events = ((row.id, decode(row.payload)) for row in rows)
    return {event_id: event.subject for event_id, event in events if event is not None and event.subject}


def event_of(connection: Connection, event_id: int) -> AlertEvent | None:
    """None where there is none, or this version cannot read it."""
    payload = connection.execute(select(_e.payload).where(_e.id == event_id)).scalar()
    event = None if payload is None else decode(payload)
    return event and msgspec.structs.replace(event, number=event_id)


def alert_of(connection: Connection, event_id: int) -> Alert | None:
    """One alert with all that came of it; None where there is none."""
    return next(iter(alerts_of(connection, [event_id])), None)
