"""Alerts of Prometheus about what Windsock tells by itself: whoever heard of it from Windsock is not told twice.

:data:`TWINS` names the pairs. That somebody is told twice is a nuisance, that nobody is told is a failure; so the alert
of Prometheus is left out only for an address at which Windsock's own message has been accepted, when it is routed:

1. All events of the pair's kinds that are about the same and open must have been accepted there. One that another
   trouble inhibits needs no message of its own where the failure of the same run, or of a task of it, was accepted.
2. In every other case it is told: no own event, its message is on its way, nobody is to be told of it, it is dead, it
   went to others, there are too many to look at. An alert that says that nobody tells anything (no notifier) has no
   twin at all.

Nothing is decided later, so an alert that waits in a group is told, and its end with it. While no notifier lives
nothing is left out either, since it is the notifier that decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import Connection, Select, or_, select

from alerting import addressees
from alerting.database import batches
from alerting.events import AlertEvent, decode
from alerting.kinds import KINDS, EventKind
from alerting.routes import Suppressed, SuppressedBy, Target, hold
from alerting.tables import alert_delivery, alert_event

MOST_EVENTS: Final = 200
_d, _e = alert_delivery.c, alert_event.c
Routed: TypeAlias = tuple[int, AlertEvent, tuple[Target, ...]]  # an event's number, itself, and whom to tell


@dataclass(frozen=True)
class Twin:
    """What of Windsock's own an alert is about.

    ``subject`` is that of the own event, ``{label}`` standing for the alert's labels and a ``*`` at the end for any
    rest, and ``also`` is another one; without them, DAG and task must be the alert's, as far as it names them. ``lead``
    is how much earlier than the alert the own event may have happened: the alert's hold, and some.
    """

    kinds: tuple[EventKind, ...]
    subject: str = ""
    also: str = ""
    cause: str = ""
    lead: timedelta = timedelta(minutes=5)


_COMPONENT: Final = timedelta(minutes=10)
_CHANNEL: Final = Twin((EventKind.DELIVERY_FAILING,), subject="{channel}", lead=timedelta(hours=1))
# What dies, or waits for so long that a channel would have been told of, may be for one address that fails alone.
_CHANNEL_OR_ADDRESS: Final = replace(_CHANNEL, also="{channel} to *")
TWINS: Final[Mapping[str, Twin]] = {
    "WindsockRunFailed": Twin((EventKind.RUN_FAILED, EventKind.TASK_FAILED)),
    "WindsockTaskFailures": Twin((EventKind.TASK_FAILED,)),
    "WindsockTasksLost": Twin((EventKind.TASK_FAILED,), cause="lost"),
    "WindsockRunOverdue": Twin((EventKind.DAG_LATE,)),  # both: a run is due and was not created
    "WindsockSlaMissed": Twin((EventKind.SLA_MISSED,)),
    "WindsockSlaAtRisk": Twin((EventKind.SLA_AT_RISK, EventKind.SLA_MISSED)),  # whoever knows of the miss knows more
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
    "WindsockAlertsDead": _CHANNEL_OR_ADDRESS,
    "WindsockAlertsDelayed": _CHANNEL,
    "WindsockAlertsStuck": _CHANNEL_OR_ADDRESS,
    "WindsockDeliveryFails": _CHANNEL,
}
NO_TWIN: Final[Mapping[str, str]] = {
    "WindsockNotifierHeartbeatMissing": "where no notifier lives, Windsock tells nobody anything",
    "WindsockNoRecentSuccess": "that a DAG has not succeeded for so long is more than that one run failed or was late",
}

# What tells of an own event that is inhibited: what failed of the same run.
_INSTEAD: Final[Mapping[str, str]] = {
    EventKind.TASK_FAILED.value: EventKind.RUN_FAILED.value,
    EventKind.RUN_FAILED.value: EventKind.TASK_FAILED.value,
}


class _About(NamedTuple):
    """What an alert asks of the database; alerts that ask the same are answered by one look."""

    twin: Twin
    dag_id: str | None
    task_id: str | None


class _Event(NamedTuple):
    """An own event that is open."""

    id: int
    kind: str
    dag_id: str | None
    run_id: str | None
    task_id: str | None
    occurred_at: datetime
    payload: str


class _Delivery(NamedTuple):
    """One of its deliveries."""

    event_id: int
    channel: str
    address: str
    state: str
    held_by: str | None


@dataclass(frozen=True)
class _Own:
    """Own events and their deliveries."""

    events: Sequence[_Event] = ()
    deliveries: Mapping[int, Sequence[_Delivery]] = field(default_factory=dict)
    _told: dict[tuple[str, tuple[str, ...]], frozenset[int]] = field(default_factory=dict)

    def told_at(self, target: Target) -> frozenset[int]:
        """The numbers of those that were accepted there."""
        place = (target.channel, target.addresses)
        if place not in self._told:
            self._told[place] = frozenset(key for key, rows in self.deliveries.items() if _is_told(rows, target))
        return self._told[place]

    def is_inhibited(self, event: _Event) -> bool:
        """Whether nobody is told of it because of another trouble."""
        rows = self.deliveries.get(event.id, ())
        return bool(rows) and all(row.held_by == SuppressedBy.INHIBITED.value for row in rows)


def unless_told(connection: Connection, routed: Iterable[Routed]) -> list[Routed]:
    """Events that are being routed: of an alert of Prometheus, the targets that heard of it from Windsock are held."""
    events = list(routed)
    asked: dict[_About, datetime] = {}
    for _, event, _ in events:
        if (about := _about(event)) is not None:
            since = _since(event, about.twin)
            asked[about] = min(since, asked.get(about, since))
    own = {about: _own(connection, about, since) for about, since in asked.items()}
    return [(key, event, _unless_told(event, targets, own)) for key, event, targets in events]


def _about(event: AlertEvent) -> _About | None:
    """None where the alert has no twin, and for every other event."""
    twin = TWINS.get(event.subject or "") if event.kind is EventKind.PROMETHEUS_FIRING else None
    if twin is None:
        return None
    return _About(twin, None, None) if twin.subject else _About(twin, event.dag_id or None, event.task_id or None)


def _since(event: AlertEvent, twin: Twin) -> datetime:
    return (event.started_at or event.occurred_at) - twin.lead


def _own(connection: Connection, about: _About, since: datetime) -> _Own:
    """Nothing where there is too much to look at."""
    found = [_Event(*row) for row in connection.execute(_open(about, since))]
    if len(found) > MOST_EVENTS:
        return _Own()
    return _Own(found, _deliveries(connection, [row.id for row in found]))


def _open(about: _About, since: datetime) -> Select[Any]:
    """The events that it may be about, and what would tell of them instead; in no order, so that no index is walked."""
    kinds = {kind.value for kind in about.twin.kinds}
    kinds |= {_INSTEAD[kind] for kind in kinds if kind in _INSTEAD}
    query = select(_e.id, _e.kind, _e.dag_id, _e.run_id, _e.task_id, _e.occurred_at, _e.payload).where(
        _e.kind.in_(sorted(kinds)), _e.ended_by.is_(None), _e.occurred_at >= since
    )
    if about.dag_id:
        query = query.where(_e.dag_id == about.dag_id)
    if about.task_id:
        query = query.where(or_(_e.task_id == about.task_id, _e.task_id.is_(None)))
    return query.limit(MOST_EVENTS + 1)


def _unless_told(event: AlertEvent, targets: tuple[Target, ...], known: Mapping[_About, _Own]) -> tuple[Target, ...]:
    about = _about(event)
    if about is None:
        return targets
    recent = [row for row in known[about].events if row.occurred_at >= _since(event, about.twin)]
    own = [row for row in recent if _matches(row, about.twin, event)]
    told_by = {target: _tellers(target, own, recent, known[about]) for target in targets if target.held is None}
    return tuple(hold((target,), _why(told_by[target]))[0] if told_by.get(target) else target for target in targets)


def _tellers(target: Target, own: Sequence[_Event], recent: Sequence[_Event], known: _Own) -> Sequence[_Event]:
    """The events whose messages told of all the ``own`` ones there; none where one of them was not told."""
    told = known.told_at(target)
    failed: dict[tuple[str | None, ...], _Event] = {
        (row.kind, row.dag_id, row.run_id): row for row in recent if row.id in told and row.run_id
    }
    tellers: list[_Event] = []
    for row in own:
        instead = failed.get((_INSTEAD.get(row.kind), row.dag_id, row.run_id))
        if row.id in told or row.id in known.told_at(_expected(row, target)):
            tellers.append(row)
        elif instead is not None and known.is_inhibited(row):
            tellers.append(instead)
        else:
            return ()
    return tellers


def _expected(row: _Event, target: Target) -> Target:
    """Who is to have heard of this: an address is not told that it fails itself, and the others are enough."""
    _, failing = addressees.parts(_subject(row)) if row.kind == EventKind.DELIVERY_FAILING else ("", None)
    others = tuple(address for address in target.addresses if address != failing)
    return replace(target, addresses=others) if others else target


def _matches(row: _Event, twin: Twin, event: AlertEvent) -> bool:
    if row.kind not in [kind.value for kind in twin.kinds]:
        return False
    if not twin.subject and not twin.cause:
        return True
    own = decode(row.payload)
    if own is None:
        return True  # it may be about the same, so it must be told, too
    if twin.cause and own.cause != twin.cause:
        return False
    patterns = [pattern for pattern in (twin.subject, twin.also) if pattern]
    return not patterns or any(_is_about(own.subject or "", pattern, dict(event.labels)) for pattern in patterns)


def _is_about(subject: str, pattern: str, labels: Mapping[str, str]) -> bool:
    wanted = pattern
    for name, value in labels.items():
        wanted = wanted.replace(f"{{{name}}}", value.replace("_", "-") if name == "component" else value)
    return subject.startswith(wanted[:-1]) if wanted.endswith("*") else subject == wanted


def _deliveries(connection: Connection, event_ids: Sequence[int]) -> dict[int, list[_Delivery]]:
    found: dict[int, list[_Delivery]] = {}
    for batch in batches(event_ids):
        query = select(_d.event_id, _d.channel, _d.address, _d.state, _d.held_by).where(_d.event_id.in_(batch))
        for row in connection.execute(query):
            found.setdefault(row.event_id, []).append(_Delivery(*row))
    return found


def _is_told(rows: Iterable[_Delivery], target: Target) -> bool:
    """Whether all these addresses accepted an event, and nothing about it is dead, suppressed or on its way there."""
    there = [row for row in rows if row.channel == target.channel]
    if any(_shares(row, target) for row in there if row.state != "delivered"):
        return False
    accepted = [row for row in there if row.state == "delivered"]
    people = {address for row in accepted for address in addressees.known(row.address)}
    return bool(accepted) and people >= set(target.addresses)


def _shares(row: _Delivery, target: Target) -> bool:
    """Whether both go to the same person, or to the same room."""
    return not target.addresses or not set(target.addresses).isdisjoint(addressees.known(row.address))


def _why(tellers: Sequence[_Event]) -> Suppressed:
    told = max(tellers, key=lambda row: row.id)
    about = ".".join(part for part in (told.dag_id, told.task_id) if part) or _subject(told)
    named = f"{KINDS[EventKind(told.kind)].short}{f' ({about})' if about else ''}, alert {told.id}"
    return Suppressed(f"Windsock itself told of this: {named}", SuppressedBy.TOLD_ITSELF)


def _subject(row: _Event) -> str:
    event = decode(row.payload)
    return "" if event is None else event.subject or ""
