"""The deliverer: from recorded events to accepted messages. See the package's docstring for the protocol."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, assert_never

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from alerting import groups, outbox
from alerting.channels import Channel, Delivered, Failure, Message, Outcome, Permanent, Retry
from alerting.database import Result, transact
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.lanes import Lane, Worker
from alerting.meters import Meter, NoMeter
from alerting.outbox import Lease, Refusal
from alerting.pace import backoff
from alerting.render import Renderer
from alerting.routes import Plan, SuppressedBy

log = logging.getLogger(__name__)

ROUTE_BATCH: Final = 500
FLUSH_BATCH: Final = 50  # waves in one turn: what was recorded meanwhile is to be routed, too
POLL_SECONDS: Final = 2.0  # without a wake-up; with one, nothing waits for it
GAUGE_SECONDS: Final = 10.0
CLOSING_SECONDS: Final = 10.0
DATABASE_PAUSE_SECONDS: Final = 1.0
HARD_LIMIT: Final = 0.75  # of the lease: later than this, somebody else might send it too


class Deliverer:
    """Delivers what the outbox holds. Any number may run at once, in one process or on many machines.

    ``engine`` must begin write transactions as such (see ``database.connect``); ``channels`` are the receivers that
    ``plan`` names, and mail unless it is off. A process killed at any moment loses nothing: what it held is taken
    again after ``lease_for``.
    """

    def __init__(
        self,
        engine: Engine,
        channels: Sequence[Channel],
        renderer: Renderer,
        plan: Plan,
        *,
        lease_for: timedelta = timedelta(seconds=60),
        meter: Meter | None = None,
        poll_seconds: float = POLL_SECONDS,
        holder: str = "",
    ) -> None:
        _require_channels(plan, channels)
        self._engine = engine
        self._renderer = renderer
        self._plan = plan
        self._lease_for = lease_for
        self._meter: Meter = meter or NoMeter()
        self._poll_seconds = poll_seconds
        self._holder = holder
        self._lanes = {channel.name: self._lane(channel) for channel in channels}
        self._names = tuple(self._lanes)
        self._gauges_due = 0.0
        self._flush_due = (
            0.0  # monotonic; where no file groups anything, groups of an earlier one are looked for rarely
        )
        self._news: tuple[Sequence[Channel], Plan] | None = None

    def _lane(self, channel: Channel) -> Lane:
        return Lane(channel, self.deliver_next, self._lease_for.total_seconds() * HARD_LIMIT)

    def reconfigure(self, channels: Sequence[Channel], plan: Plan) -> None:
        """From the next turn on, deliver by this plan. A channel that is the same object keeps what it is about."""
        _require_channels(plan, channels)
        self._news = (channels, plan)

    def _adopt(self, channels: Sequence[Channel], plan: Plan) -> None:
        kept = {name: lane for name, lane in self._lanes.items() if lane.channel in channels}
        fresh = {channel.name: self._lane(channel) for channel in channels if channel.name not in kept}
        for name in self._lanes.keys() - kept.keys():
            self._lanes[name].close(0.0)  # its threads end after the message that each has under way
        for lane in fresh.values():
            lane.start()
        self._lanes, self._plan = kept | fresh, plan
        self._names = tuple(self._lanes)

    def run(self, wait: Callable[[float], bool], stop: threading.Event) -> None:
        """Delivers until ``stop`` is set. ``wait(seconds)`` returns early when something was recorded, or on stop."""
        for lane in self._lanes.values():
            lane.start()
        try:
            while not stop.is_set():
                wait(self._turn())
        finally:
            deadline = time.monotonic() + CLOSING_SECONDS
            for lane in self._lanes.values():
                lane.close(max(0.0, deadline - time.monotonic()))

    def _turn(self) -> float:
        """Routes what is new and wakes the lanes that have work; returns how long to wait for the next turn."""
        if self._news is not None:
            self._adopt(*self._news)
            self._news = None
        for lane in self._lanes.values():
            lane.replace_stuck()
        try:
            return min(self._route(), self._flush())
        except SQLAlchemyError as error:
            log.warning("the outbox cannot be read, trying again: %s", _first_line(error))
            return DATABASE_PAUSE_SECONDS

    def _route(self) -> float:
        """record (by others) → route; the lanes go on with lease → render → send → confirm | retry | bury."""
        routed, due, now = transact(self._engine, self._route_batch)
        for kind in routed.kinds:
            self._meter.incr("alerts.recorded", event=kind.value)
        for reason in routed.suppressed:
            self._meter.incr("alerts.suppressed", reason=reason.value)
        for channel, due_at in due.items():
            if due_at <= now:
                fresh = routed.channels.count(channel)
                self._lanes[channel].nudge(fresh or self._lanes[channel].channel.concurrency)
        self._measure()
        if len(routed.kinds) >= ROUTE_BATCH:
            return 0.0
        next_due = min(((due_at - now).total_seconds() for due_at in due.values() if due_at > now), default=3600.0)
        return min(self._poll_seconds, next_due)

    def _route_batch(
        self, connection: Connection, now: datetime
    ) -> tuple[outbox.Routed, dict[str, datetime], datetime]:
        routed = outbox.route(connection, now, self._plan, ROUTE_BATCH)
        if not set(routed.channels) <= set(self._names):
            outbox.explain_orphans(connection, now, self._names)
        return routed, outbox.next_due(connection, self._names), now

    def _flush(self) -> float:
        """Forms the waves of the groups that are due; returns how long to wait for the next one."""
        if self._plan.routing is None and time.monotonic() < self._flush_due:
            return self._poll_seconds
        self._flush_due = time.monotonic() + GAUGE_SECONDS
        for _ in range(FLUSH_BATCH):
            wave = transact(self._engine, lambda connection, now: groups.flush(connection, now, self._plan))
            if wave is None:
                next_due, now = transact(self._engine, lambda connection, now: (groups.next_due(connection), now))
                return self._poll_seconds if next_due is None else max(0.0, (next_due - now).total_seconds())
            if wave.silenced:
                self._meter.incr("alerts.suppressed", wave.silenced, reason=SuppressedBy.SILENCE.value)
            for channel in set(wave.channels) & self._lanes.keys():
                self._lanes[channel].nudge(wave.channels.count(channel))
        return 0.0

    def deliver_next(self, lane: Lane, worker: Worker) -> bool:
        """lease → render → send, with no transaction open → confirm, retry or bury. False where nothing was due."""
        leases, leased_at = self._lease(lane.name)
        for lease in leases:
            outcome = self._send(lane, lease, leased_at)
            self._settle(lane, worker, lease, outcome)
        return bool(leases)

    def _lease(self, channel: str) -> tuple[list[Lease], datetime]:
        def lease_one(connection: Connection, now: datetime) -> tuple[list[Lease], datetime]:
            return outbox.lease(connection, now, self._lease_for, 1, [channel], self._holder), now

        try:
            return transact(self._engine, lease_one)
        except SQLAlchemyError as error:  # the next turn finds the same, and wakes this lane when it is over
            log.debug("nothing can be leased: %s", _first_line(error))
            return [], datetime.now(UTC)

    def _send(self, lane: Lane, lease: Lease, leased_at: datetime) -> Outcome:
        if lease.event is None:
            return Permanent(Failure.INTERNAL, "this version cannot read the event; upgrade, then replay")
        if leased_at > lease.give_up_at:
            return Permanent(Failure.TIMEOUT, _given_up(lease.attempts - 1, lease.error or lane.last_reason))
        try:
            return self._discreet(lane.channel.send(self._rendered(lease, lease.event)))
        except Exception as error:
            # The message of an unexpected error may hold anything, so only its type is kept.
            log.error("cannot send delivery %d to %s: %s", lease.id, lane.name, type(error).__name__)
            return Retry(Failure.INTERNAL, f"unexpected {type(error).__name__} while rendering or sending")

    def _discreet(self, outcome: Outcome) -> Outcome:
        """A channel masks its own secrets in what a receiver answers; here go those of all others."""
        match outcome:
            case Delivered(later, never):
                return Delivered(*(tuple(map(self._discreet_refusal, refused)) for refused in (later, never)))
            case _:
                return replace(outcome, reason=self._renderer.redact(outcome.reason))

    def _discreet_refusal(self, refusal: Refusal) -> Refusal:
        return replace(refusal, reason=self._renderer.redact(refusal.reason))

    def _rendered(self, lease: Lease, event: AlertEvent) -> Message:
        if not lease.others:
            return self._renderer.render(event, lease.addresses)
        return self._renderer.render_wave((event, *lease.others), lease.addresses, f"windsock alerts show {lease.id}")

    def _settle(self, lane: Lane, worker: Worker, lease: Lease, outcome: Outcome) -> None:
        match outcome:
            case Delivered():
                lane.succeeded(worker)
                self._confirm(lane, lease, outcome)
            case Retry(channel_down=True):
                self._retry(lane, lease, outcome, lane.failed(worker, outcome.after_seconds))
            case Retry():
                _heard_of(lane, worker, outcome)
                self._retry(lane, lease, outcome, outcome.after_seconds or backoff(lease.attempts))
            case Permanent():
                _heard_of(lane, worker, outcome)
                self._bury(lane, lease, outcome, outcome.reason)
            case _:
                assert_never(outcome)

    def _confirm(self, lane: Lane, lease: Lease, outcome: Delivered) -> None:
        def confirm(connection: Connection, now: datetime) -> tuple[bool, datetime]:
            return outbox.confirm(connection, lease, now, later=outcome.later, never=outcome.never), now

        ours, accepted_at = self._write(confirm)
        if not ours:
            log.warning("delivery %d to %s was accepted twice, since its lease ran out in between", lease.id, lane.name)
            return
        self._meter.incr("alerts.delivered", 1 + len(lease.others), channel=lane.name)
        if outcome.never:
            self._meter.incr("alerts.dead", len(outcome.never), channel=lane.name)
        if lease.event is not None and lease.wave is None:  # a group waits on purpose
            delay = (accepted_at - lease.event.occurred_at).total_seconds()
            self._meter.timing("alerts.delivery_delay", max(0.0, delay), channel=lane.name)

    def _retry(self, lane: Lane, lease: Lease, outcome: Retry, pause_seconds: float) -> None:
        pause = timedelta(seconds=pause_seconds)

        def retry(connection: Connection, now: datetime) -> bool:
            if now + pause > lease.give_up_at:
                return False
            outbox.retry(connection, lease, now + pause, outcome.reason)
            return True

        if outcome.reason != lane.last_reason:
            lane.last_reason = outcome.reason
            log.warning("delivery %d to %s failed, will retry: %s", lease.id, lane.name, outcome.reason)
        if self._write(retry):
            self._meter.incr("alerts.attempt_failures", channel=lane.name, reason=outcome.failure.value)
            lane.nudge_after(pause_seconds)
        else:
            self._bury(lane, lease, outcome, _given_up(lease.attempts, outcome.reason))

    def _bury(self, lane: Lane, lease: Lease, outcome: Retry | Permanent, reason: str) -> None:
        ours = self._write(lambda connection, _now: outbox.bury(connection, lease, reason))
        self._meter.incr("alerts.attempt_failures", channel=lane.name, reason=outcome.failure.value)
        if ours:
            self._meter.incr("alerts.dead", 1 + len(lease.others), channel=lane.name)
            log.error("delivery %d to %s is dead: %s", lease.id, lane.name, reason)

    def _write(self, verb: Callable[[Connection, datetime], Result]) -> Result:
        """Writes an outcome down. While the lease lasts nobody else can, so a database that is away is waited for."""
        deadline = time.monotonic() + self._lease_for.total_seconds()
        while True:
            try:
                return transact(self._engine, verb)
            except SQLAlchemyError:
                if time.monotonic() + DATABASE_PAUSE_SECONDS > deadline:
                    raise
                time.sleep(DATABASE_PAUSE_SECONDS)

    def _measure(self) -> None:
        if time.monotonic() < self._gauges_due:
            return
        self._gauges_due = time.monotonic() + GAUGE_SECONDS

        def measure(connection: Connection, now: datetime) -> tuple[tuple[str, ...], outbox.Backlog, int, datetime]:
            outbox.explain_orphans(connection, now, self._names)
            buried = outbox.bury_orphans(connection, now, self._names)
            groups.forget_idle(connection, now)
            return buried, outbox.backlog(connection), groups.count_open(connection), now

        buried, backlog, open_groups, now = transact(self._engine, measure)
        for channel in buried:
            self._meter.incr("alerts.dead", channel=channel)
        age = (now - backlog.oldest).total_seconds() if backlog.oldest else 0.0
        self._meter.gauge("alerts.groups_open", open_groups)
        self._meter.gauge("alerts.backlog", backlog.count)
        self._meter.gauge("alerts.oldest_pending_seconds", max(0.0, age))


def _require_channels(plan: Plan, channels: Sequence[Channel]) -> None:
    missing = set(plan.receivers) - {channel.name for channel in channels}
    if missing:
        msg = f"the plan names channels that are not given: {', '.join(sorted(missing))}"
        raise AlertingError(msg)


def _heard_of(lane: Lane, worker: Worker, outcome: Retry | Permanent) -> None:
    """A refusal shows that the receiver answers; what never left this machine shows nothing."""
    if outcome.failure in (Failure.CONFIG, Failure.INTERNAL, Failure.TIMEOUT):
        lane.untouched(worker)
    else:
        lane.succeeded(worker)


def _given_up(attempts: int, last: str) -> str:
    """Why a delivery is dead at its age limit. One that never was tried waited for a receiver that did not answer."""
    tried = f"given up after {attempts} attempts" if attempts else "given up untried, for the receiver was away"
    return f"{tried}; the last: {last}" if last else tried


def _first_line(error: Exception) -> str:
    """SQLAlchemy's messages go on with the statement and its parameters, which are none of the log's business."""
    return str(error).partition("\n")[0]
