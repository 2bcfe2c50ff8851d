"""Who watches the watchman: a heartbeat that goes out while all is well, and the Watchdog that must come in.

The notifier does both, since whoever is told of nothing must be able to trust that there is nothing. The heartbeat to
a dead-man's switch is sent by the process that delivers, after it has read the metastore, and only while

1. the deliverer turns: a thread that hangs is a process that lives and delivers nothing;
2. a scheduler has shown a heartbeat of late;
3. nobody has waited for an alert for too long.

Otherwise it is withheld, and who is at the other end tells people without our help.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from string import digits
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from alerting import watchdog
from alerting.clock import database_now
from alerting.heartbeat import Heartbeat, oldest_untold
from alerting.meters import Meter
from alerting.secrets import FROM_ENVIRONMENT
from engine.metastore.errors import MetastoreError
from engine.metastore.states import ProcessKind
from engine.metastore.tables import Process

if TYPE_CHECKING:
    from engine.config import Settings
    from engine.metastore.store import Store

log = logging.getLogger(__name__)

WATCHDOG_SECONDS: Final = 10.0  # between two looks at it
TURN_LIMIT_SECONDS: Final = 60.0  # the deliverer turns every two seconds at least

_WITHOUT_DIGITS: Final = str.maketrans("", "", digits)  # since when, and for how long, is no change

Outcome = Literal["sent", "failed", "withheld"]


@dataclass(frozen=True)
class Limits:
    """What still counts as well."""

    scheduler: timedelta  # age of its last heartbeat
    outbox: timedelta  # age of the oldest alert that somebody waits for
    turn_seconds: float = TURN_LIMIT_SECONDS


class DeadMansSwitch:
    """Sends the heartbeat, or withholds it. ``heartbeat`` is None where its URL is not to be had."""

    def __init__(self, store: Store, meter: Meter, heartbeat: Heartbeat | None, limits: Limits) -> None:
        self._store = store
        self._meter = meter
        self._heartbeat = heartbeat
        self._limits = limits
        self._turned_at = time.monotonic()
        self._told: str | None = None

    def turned(self) -> None:
        """The deliverer has made a turn."""
        self._turned_at = time.monotonic()

    def beat(self) -> Outcome:
        """Sends one, if all is well; what has changed since the last one is logged once."""
        trouble = self._trouble()
        if trouble is not None:
            return self._settle("withheld", f"the heartbeat to the dead-man's switch is withheld: {trouble}")
        reason = self._heartbeat.send() if self._heartbeat else "its URL is not set"
        if reason is not None:
            return self._settle("failed", f"the heartbeat to the dead-man's switch could not be sent: {reason}")
        return self._settle("sent", None)

    def _settle(self, outcome: Outcome, told: str | None) -> Outcome:
        self._meter.incr("alerts.heartbeats", outcome=outcome)
        kind = told and told.translate(_WITHOUT_DIGITS)
        if told and kind != self._told:
            log.warning("%s", told)
        elif self._told and not told:
            log.info("the heartbeat to the dead-man's switch is sent again")
        self._told = kind
        return outcome

    def _trouble(self) -> str | None:
        still = time.monotonic() - self._turned_at
        if still > self._limits.turn_seconds:
            return f"the deliverer has not turned for {still:.0f} s"
        try:
            with self._store.read() as connection:
                return _trouble_in(connection, self._limits)
        except (SQLAlchemyError, MetastoreError) as error:
            return f"the metastore cannot be read ({type(error).__name__})"


def _trouble_in(connection: Connection, limits: Limits) -> str | None:
    now = database_now(connection)
    living = select(func.max(Process.heartbeat_at)).where(
        Process.kind == ProcessKind.SCHEDULER, Process.ended_at.is_(None)
    )
    heard_at = connection.execute(living).scalar()
    if heard_at is None or now - heard_at > limits.scheduler:
        return "no scheduler is at work" if heard_at is None else f"no scheduler was heard of since {heard_at:%H:%M:%S}"
    oldest = oldest_untold(connection)
    if oldest is not None and now - oldest > limits.outbox:
        return f"somebody has waited for an alert since {oldest:%Y-%m-%d %H:%M:%S} UTC"
    return None


class Watchman:
    """The notifier's thread for both."""

    def __init__(self, settings: Settings, store: Store, meter: Meter) -> None:
        alerting = settings.alerting
        self._store = store
        self._required = alerting.watchdog_required
        self._timeout = timedelta(seconds=alerting.watchdog_timeout)
        self._interval = alerting.heartbeat_interval
        self._since: datetime | None = None
        limits = Limits(
            timedelta(seconds=settings.scheduler.scheduler_health_check_threshold),
            timedelta(seconds=alerting.heartbeat_outbox_age),
        )
        self._switch: DeadMansSwitch | None = None
        if alerting.heartbeat_url:
            url = heartbeat_url(alerting.heartbeat_url, os.environ)
            heartbeat = Heartbeat(url, alerting.heartbeat_method) if url else None
            self._switch = DeadMansSwitch(store, meter, heartbeat, limits)

    def turned(self) -> None:
        """The deliverer has made a turn."""
        if self._switch is not None:
            self._switch.turned()

    def run(self, stop: threading.Event) -> None:
        """Until ``stop`` is set."""
        beat_due = watch_due = time.monotonic()
        while not stop.is_set():
            if time.monotonic() >= watch_due:
                self._look_for_the_watchdog()
                watch_due = time.monotonic() + min(WATCHDOG_SECONDS, self._timeout.total_seconds())
            if self._switch is not None and time.monotonic() >= beat_due:
                beat_due = time.monotonic() + self._interval
                self._switch.beat()
            due = watch_due if self._switch is None else min(watch_due, beat_due)
            stop.wait(max(0.0, due - time.monotonic()))

    def _look_for_the_watchdog(self) -> None:
        try:
            if self._store.run(lambda tx: self._missed(tx.connection, tx.now)):
                log.warning("the Watchdog of Prometheus is missed")
                self._store.wake("notifier")
        except (SQLAlchemyError, MetastoreError) as error:
            log.warning("the Watchdog cannot be looked for: %s", str(error).partition("\n")[0])

    def _missed(self, connection: Connection, now: datetime) -> bool:
        if self._since is None:
            self._since = now
            if self._required:
                watchdog.expect(connection, now)
        return watchdog.miss(connection, now, self._timeout, self._since)


def heartbeat_url(setting: str, environ: Mapping[str, str]) -> str:
    """The URL itself, or what the environment has under the name; empty, which is logged, where it has nothing."""
    if not setting.startswith(FROM_ENVIRONMENT):
        return setting
    name = setting.removeprefix(FROM_ENVIRONMENT)
    if not environ.get(name):
        log.error("alerting.heartbeat_url: the environment variable %s is not set where the notifier was started", name)
    return environ.get(name, "").strip()
