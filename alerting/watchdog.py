"""The Watchdog of Prometheus: an alert that always fires, so that its absence shows that the way to us is broken.

One row remembers when it was last heard of (``alerting.alertmanager`` writes that). Whoever looks and finds it too old
marks the row as missed, and in the same transaction records that this is so; whoever hears of it again takes the mark
away, and records that. Both changes are guarded by the mark, so of several who see the same only one tells.

Several Prometheus have one row: this is about the way from there to here, and one that arrives shows that there is one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, select, update

from alerting import outbox
from alerting.database import insert_new
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.tables import alert_watchdog

NAME: Final = "prometheus"
SUBJECT: Final = "Prometheus/Alertmanager (Watchdog)"
_w: Final = alert_watchdog.c
_CHECK: Final = (
    "Until it comes again, alerts of Prometheus may reach nobody. Check that Prometheus and Alertmanager run, and "
    "whether Alertmanager's log says why it cannot call /api/v1/alertmanager."
)


def hear(connection: Connection, now: datetime) -> bool:
    """The Watchdog has come; whether it was missed until now."""
    connection.execute(insert_new(connection, alert_watchdog, "name").values({"name": NAME, "heard_at": now}))
    back = update(alert_watchdog).where(_w.name == NAME, _w.missed_at.is_not(None)).values(heard_at=now, missed_at=None)
    if connection.execute(back).rowcount == 1:
        outbox.record(connection, [_event(EventKind.COMPONENT_UP, now, "The Watchdog of Prometheus has come again.")])
        return True
    connection.execute(update(alert_watchdog).where(_w.name == NAME, _w.heard_at < now).values(heard_at=now))
    return False


def expect(connection: Connection, now: datetime) -> None:
    """From now on it is waited for, though none was received yet."""
    if connection.execute(select(_w.name).where(_w.name == NAME)).first() is None:
        connection.execute(insert_new(connection, alert_watchdog, "name").values({"name": NAME, "heard_at": now}))


def miss(connection: Connection, now: datetime, timeout: timedelta, since: datetime) -> bool:
    """Tells its absence where it is waited for and has not come for so long; whether this call was the one to tell.

    ``since`` is when this process began to look: what was not heard while everything stood still is not missed.
    """
    latest = now - timeout
    if since > latest:
        return False
    row = connection.execute(select(_w.heard_at).where(*_overdue(latest))).first()
    if row is None:
        return False
    absent = update(alert_watchdog).where(*_overdue(latest)).values(missed_at=now)
    if connection.execute(absent).rowcount != 1:
        return False
    minutes = max(1, round((now - row.heard_at).total_seconds() / 60))
    summary = f"Watchdog missed: the alert that always fires has not come for {minutes} min. {_CHECK}"
    outbox.record(connection, [_event(EventKind.COMPONENT_DOWN, now, summary)])
    return True


def _overdue(latest: datetime) -> tuple[ColumnElement[bool], ...]:
    return (_w.name == NAME, _w.heard_at <= latest, _w.missed_at.is_(None))


def _event(kind: EventKind, now: datetime, summary: str) -> AlertEvent:
    return AlertEvent(kind=kind, occurred_at=now, subject=SUBJECT, summary=summary)
