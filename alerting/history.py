"""Looking into the history of alerts: what is sought, what need not be shown, one event and all that came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, not_, or_, select

from alerting import outbox
from alerting.events import AlertEvent, decode
from alerting.kinds import KINDS, EventKind
from alerting.outbox import DeliveryState, Entry
from alerting.tables import alert_delivery, alert_event

UNTOLD: Final = "untold"  # suppressed since nobody asked, and not by a silence or the like
MOST_DELIVERIES: Final = 500

_d, _e = alert_delivery.c, alert_event.c
# Of these somebody ought to be told: troubles, and what somebody asked to be told by name.
_TO_TELL: Final = [kind.value for kind, known in KINDS.items() if known.trouble] + [EventKind.NOTIFIED.value]
# Where nobody is to be told there is one row without a channel. What is held back has the channel that it was for.
_IS_UNTOLD: Final = and_(_d.state == DeliveryState.SUPPRESSED, _d.channel == "")


@dataclass(frozen=True)
class Search:
    """What is sought; nothing said is everything but what nobody asked for. ``state`` may be UNTOLD."""

    state: str = ""
    dag_id: str = ""
    kind: str = ""
    since: datetime | None = None
    before_event: int | None = None
    everything: bool = False


def search(connection: Connection, sought: Search, limit: int) -> list[Entry]:
    """Newest event first."""
    return outbox.listing(
        connection,
        limit=limit,
        states=[sought.state] if sought.state not in ("", UNTOLD, DeliveryState.SUPPRESSED) else [],
        dag_id=sought.dag_id or None,
        before_event=sought.before_event,
        also=list(_conditions(sought)),
    )


def _conditions(sought: Search) -> Iterator[ColumnElement[bool]]:
    match sought.state:
        case "untold":
            yield _IS_UNTOLD
        case DeliveryState.SUPPRESSED:
            yield and_(_d.state == DeliveryState.SUPPRESSED, _d.channel != "")
        case "" if not sought.everything:
            yield is_worth_a_look()
    if sought.kind:
        yield _e.kind == sought.kind
    if sought.since is not None:
        yield _e.occurred_at >= sought.since


def is_worth_a_look() -> ColumnElement[bool]:
    """All but what is no trouble and nobody asked for, such as a retry of a task without an email."""
    return or_(_d.id.is_(None), not_(_IS_UNTOLD), _e.kind.in_(_TO_TELL))


def state_words(entry: Entry) -> str:
    """The state as people read it. That nobody asked to be told is no suppression."""
    if entry.state != DeliveryState.SUPPRESSED or entry.channel:
        return entry.state
    return "not told" if entry.kind in _TO_TELL else "nobody asked"


def counts(connection: Connection) -> dict[str, int]:
    """Deliveries by state, with those that are UNTOLD by themselves."""
    found: dict[str, int] = {}
    for channel, state, count in outbox.counts(connection):
        name = UNTOLD if state == DeliveryState.SUPPRESSED and not channel else state
        found[name] = found.get(name, 0) + count
    return found


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


def deliveries_of(connection: Connection, event_id: int) -> list[Entry]:
    """All that came of one event; the event alone until it is routed, nothing where there is none."""
    return outbox.listing(connection, limit=MOST_DELIVERIES, also=[_e.id == event_id])
