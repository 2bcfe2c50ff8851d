"""Looking into the history of alerts: what is sought, what need not be shown, one event and all that came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, ScalarSelect, case, func, not_, or_, select

from alerting import outbox
from alerting.events import AlertEvent, decode
from alerting.kinds import KINDS, EventKind
from alerting.outbox import Entry
from alerting.state_words import MEANINGS, Shown, shown
from alerting.tables import alert_delivery, alert_event

MOST_DELIVERIES: Final = 500

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
    """What is sought; nothing said is everything but what nobody asked for. A state is a ``Shown``.

    An alert is found by a state that any of its deliveries is in. With ``after_event`` only alerts of higher numbers
    are looked at, so that what is seldom met is not sought in the whole past: see :func:`window`.
    """

    states: Sequence[str] = ()
    dag_id: str = ""
    kind: str = ""
    since: datetime | None = None
    before_event: int | None = None
    after_event: int | None = None
    everything: bool = False


@dataclass(frozen=True)
class Alert:
    """An event, and what became of it: all of its deliveries, the oldest first; none until it is routed."""

    head: Entry  # has the event's own facts
    deliveries: tuple[Entry, ...]
    subject: str = ""  # with its secrets; what it is about that is about no task: see subjects()

    @property
    def number(self) -> int:
        return self.head.event_id

    @property
    def entries(self) -> tuple[Entry, ...]:
        """As a list of lines: the event alone where it has no delivery."""
        return self.deliveries or (self.head,)


def search(connection: Connection, sought: Search, limit: int) -> list[Alert]:
    """Newest first, each with all of its deliveries, and with its subject."""
    payload = case((_e.task_id.is_(None), _e.payload), else_=None).label("payload")
    chosen = select(_e.id, payload).where(*_conditions(sought)).order_by(_e.id.desc()).limit(limit)
    rows = connection.execute(chosen).all()
    about = {row.id: _subject(row.payload) for row in rows}
    found = alerts_of(connection, [row.id for row in rows])
    return [replace(alert, subject=about[alert.number]) for alert in found]


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
        yield or_(*(_in_state(state, sought) for state in sought.states))
    elif not sought.everything:
        yield _is_worth_a_look(sought)
    yield from _about(sought)
    yield from _in_window(_e.id, sought)


def _in_window(number: ColumnElement[int], sought: Search) -> Iterator[ColumnElement[bool]]:
    if sought.before_event is not None:
        yield number < sought.before_event
    if sought.after_event is not None:
        yield number > sought.after_event


def _about(sought: Search) -> Iterator[ColumnElement[bool]]:
    """What is sought of the events themselves, whatever became of them."""
    if sought.dag_id:
        yield _e.dag_id == sought.dag_id
    if sought.kind:
        # In a window no index of kinds is to lead SQLite through all events of one kind.
        yield (_e.kind if sought.after_event is None else _e.kind.concat("")) == sought.kind
    if sought.since is not None:
        yield _e.occurred_at >= sought.since


def _in_state(state: str, sought: Search) -> ColumnElement[bool]:
    """Most alerts are delivered, or nobody asked: the newest of these are met soon, event by event.

    Few are in any other state, and ix_alert_delivery_state finds them. What was suppressed is kept, so it may become
    much: it is met event by event as well where there is an end to the events that are looked at.
    """
    match state:
        case Shown.RECORDED:
            return _e.routed_at.is_(None)  # from then on it has a delivery: ix_alert_event_unrouted
        case Shown.NOT_TOLD:
            return _has(sought, _IS_UNTOLD)
        case Shown.DELIVERED:
            return _has(sought, _HAS_CHANNEL, _d.state == state)
        case Shown.SUPPRESSED if sought.after_event is not None:
            return _has(sought, _HAS_CHANNEL, _d.state == state)
        case _:
            return _e.id.in_(select(_d.event_id).where(_HAS_CHANNEL, _d.state == state))


def _has(sought: Search, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether an event has such a delivery. PostgreSQL may read all such deliveries first: so they have the window."""
    window = _in_window(_d.event_id, sought)
    return select(_d.id).where(_d.event_id == _e.id, *window, *conditions).correlate(alert_event).exists()


def _is_worth_a_look(sought: Search) -> ColumnElement[bool]:
    """All but what is no trouble and nobody asked for, such as a retry of a task without an email."""
    return or_(_e.kind.in_(_TO_TELL), not_(_has(sought, _IS_UNTOLD)), _has(sought, _HAS_CHANNEL))


def state_of(entry: Entry) -> Shown:
    """The state as people read it."""
    return shown(entry.state, entry.channel)


@dataclass(frozen=True)
class Window:
    """The alerts that one look goes through: numbers above ``after`` and below ``before``."""

    after: int
    before: int
    has_older: bool  # there are alerts that are older than these


def ends() -> tuple[ScalarSelect[int], ScalarSelect[int]]:
    """The numbers of the oldest and the newest alert, for a statement."""
    oldest = select(_e.id).order_by(_e.id).limit(1).scalar_subquery()
    return oldest, select(_e.id).order_by(_e.id.desc()).limit(1).scalar_subquery()


def window(oldest: int | None, newest: int | None, size: int, before: int | None = None) -> Window:
    """At most ``size`` alerts: the newest, or the newest of those that are older than ``before``."""
    end = (newest or 0) + 1
    end = end if before is None else min(end, before)
    after = max(end - 1 - size, 0)
    return Window(after, end, has_older=oldest is not None and oldest <= after)


def counts(connection: Connection, sought: Search, within: Window) -> dict[Shown, int]:
    """Deliveries by state, whichever is sought, of the alerts that are looked at."""
    query = (
        select(_d.state, _IS_UNTOLD.label("untold"), func.count())
        .where(_d.event_id > within.after, _d.event_id < within.before)
        .group_by(_d.state, "untold")
    )
    if about := list(_about(sought)):
        query = query.join(alert_event, _e.id == _d.event_id).where(*about)
    return {shown(state, "" if untold else "a channel"): count for state, untold, count in connection.execute(query)}


def tally(alert: Alert) -> list[tuple[Shown, int]]:
    """How many of its deliveries are how; what asks for somebody first."""
    found = Counter(map(state_of, alert.entries))
    return [(state, found[state]) for state in MEANINGS if found[state]]


def together(connection: Connection, entries: Iterable[Entry]) -> dict[int, int]:
    """How many other alerts the messages of these deliveries tell of, by the wave."""
    waves = {entry.wave for entry in entries if entry.wave is not None}
    query = select(_d.wave, func.count()).where(_d.wave.in_(waves)).group_by(_d.wave)
    return {row[0]: row[1] - 1 for row in connection.execute(query)} if waves else {}


def subjects(connection: Connection, entries: Iterable[Entry]) -> dict[int, str]:
    """What events are about that are about no task: an alert of Prometheus, a file, a component. By event."""
    ids = {entry.event_id for entry in entries if entry.task_id is None}
    rows = connection.execute(select(_e.id, _e.payload).where(_e.id.in_(ids))) if ids else ()
    found = ((row.id, _subject(row.payload)) for row in rows)
    return {event_id: subject for event_id, subject in found if subject}


def _subject(payload: str | None) -> str:
    event = None if payload is None else decode(payload)
    return (event and event.subject) or ""


def event_of(connection: Connection, event_id: int) -> AlertEvent | None:
    """None where there is none, or this version cannot read it."""
    payload = connection.execute(select(_e.payload).where(_e.id == event_id)).scalar()
    event = None if payload is None else decode(payload)
    return event and msgspec.structs.replace(event, number=event_id)


def alert_of(connection: Connection, event_id: int) -> Alert | None:
    """One alert with all that came of it; None where there is none."""
    return next(iter(alerts_of(connection, [event_id])), None)
