"""Alerts of Prometheus about what Windsock tells by itself: whoever heard of it from Windsock is not told twice.

:data:`TWINS` names the pairs. That somebody is told twice is a nuisance, that nobody is told is a failure; so the alert
of Prometheus is left out only for an address at which Windsock's own message has been accepted:

1. All events of the pair's kinds that are about the same and open must be told there, and one at least. One that
   another told event explains, such as a run whose tasks are told, needs no message of its own.
2. Where own messages are still on their way to the same address, the alert waits for them in a group, PATIENCE at most.
   By then they have been accepted, or the alert is told.
3. In every other case it is told: no own event, nobody is to be told of it, it is dead, it went to others, there are
   too many to look at. An alert that says that nobody tells anything (no notifier) has no twin at all.

While no notifier lives nothing is left out either, since it is the notifier that decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, or_, select

from alerting.database import BATCH
from alerting.events import AlertEvent, decode
from alerting.kinds import KINDS, EventKind
from alerting.routes import Group, Suppressed, SuppressedBy, Target, hold
from alerting.tables import alert_delivery, alert_event

PATIENCE: Final = timedelta(minutes=5)
RECHECK: Final = timedelta(seconds=15)
MOST_EVENTS: Final = 200
_ON_THE_WAY: Final = ("pending", "sending", "waiting")
_d, _e = alert_delivery.c, alert_event.c


@dataclass(frozen=True)
class Twin:
    """What of Windsock's own an alert is about.

    ``subject`` is that of the own event, ``{label}`` standing for the alert's labels and a ``*`` at the end for any
    rest; where it is empty, DAG and task must be the alert's, as far as it names them. ``lead`` is how much earlier
    than the alert the own event may have happened: the alert's hold, and some.
    """

    kinds: tuple[EventKind, ...]
    subject: str = ""
    cause: str = ""
    lead: timedelta = timedelta(minutes=5)


_COMPONENT: Final = timedelta(minutes=10)
_CHANNEL: Final = Twin((EventKind.DELIVERY_FAILING,), subject="{channel}", lead=timedelta(hours=1))
TWINS: Final[Mapping[str, Twin]] = {
    "WindsockRunFailed": Twin((EventKind.RUN_FAILED, EventKind.TASK_FAILED)),
    "WindsockTaskFailures": Twin((EventKind.TASK_FAILED,)),
    "WindsockTasksLost": Twin((EventKind.TASK_FAILED,), cause="lost"),
    "WindsockRunOverdue": Twin((EventKind.DAG_LATE,)),  # both: a run is due and was not created
    "WindsockSlaMissed": Twin((EventKind.SLA_MISSED,)),
    "WindsockSlaAtRisk": Twin((EventKind.SLA_AT_RISK,)),
    "WindsockImportErrors": Twin((EventKind.DAG_BROKEN,), lead=timedelta(days=1)),
    "WindsockCallbacksFail": Twin((EventKind.CALLBACK_FAILED,)),
    "WindsockSchedulerHeartbeatMissing": Twin((EventKind.COMPONENT_DOWN,), subject="scheduler on *", lead=_COMPONENT),
    "WindsockDagProcessorHeartbeatMissing": Twin(
        (EventKind.COMPONENT_DOWN,), subject="dag-processor on *", lead=_COMPONENT
    ),
    "WindsockLogShipperHeartbeatMissing": Twin(
        (EventKind.COMPONENT_DOWN,), subject="log-shipper on *", lead=_COMPONENT
    ),
    "WindsockProcessSilent": Twin((EventKind.COMPONENT_DOWN,), subject="{component} on {hostname}", lead=_COMPONENT),
    "WindsockAlertsDead": _CHANNEL,
    "WindsockAlertsDelayed": _CHANNEL,
    "WindsockAlertsStuck": _CHANNEL,
    "WindsockDeliveryFails": _CHANNEL,
}
NO_TWIN: Final[Mapping[str, str]] = {
    "WindsockNotifierHeartbeatMissing": "where no notifier lives, Windsock tells nobody anything",
    "WindsockNoRecentSuccess": "that a DAG has not succeeded for so long is more than that one run failed or was late",
}


class _Fate(Enum):
    """What became of own messages at one address."""

    TOLD = "told"
    ON_THE_WAY = "on the way"
    UNTOLD = "untold"


@dataclass(frozen=True)
class Waiting:
    """An alert of Prometheus, or the end of one, that waits in a group to be told at one address."""

    id: int  # of the delivery
    event_id: int
    event: AlertEvent
    channel: str
    address: str  # as it is stored
    since: datetime


@dataclass(frozen=True)
class Looked:
    """Which of them are not told, and which wait longer."""

    held: Mapping[int, Suppressed]
    patient: Collection[int]


class _Event(NamedTuple):
    """An own event."""

    id: int
    kind: str
    dag_id: str | None
    task_id: str | None
    routed_at: datetime | None
    payload: str


class _Delivery(NamedTuple):
    """One of its deliveries."""

    id: int
    event_id: int
    channel: str
    address: str
    state: str
    held_by: str | None


@dataclass(frozen=True)
class _Own:
    """The own events that an alert is about, and their deliveries."""

    events: Sequence[_Event]  # newest first
    deliveries: Mapping[int, Sequence[_Delivery]]

    @property
    def why(self) -> Suppressed:
        newest = next(event for event in self.events if self._has_message(event))
        about = ".".join(part for part in (newest.dag_id, newest.task_id) if part) or _subject(newest) or ""
        what = KINDS[EventKind(newest.kind)].short
        named = f"{what}{f' ({about})' if about else ''}, alert {newest.id}"
        return Suppressed(f"Windsock itself told of this: {named}", SuppressedBy.TOLD_ITSELF)

    def _has_message(self, event: _Event) -> bool:
        """Not one that another event explains."""
        return any(row.held_by is None for row in self.deliveries.get(event.id, ()))


def unless_told(
    connection: Connection, event_id: int, event: AlertEvent | None, targets: tuple[Target, ...]
) -> tuple[Target, ...]:
    """The targets of an event that is being routed: those that heard of it from Windsock are held back."""
    own = None if event is None else _own(connection, event_id, event)
    if own is None or event is None:
        return targets
    return tuple(_routed(target, event, own) for target in targets)


def _routed(target: Target, event: AlertEvent, own: _Own) -> Target:
    fate = _fate(own, target.channel, target.addresses)
    if target.held is not None or fate is _Fate.UNTOLD:
        return target
    if fate is _Fate.TOLD:
        return hold((target,), own.why)[0]
    labels = (
        ("told", "unless Windsock itself tells it"),
        ("subject", event.subject or ""),
        ("dag", event.dag_id or ""),
    )
    return target if target.group else replace(target, group=Group(target.receiver or "", labels, RECHECK, RECHECK))


def look(connection: Connection, now: datetime, waiting: Sequence[Waiting], with_us: Collection[int]) -> Looked:
    """Looks again at what waited, when its message is formed; ``with_us`` are the deliveries that the message tells."""
    held: dict[int, Suppressed] = {}
    patient: set[int] = set()
    known: dict[int, _Own | None] = {}
    for one in waiting:
        if one.event.kind is not EventKind.PROMETHEUS_FIRING:
            continue
        if one.event_id not in known:
            known[one.event_id] = _own(connection, one.event_id, one.event)
        own = known[one.event_id]
        fate = _Fate.UNTOLD if own is None else _fate(own, one.channel, _addresses(one.address), with_us)
        if own is not None and fate is _Fate.TOLD:
            held[one.id] = own.why
        elif fate is _Fate.ON_THE_WAY and now - one.since < PATIENCE:
            patient.add(one.id)
    _with_their_ends(waiting, held, patient)
    return Looked(held, patient)


def _with_their_ends(waiting: Sequence[Waiting], held: dict[int, Suppressed], patient: set[int]) -> None:
    """An end goes with its trouble: nobody hears of it who was not told what it ends."""
    begun = {_place(one): one.id for one in waiting if one.event.kind is EventKind.PROMETHEUS_FIRING}
    for one in waiting:
        if one.event.kind is EventKind.PROMETHEUS_RESOLVED and (trouble := begun.get(_place(one))) is not None:
            if trouble in held:
                held[one.id] = held[trouble]
            if trouble in patient:
                patient.add(one.id)


def _place(one: Waiting) -> tuple[str, str, str]:
    return one.event.episode_key, one.channel, one.address


def _own(connection: Connection, event_id: int, event: AlertEvent) -> _Own | None:
    """None where the alert has no twin, or nothing of the kind has happened, or too much."""
    twin = TWINS.get(event.subject or "") if event.kind is EventKind.PROMETHEUS_FIRING else None
    if twin is None:
        return None
    query = (
        select(_e.id, _e.kind, _e.dag_id, _e.task_id, _e.routed_at, _e.payload)
        .where(*_about_the_same(twin, event_id, event))
        .order_by(_e.id.desc())
        .limit(MOST_EVENTS + 1)
    )
    found = [_Event(*row) for row in connection.execute(query)]
    events = [row for row in found if _matches(row, twin, event)]
    if not events or len(found) > MOST_EVENTS:
        return None
    return _Own(events, _deliveries(connection, [row.id for row in events]))


def _about_the_same(twin: Twin, event_id: int, event: AlertEvent) -> Iterable[ColumnElement[bool]]:
    """What the database can tell. What ended after the alert had come was told while it lasted."""
    yield _e.kind.in_([kind.value for kind in twin.kinds])
    yield or_(_e.ended_by.is_(None), _e.ended_by > event_id)
    yield _e.occurred_at >= (event.started_at or event.occurred_at) - twin.lead
    if not twin.subject:
        if event.dag_id:
            yield _e.dag_id == event.dag_id
        if event.task_id:
            yield _e.task_id == event.task_id


def _matches(row: _Event, twin: Twin, event: AlertEvent) -> bool:
    if not twin.subject and not twin.cause:
        return True
    own = decode(row.payload)
    if own is None:
        return True  # it may be about the same, so it must be told, too
    if twin.cause and own.cause != twin.cause:
        return False
    return not twin.subject or _is_about(own.subject or "", twin.subject, dict(event.labels))


def _is_about(subject: str, pattern: str, labels: Mapping[str, str]) -> bool:
    wanted = pattern
    for name, value in labels.items():
        wanted = wanted.replace(f"{{{name}}}", value.replace("_", "-") if name == "component" else value)
    return subject.startswith(wanted[:-1]) if wanted.endswith("*") else subject == wanted


def _subject(row: _Event) -> str | None:
    event = decode(row.payload)
    return None if event is None else event.subject


def _deliveries(connection: Connection, event_ids: Sequence[int]) -> dict[int, list[_Delivery]]:
    found: dict[int, list[_Delivery]] = {}
    for start in range(0, len(event_ids), BATCH):
        query = select(_d.id, _d.event_id, _d.channel, _d.address, _d.state, _d.held_by).where(
            _d.event_id.in_(event_ids[start : start + BATCH])
        )
        for row in connection.execute(query):
            found.setdefault(row.event_id, []).append(_Delivery(*row))
    return found


def _fate(own: _Own, channel: str, addresses: Iterable[str], with_us: Collection[int] = ()) -> _Fate:
    """Of all these events at one address: the worst, and UNTOLD where there is no message at all."""
    fates = [
        _fate_of(row, own.deliveries.get(row.id, ()), channel, frozenset(addresses), with_us) for row in own.events
    ]
    there = [fate for fate in fates if fate is not None]
    for fate in (_Fate.UNTOLD, _Fate.ON_THE_WAY):
        if fate in there:
            return fate
    return _Fate.TOLD if there else _Fate.UNTOLD


def _fate_of(
    event: _Event, rows: Sequence[_Delivery], channel: str, addresses: frozenset[str], with_us: Collection[int]
) -> _Fate | None:
    """None where another event that is told explains this one."""
    if event.routed_at is None:
        return _Fate.ON_THE_WAY
    here = [row for row in rows if row.channel == channel]
    failed = _all_addresses(row for row in here if row.state in ("dead", "suppressed"))
    coming = [row for row in here if row.state in _ON_THE_WAY and row.id not in with_us]
    told = [row for row in here if row.state == "delivered" or row.id in with_us]
    if told and addresses <= _all_addresses(told) - failed - _all_addresses(coming):
        return _Fate.TOLD
    if coming and addresses <= (_all_addresses(told) | _all_addresses(coming)) - failed:
        return _Fate.ON_THE_WAY
    explained = bool(rows) and all(row.held_by == SuppressedBy.INHIBITED.value for row in rows)
    return None if explained else _Fate.UNTOLD


def _all_addresses(rows: Iterable[_Delivery]) -> frozenset[str]:
    return frozenset(address for row in rows for address in _addresses(row.address))


def _addresses(stored: str) -> tuple[str, ...]:
    return msgspec.json.decode(stored or "[]", type=tuple[str, ...])
