"""What Alertmanager's webhook brings: alerts of Prometheus, as events for the same outbox.

Alertmanager repeats what lasts, and a cluster of it may send everything several times. So an event is known by the
alert's fingerprint and its beginning (``AlertEvent.dedup_key``): however often a firing alert is sent, it is one event,
and its end is another one. Where Alertmanager lost touch with Prometheus it calls alerts resolved that are not, and
they come again with the beginning that they had: what fires after its end was recorded is a new episode.

The Watchdog, which always fires, is no event: see ``watchdog``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from sqlalchemy import Connection

from alerting import outbox, watchdog
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.kinds import SEVERITIES, EventKind, Severity

VERSION: Final = "4"  # of the payload, since Alertmanager 0.13
WATCHDOGS: Final = frozenset({"WindsockWatchdog", "Watchdog"})  # ours, and that of the kube-prometheus rules
_SEVERITY_OF: Final[Mapping[str, Severity]] = {name: name for name in SEVERITIES} | {"none": "info", "page": "critical"}
_LINKS: Final = ("runbook_url", "dashboard_url", "panel_url")  # annotations
_NAME_LIMIT: Final = 250
_TEXT_LIMIT: Final = 10_000
_URL_LIMIT: Final = 2_000
_MOST_LABELS: Final = 64
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_MOST_EPISODES: Final = 100


class PayloadError(AlertingError):
    """What was sent is nothing that Alertmanager's webhook sends."""


class Alert(msgspec.Struct, frozen=True, rename="camel"):
    """One alert of the payload. Times are aware; ``ends_at`` of one that fires is of no use."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    starts_at: datetime
    ends_at: datetime | None = None
    annotations: dict[str, str] = {}
    generator_url: str = msgspec.field(default="", name="generatorURL")
    fingerprint: str = ""

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "").strip()

    @property
    def is_watchdog(self) -> bool:
        return self.name in WATCHDOGS


class Payload(msgspec.Struct, frozen=True, rename="camel"):
    """The body of one call. What newer versions add to it is passed over."""

    version: str
    alerts: tuple[Alert, ...]


@dataclass(frozen=True)
class Received:
    """What one call brought."""

    alerts: int
    new: int  # events that were not recorded before
    watchdog: bool  # a Watchdog that fires was among them


def read(body: bytes) -> Payload:
    """Raises PayloadError with one sentence."""
    try:
        payload = msgspec.json.decode(body, type=Payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PayloadError(f"this is not what Alertmanager's webhook sends: {error}") from error
    if payload.version != VERSION:
        raise PayloadError(f"the payload has version {payload.version!r}; only version {VERSION!r} is understood")
    for position, alert in enumerate(payload.alerts):
        if not alert.name:
            raise PayloadError(f"alert {position} has no label alertname")
        if alert.starts_at.tzinfo is None:
            raise PayloadError(f"alert {position} ({alert.name}): startsAt has no time zone")
    return payload


def receive(connection: Connection, now: datetime, payload: Payload) -> Received:
    """Records what is new of it, in the caller's transaction."""
    alive = any(alert.is_watchdog and alert.status == "firing" for alert in payload.alerts)
    if alive:
        watchdog.hear(connection, now)
    events = [event_of(alert, now) for alert in payload.alerts if not alert.is_watchdog]
    return Received(len(payload.alerts), outbox.record(connection, _numbered(connection, events)), alive)


def _numbered(connection: Connection, events: Sequence[AlertEvent]) -> list[AlertEvent]:
    """Each with the number of its episode, counted among those with the same fingerprint and beginning."""
    numbered = {event.dedup_key: event for event in events}
    open_keys = set(numbered)
    for number in range(2, _MOST_EPISODES + 1):
        later = {key: _at(numbered[key], number) for key in open_keys}
        signs = {key: _sign_of_later(numbered[key], later[key]) for key in open_keys}
        known = outbox.known(connection, signs.values())
        open_keys = {key for key in open_keys if signs[key] in known}
        if not open_keys:
            break
        numbered |= {key: later[key] for key in open_keys}
    return list(numbered.values())


def _at(event: AlertEvent, number: int) -> AlertEvent:
    fingerprint = (event.episode or "").partition("#")[0]
    return msgspec.structs.replace(event, episode=f"{fingerprint}#{number}")


def _sign_of_later(event: AlertEvent, later: AlertEvent) -> str:
    """The key of the event whose being there shows that ``event`` belongs to the next episode.

    What fires does where its end was recorded already; an end does where the alert has fired once more.
    """
    if event.kind is EventKind.PROMETHEUS_FIRING:
        return msgspec.structs.replace(event, kind=EventKind.PROMETHEUS_RESOLVED).dedup_key
    return msgspec.structs.replace(later, kind=EventKind.PROMETHEUS_FIRING).dedup_key


def event_of(alert: Alert, now: datetime) -> AlertEvent:
    """The event of one alert. It happened at the latest now, whatever the sender's clock says."""
    fires = alert.status == "firing"
    starts_at = _plausible(alert.starts_at)
    ended_at = None if fires or alert.ends_at is None else min(_plausible(_aware(alert.ends_at)), now)
    return AlertEvent(
        kind=EventKind.PROMETHEUS_FIRING if fires else EventKind.PROMETHEUS_RESOLVED,
        occurred_at=ended_at or min(starts_at, now),
        started_at=starts_at,
        ended_at=ended_at,
        subject=alert.name[:_NAME_LIMIT],
        dag_id=_named(alert, "dag_id"),
        task_id=_named(alert, "task_id"),
        pool=_named(alert, "pool_name"),
        severity=severity_of(alert.labels) if fires else "info",
        summary=_summary(alert, fires),
        error=(alert.annotations.get("description", "")[:_TEXT_LIMIT] or None) if fires else None,
        url=_url(alert.generator_url),
        labels=(*sorted(alert.labels.items())[:_MOST_LABELS], *_links(alert)),
        episode=alert.fingerprint or repr(sorted(alert.labels.items())),
    )


def severity_of(labels: Mapping[str, str]) -> Severity | None:
    """What the label of Prometheus means here; None where it says nothing of the kind."""
    return _SEVERITY_OF.get(labels.get("severity", "").lower())


def described_by(labels: Mapping[str, str]) -> dict[str, str]:
    """What these labels of Prometheus say in the labels of alerting.yml, as ``event_of`` has it."""
    names = {"subject": "alertname", "dag": "dag_id", "task": "task_id", "pool": "pool_name"}
    found = {ours: labels[theirs] for ours, theirs in names.items() if labels.get(theirs)}
    severity = severity_of(labels)
    return found if severity is None else found | {"severity": severity}


def _plausible(moment: datetime) -> datetime:
    """The zero time of Go, and whatever else is at the ends of the calendar, leaves no room to calculate with."""
    return min(max(moment, _EARLIEST), _LATEST)


def _named(alert: Alert, label: str) -> str | None:
    return alert.labels.get(label, "")[:_NAME_LIMIT] or None


def _summary(alert: Alert, fires: bool) -> str:
    told = (alert.annotations.get("summary") or alert.annotations.get("message", ""))[:_TEXT_LIMIT].strip()
    if fires:
        return told or f"{alert.name} fires."
    return f"No longer so: {told}" if told else f"{alert.name} fires no more."


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _links(alert: Alert) -> Iterator[tuple[str, str]]:
    for name in _LINKS:
        if url := _url(alert.annotations.get(name)):
            yield name, url


def _url(text: str | None) -> str | None:
    """Only what a browser opens as a page: it becomes a link."""
    return text if text and text.startswith(("http://", "https://")) and len(text) <= _URL_LIMIT else None
