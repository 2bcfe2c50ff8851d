"""The deliverer: from recorded events to accepted messages. See the package's docstring for the protocol."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, assert_never

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from alerting import (
    escalations,
    failing,
    fallbacks,
    follow_ups,
    groups,
    one_by_one,
    outbox,
    patience,
    putting_off,
    throttle,
)
from alerting.addressees import ROUTING
from alerting.channels import Channel, Delivered, Failure, Message, Outcome, Permanent, Refusal, Retry
from alerting.database import Result, transact
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.lanes import Lane, Worker
from alerting.meters import Meter, NoMeter
from alerting.outbox import Aside, DeliveryState, Lease
from alerting.pace import backoff
from alerting.render import Renderer
from alerting.routes import Plan, SuppressedBy
from alerting.routing import Limit
from alerting.telling import Told
from alerting.words import number_of

log = logging.getLogger(__name__)

ROUTE_BATCH: Final = 500
FLUSH_BATCH: Final = 50  # waves in one turn: what was recorded meanwhile is to be routed, too
FEW: Final = 4  # messages that are leased while they are routed
POLL_SECONDS: Final = 2.0  # without a wake-up; with one, nothing waits for it
GAUGE_SECONDS: Final = 10.0
HOLD_SECONDS: Final = 60.0  # then a channel's rate is asked again: a clock, or the file, may have changed
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
        self._lanes = {channel.name: self._lane(channel, plan) for channel in channels}
        self._names = tuple(self._lanes)
        self._gauges_due = 0.0
        self._look_at_groups = 0.0  # monotonic
        self._wave_in: float | None = None  # seconds until the first wave is due, as the last routing saw it
        self._follow_ups_due = 0.0  # monotonic
        self._news: tuple[Sequence[Channel], Plan] | None = None

    def _lane(self, channel: Channel, plan: Plan) -> Lane:
        hard_limit = self._lease_for.total_seconds() * HARD_LIMIT
        return Lane(channel, self.deliver_next, hard_limit, _concurrency(plan, channel.name))

    def reconfigure(self, channels: Sequence[Channel], plan: Plan) -> None:
        """From the next turn on, deliver by this plan. A channel that is the same object keeps what it is about."""
        _require_channels(plan, channels)
        self._news = (channels, plan)

    def _adopt(self, channels: Sequence[Channel], plan: Plan) -> None:
        kept = {
            name: lane
            for name, lane in self._lanes.items()
            if lane.channel in channels and lane.most == _concurrency(plan, name)
        }
        fresh = {channel.name: self._lane(channel, plan) for channel in channels if channel.name not in kept}
        for name in self._lanes.keys() - kept.keys():
            self._lanes[name].close(0.0)  # its threads end after the message that each has under way
        for lane in fresh.values():
            lane.start()
        before = {name: self._rate(name) for name in kept}
        self._lanes, self._plan = kept | fresh, plan
        for name, rate in before.items():
            if rate != self._rate(name):
                kept[name].let_go()
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
            return min(map(self._tried, (self._route, self._flush, self._follow_up, self._fall_back)))
        except SQLAlchemyError as error:
            log.warning("the outbox cannot be read, trying again: %s", _first_line(error))
            return DATABASE_PAUSE_SECONDS

    def _tried(self, step: Callable[[], float]) -> float:
        """What one step cannot do holds up no other one, and does not end the deliverer."""
        try:
            return step()
        except Exception as error:
            if not outbox.is_at_fault(error):
                raise
            log.error("%s fails, trying again: %s", step.__name__.strip("_"), outbox.place_of(error))
            return DATABASE_PAUSE_SECONDS

    def _route(self) -> float:
        """record (by others) → route; the lanes go on with lease → render → send → confirm | retry | bury."""
        try:
            batch = transact(self._engine, self._route_batch)
        except Exception as error:
            if not outbox.is_at_fault(error):
                raise
            log.error("alerts cannot be routed together, so each is routed alone: %s", outbox.place_of(error))
            return self._route_each()
        return self._take_on(*batch)

    def _route_each(self) -> float:
        """Whatever one event raises, the others are routed, and that one is dead with its reason.

        What else a turn reads is read afterwards: no event is to blame for what that raises.
        """
        for event_id in transact(self._engine, lambda connection, _: outbox.unrouted(connection, ROUTE_BATCH)):
            try:
                routed = transact(self._engine, partial(self._route_one, event_id))
            except Exception as error:
                if not outbox.is_at_fault(error):
                    raise
                self._set_aside(event_id, f"it cannot be routed: unexpected {outbox.place_of(error)}")
            else:
                self._count_routed(routed)
                self._nudge(routed.channels)
        due, now = transact(self._engine, self._look)
        self._wake(due, now, ())
        self._measure(busy=False)
        return DATABASE_PAUSE_SECONDS

    def _route_one(self, event_id: int, connection: Connection, now: datetime) -> outbox.Routed:
        routed = outbox.route(connection, now, self._plan, only=event_id)
        escalations.start(connection, now, self._plan, routed.channels)
        return routed

    def _look(self, connection: Connection, now: datetime) -> tuple[dict[str, datetime], datetime]:
        outbox.explain_orphans(connection, now, self._names)
        self._see_groups(connection, now)
        return outbox.next_due(connection, self._names), now

    def _set_aside(self, event_id: int, reason: str) -> None:
        def set_aside(connection: Connection, now: datetime) -> bool:
            if not outbox.set_aside(connection, now, event_id, reason):
                return False
            if self._plan.failing_after is not None:
                failing.unroutable(connection, now, event_id, reason)
            return True

        if transact(self._engine, set_aside):
            self._meter.incr("alerts.dead", channel=ROUTING)
            log.error("alert %d is dead: %s", event_id, reason)

    def _take_on(
        self,
        routed: outbox.Routed,
        leases: list[Lease],
        aside: Aside,
        due: dict[str, datetime],
        now: datetime,
    ) -> float:
        """Counts what was routed and wakes the lanes that have work; returns how long to wait for more."""
        self._count_aside(aside)
        for lease in leases:
            self._lanes[lease.channel].offer(lease, now)
        self._count_routed(routed)
        self._wake(due, now, routed.channels)
        self._measure(busy=bool(routed.kinds))
        if len(routed.kinds) >= ROUTE_BATCH:
            return 0.0
        next_due = min(((due_at - now).total_seconds() for due_at in due.values() if due_at > now), default=3600.0)
        return min(self._poll_seconds, next_due)

    def _count_routed(self, routed: outbox.Routed) -> None:
        for kind in routed.kinds:
            self._meter.incr("alerts.recorded", event=kind.value)
        for reason in routed.suppressed:
            self._meter.incr("alerts.suppressed", reason=reason.value)

    def _wake(self, due: dict[str, datetime], now: datetime, fresh: Sequence[str]) -> None:
        """The lanes that have something due; ``fresh`` are the channels of what is known to be all of it."""
        for channel, due_at in due.items():
            if due_at <= now:
                self._lanes[channel].nudge(fresh.count(channel) or self._lanes[channel].concurrency)

    def _route_batch(
        self, connection: Connection, now: datetime
    ) -> tuple[outbox.Routed, list[Lease], Aside, dict[str, datetime], datetime]:
        routed = outbox.route(connection, now, self._plan, ROUTE_BATCH)
        escalations.start(connection, now, self._plan, routed.channels)
        if not set(routed.channels) <= set(self._names):
            outbox.explain_orphans(connection, now, self._names)
        self._see_groups(connection, now)
        aside = Aside()
        leases = self._lease_routed(connection, now, routed.channels, aside)
        return routed, leases, aside, outbox.next_due(connection, self._names), now

    def _lease_routed(
        self, connection: Connection, now: datetime, channels: Sequence[str], aside: Aside
    ) -> list[Lease]:
        """Few messages for lanes that are idle: leased while they are routed, they need no transaction of their own.

        Not for channels with a rate, which is counted where a lane leases.
        """
        free = [name for name in set(channels) if name in self._lanes and self._rate(name) is None]
        spare = {name: self._lanes[name].spare for name in free}
        if not channels or len(channels) > FEW or any(channels.count(name) > spare.get(name, 0) for name in channels):
            return []
        found = outbox.lease(connection, now, self._lease_for, len(channels), list(spare), self._holder, aside=aside)
        kept: list[Lease] = []
        for lease in found:  # an older one may have gone before
            spare[lease.channel] -= 1
            if spare[lease.channel] >= 0:
                kept.append(lease)
            else:
                outbox.release(connection, lease, now)
        return kept

    def _see_groups(self, connection: Connection, now: datetime) -> None:
        """When the next wave is due: asked while routing, since a transaction of its own would hold up the lanes.

        Where no file groups anything, groups of an earlier one are looked for rarely.
        """
        if self._plan.routing is not None or time.monotonic() >= self._look_at_groups:
            self._look_at_groups = time.monotonic() + GAUGE_SECONDS
            next_due = groups.next_due(connection)
            self._wave_in = None if next_due is None else max(0.0, (next_due - now).total_seconds())

    def _flush(self) -> float:
        """Forms the waves of the groups that are due; returns how long to wait for the next one."""
        if self._wave_in is None or self._wave_in > 0:
            return self._poll_seconds if self._wave_in is None else self._wave_in
        for _ in range(FLUSH_BATCH):
            try:
                wave = transact(self._engine, self._flush_one)
            except Exception as error:
                return self._flush_each(error)
            if wave is None:
                next_due, now = transact(self._engine, lambda connection, now: (groups.next_due(connection), now))
                return self._poll_seconds if next_due is None else max(0.0, (next_due - now).total_seconds())
            self._take_on_wave(wave)
        return 0.0

    def _take_on_wave(self, wave: groups.Wave) -> None:
        for reason, count in ((SuppressedBy.SILENCE, wave.silenced), (SuppressedBy.INHIBITED, wave.inhibited)):
            if count:
                self._meter.incr("alerts.suppressed", count, reason=reason.value)
        self._count_overtaken(wave.overtaken)
        self._nudge(wave.channels)

    def _flush_each(self, error: Exception) -> float:
        def flush(group_id: int) -> None:
            wave = transact(self._engine, partial(self._flush_one, only=group_id))
            if wave is not None:
                self._take_on_wave(wave)

        ids = partial(groups.due, limit=FLUSH_BATCH)
        return self._one_by_one("flush", error, ids, flush, putting_off.put_off_group)

    def _one_by_one(
        self,
        step: str,
        error: Exception,
        ids: Callable[[Connection, datetime], list[int]],
        work: Callable[[int], None],
        put_off: Callable[[Connection, datetime, int, str], str | None],
    ) -> float:
        """Whatever one of these raises, the others are done, and that one is put off with its reason."""
        if not outbox.is_at_fault(error):
            raise error
        log.error("%s fails, trying again one by one: %s", step, outbox.place_of(error))
        for key in transact(self._engine, ids):
            try:
                work(key)
            except Exception as raised:
                if not outbox.is_at_fault(raised):
                    raise
                self._put_off(put_off, key, f"unexpected {outbox.place_of(raised)}")
        return DATABASE_PAUSE_SECONDS

    def _put_off(self, put_off: Callable[[Connection, datetime, int, str], str | None], key: int, reason: str) -> None:
        def put_off_and_tell(connection: Connection, now: datetime) -> str | None:
            what = put_off(connection, now, key, reason)
            if what is not None and self._plan.failing_after is not None:
                failing.put_off(connection, now, what, reason)
            return what

        what = transact(self._engine, put_off_and_tell)
        if what is not None:
            log.error("nobody can be told %s, trying again later: %s", what, reason)

    def _flush_one(self, connection: Connection, now: datetime, only: int | None = None) -> groups.Wave | None:
        wave = groups.flush(connection, now, self._plan, only)
        if wave is not None:
            escalations.start(connection, now, self._plan, wave.channels)
        return wave

    def _count_aside(self, aside: Aside) -> None:
        self._count_overtaken(len(aside.overtaken))
        for key, channel in aside.unread:
            self._meter.incr("alerts.dead", channel=channel)
            log.error("a part of a message to %s is dead (delivery %d): %s", channel, key, outbox.UNREADABLE)

    def _count_overtaken(self, count: int) -> None:
        if count:
            self._meter.incr("alerts.suppressed", count, reason=SuppressedBy.OVERTAKEN.value)

    def _nudge(self, channels: Sequence[str]) -> None:
        for channel in set(channels) & self._lanes.keys():
            self._lanes[channel].nudge(channels.count(channel))

    def _follow_up(self) -> float:
        """Escalates and repeats what is due; returns how long to wait for the next one."""
        if self._plan.routing is None or not self._plan.routing.follows_up:
            return self._poll_seconds
        if (pause := self._follow_ups_due - time.monotonic()) > 0:
            return pause
        try:
            told = transact(self._engine, lambda connection, now: follow_ups.follow_up(connection, now, self._plan))
        except Exception as error:
            return self._follow_up_each(error)
        if told is not None:
            self._heed(told)
            return 0.0
        plan = self._plan
        next_due, now = transact(self._engine, lambda connection, now: (follow_ups.next_due(connection, plan), now))
        wait = self._poll_seconds if next_due is None else max(0.0, (next_due - now).total_seconds())
        self._follow_ups_due = time.monotonic() + min(wait, self._poll_seconds)
        return min(wait, self._poll_seconds)

    def _follow_up_each(self, error: Exception) -> float:
        def follow_up(key: int) -> None:
            told = transact(self._engine, partial(follow_ups.follow_up, plan=self._plan, only=key))
            self._heed(told or Told())

        ids = partial(follow_ups.due, plan=self._plan)
        return self._one_by_one("follow_up", error, ids, follow_up, putting_off.put_off_follow_up)

    def _fall_back(self) -> float:
        """Tells the fallback receivers of what waits for a channel that has been down for too long."""
        if self._plan.routing is None:
            return self._poll_seconds
        more = False
        for lane in self._lanes.values():
            down_for = timedelta(seconds=lane.down_for)
            if down_for and any(each.fallback for each in self._plan.routing.receivers.values()):
                more |= self._fall_back_from(lane.name, down_for)
        return 0.0 if more else self._poll_seconds

    def _fall_back_from(self, channel: str, down_for: timedelta) -> bool:
        """True where there may be more: what was recorded meanwhile is to be routed, too."""
        reason = self._lanes[channel].last_reason

        def fall_back(connection: Connection, now: datetime) -> Told | None:
            if failing.has_accepted(connection, channel, now - down_for):  # another deliverer reaches it
                return patience.fall_back_late(connection, now, self._plan, [channel], untried=True)
            return fallbacks.fall_back_from(connection, now, self._plan, channel, down_for, reason)

        told = transact(self._engine, fall_back)
        if told is not None:
            self._heed(told)
        return told is not None

    def _heed(self, told: Told) -> None:
        """Counts what follows a message, and wakes the lanes that have it."""
        for origin in told.origins:
            self._meter.incr("alerts.follow_ups", reason=origin.value)
        for reason in told.suppressed:
            self._meter.incr("alerts.suppressed", reason=reason.value)
        self._nudge(told.channels)

    def deliver_next(self, lane: Lane, worker: Worker) -> bool:
        """lease → render → send, with no transaction open → confirm, retry or bury. True where more may be due."""
        offered = lane.take_offered()
        if offered is not None and offered.is_stale:
            self._give_back(offered.lease)
            offered = None
        leases, leased_at, pause = ([offered.lease], offered.leased_at, None) if offered else self._lease(lane.name)
        for lease in leases:
            if lease.error == outbox.LEASE_RAN_OUT:  # it may have been accepted before
                self._meter.incr("alerts.possible_duplicates", channel=lane.name)
            outcome = self._send(lane, lease, leased_at)
            self._take_back(lane, outcome, leased_at)
            self._settle(lane, worker, lease, outcome)
        if pause is not None:
            lane.hold(min(pause.total_seconds(), HOLD_SECONDS))
        return bool(leases) and not offered  # whoever offered it has seen what else is due, and nudged for it

    def _take_back(self, lane: Lane, outcome: Outcome, leased_at: datetime) -> None:
        """A service that was not reached has had no message: the next try need not wait for another window."""
        unreached = isinstance(outcome, Retry) and outcome.failure is Failure.UNREACHABLE
        if unreached and self._rate(lane.name) is not None:
            self._write(lambda connection, _: throttle.take_back(connection, leased_at, lane.name))

    def _give_back(self, lease: Lease) -> None:
        """It was leased too long ago to begin with it now, and may be leased anew."""
        try:
            transact(self._engine, lambda connection, now: outbox.release(connection, lease, now))
        except SQLAlchemyError as error:  # its lease runs out
            log.debug("nothing can be released: %s", _first_line(error))

    def _rate(self, channel: str) -> Limit | None:
        known = None if self._plan.routing is None else self._plan.routing.channel(channel)
        return None if known is None else known.rate

    def _lease(self, channel: str) -> tuple[list[Lease], datetime, timedelta | None]:
        """What is to be sent, when that was said, and how long to wait where the channel has had enough for now."""
        try:
            return self._lease_any(channel)
        except SQLAlchemyError as error:  # the next turn finds the same, and wakes this lane when it is over
            log.debug("nothing can be leased: %s", _first_line(error))
            return [], datetime.now(UTC), None

    def _lease_any(self, channel: str) -> tuple[list[Lease], datetime, timedelta | None]:
        try:
            return self._lease_one(channel)
        except Exception as error:
            if not outbox.is_at_fault(error):
                raise
            log.error("what is due for %s is looked at one by one: %s", channel, outbox.place_of(error))
            return self._lease_readable(channel)

    def _lease_one(self, channel: str, only: int | None = None) -> tuple[list[Lease], datetime, timedelta | None]:
        rate = self._rate(channel)

        def lease_one(connection: Connection, now: datetime) -> tuple[list[Lease], Aside, datetime, timedelta | None]:
            aside = Aside()
            if rate and (pause := throttle.pause(connection, now, channel, rate)) is not None:
                return [], aside, now, pause
            leases = outbox.lease(
                *(connection, now, self._lease_for, 1, [channel], self._holder),
                retries_first=rate is not None,
                only=only,
                aside=aside,
            )
            if rate and leases:
                throttle.count(connection, now, channel, rate)
            return leases, aside, now, None

        leases, aside, now, pause = transact(self._engine, lease_one)
        self._count_aside(aside)
        return leases, now, pause

    def _lease_readable(self, channel: str) -> tuple[list[Lease], datetime, timedelta | None]:
        """The first of what is due that can be read; what cannot, and comes before it, is dead with its reason."""
        retries_first = self._rate(channel) is not None
        due = partial(outbox.due, channel=channel, limit=one_by_one.AT_ONCE, retries_first=retries_first)
        lease_one, bury = partial(self._lease_one, channel), partial(self._bury_unreadable, channel)
        for leases, now, pause in one_by_one.each(transact(self._engine, due), lease_one, bury):
            if leases or pause is not None:
                return leases, now, pause
        return [], datetime.now(UTC), None

    def _bury_unreadable(self, channel: str, delivery_id: int, why: str) -> None:
        count, told = one_by_one.set_aside_delivery(self._engine, self._plan, delivery_id, why)
        self._meter.incr("alerts.dead", count, channel=channel)
        self._heed(told)

    def _send(self, lane: Lane, lease: Lease, leased_at: datetime) -> Outcome:
        if lease.event is None:
            return Permanent(Failure.INTERNAL, outbox.UNREADABLE)
        if leased_at > lease.give_up_at:
            reason = _given_up(lease.attempts - 1, lease.error or lane.last_reason)
            return Permanent(Failure.TIMEOUT, reason, addressee=lease.refused)
        try:
            return self._discreet(lane.channel.send(self._rendered(lease, lease.event)))
        except Exception as error:
            # The message of an unexpected error may hold anything, so only its type is kept.
            log.error("cannot send alert %s to %s: %s", lease.number, lane.name, type(error).__name__)
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
        severities = self._plan.severity
        if not lease.others:
            return self._renderer.render(event, lease.addresses, severities)
        reference = f"windsock alerts show {lease.number}"
        return self._renderer.render_wave((event, *lease.others), lease.addresses, reference, severities)

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
        pause = timedelta(seconds=backoff(lease.attempts))  # of those who did not take it, and of nobody else

        def confirm(connection: Connection, now: datetime) -> tuple[bool, datetime, Told, Delivered]:
            refused = _in_time(outcome, lease, now + pause)
            ours = outbox.confirm(
                connection, lease, now, later=refused.later, never=refused.never, again_at=now + pause
            )
            if not ours:
                return False, now, Told(), refused
            follow_ups.schedule(connection, now, lease, self._plan)
            if not refused.never:
                return True, now, Told(), refused
            if self._tells_deaths_of(lease):
                failing.refused(connection, now, lane.name, _reasons(refused.never))
            return True, now, follow_ups.schedule_for_refused(connection, now, lease, self._plan), refused

        ours, accepted_at, fell_back, refused = self._write(confirm)
        if not ours:
            log.warning(
                "alert %s to %s was accepted twice, since its lease ran out in between", lease.number, lane.name
            )
            return
        self._heed(fell_back)
        self._meter.incr("alerts.delivered", 1 + len(lease.others), channel=lane.name)
        if refused.later:
            lane.nudge_after(pause.total_seconds())
        if refused.never:
            self._meter.incr("alerts.dead", len(refused.never), channel=lane.name)
        self._time(lane, lease, accepted_at, DeliveryState.DELIVERED)

    def _time(self, lane: Lane, lease: Lease, now: datetime, outcome: DeliveryState) -> None:
        """From the event to its outcome, where nothing made it wait on purpose: no group, and no follow-up."""
        if lease.event is not None and lease.wave is None and lease.event.note is None:
            delay = (now - lease.event.occurred_at).total_seconds()
            self._meter.timing("alerts.delivery_delay", max(0.0, delay), channel=lane.name, outcome=outcome.value)

    def _retry(self, lane: Lane, lease: Lease, outcome: Retry, pause_seconds: float) -> None:
        pause = timedelta(seconds=pause_seconds)

        def retry(connection: Connection, now: datetime) -> bool:
            if now + pause > lease.give_up_at:
                return False
            by_addressees = self._concerns_addresses(connection, now, lease, outcome)
            outbox.retry(connection, lease, now + pause, outcome.reason, by_addressees=by_addressees)
            return True

        said_before = lease.error if outcome.addressee else lane.last_reason
        if not outcome.addressee:
            lane.last_reason = outcome.reason
        if outcome.reason != said_before:
            log.warning("alert %s to %s failed, will retry: %s", lease.number, lane.name, outcome.reason)
        if self._write(retry):
            self._meter.incr("alerts.attempt_failures", channel=lane.name, reason=outcome.failure.value)
            lane.nudge_after(pause_seconds)
        else:
            self._bury(lane, lease, outcome, _given_up(lease.attempts, outcome.reason))

    def _bury(self, lane: Lane, lease: Lease, outcome: Retry | Permanent, reason: str) -> None:
        def bury(connection: Connection, now: datetime) -> tuple[bool, datetime, Told]:
            ours = outbox.bury(connection, lease, reason)
            if ours:
                self._tell_death(connection, now, lease, outcome, reason)
            if not ours or self._plan.routing is None:
                return ours, now, Told()
            follow_ups.schedule_for_dead(connection, now, lease, self._plan)
            return True, now, fallbacks.fall_back(connection, now, self._plan, [lease.id])

        ours, buried_at, fell_back = self._write(bury)
        self._meter.incr("alerts.attempt_failures", channel=lane.name, reason=outcome.failure.value)
        if ours:
            self._meter.incr("alerts.dead", 1 + len(lease.others), channel=lane.name)
            self._time(lane, lease, buried_at, DeliveryState.DEAD)
            self._heed(fell_back)
            log.error("alert %s to %s is dead: %s", lease.number, lane.name, reason)

    def _tell_death(
        self, connection: Connection, now: datetime, lease: Lease, outcome: Retry | Permanent, reason: str
    ) -> None:
        """A fault of our own says nothing of the channel, and what refuses an address nothing of the others."""
        if outcome.failure is Failure.INTERNAL or not self._tells_deaths_of(lease):
            return
        if self._concerns_addresses(connection, now, lease, outcome):
            failing.refused(connection, now, lease.channel, dict.fromkeys(lease.addresses, reason))
        else:
            failing.gave_up(connection, now, lease.channel, reason)

    def _tells_deaths_of(self, lease: Lease) -> bool:
        return self._plan.failing_after is not None and not failing.is_about_delivery(lease.event)

    def _concerns_addresses(
        self, connection: Connection, now: datetime, lease: Lease, outcome: Retry | Permanent
    ) -> bool:
        """Whether it is these addresses, or this message to them, that is refused, and not whatever is sent.

        A server that takes nothing for now may say so of each address, so that counts only beside mail that it took.
        """
        is_permanent = isinstance(outcome, Permanent)
        is_known = outcome.addressee and (is_permanent or lease.refused)
        if is_known or not lease.addresses or self._plan.failing_after is None:
            return outcome.addressee
        may_be = outcome.addressee or (is_permanent and outcome.failure is Failure.REJECTED)
        return may_be and failing.has_accepted(connection, lease.channel, now - self._plan.failing_after)

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

    def _measure(self, *, busy: bool) -> None:
        """From time to time, in a quiet turn if one comes: a lane that sends would wait for it."""
        late = time.monotonic() - self._gauges_due
        if late < 0 or (busy and late < GAUGE_SECONDS):
            return
        self._gauges_due = time.monotonic() + GAUGE_SECONDS

        def measure(
            connection: Connection, now: datetime
        ) -> tuple[list[tuple[int, str]], Told, outbox.Backlog, int, datetime]:
            outbox.explain_orphans(connection, now, self._names)
            for channel in self._names:
                if (rate := self._rate(channel)) is not None:
                    patience.excuse(connection, now, channel, rate, self._plan.give_up_after)
            if self._plan.failing_after is not None:
                failing.look(connection, now, self._plan.failing_after, self._names)
            buried = outbox.bury_orphans(connection, now, self._names)
            ids = [delivery_id for delivery_id, _ in buried]
            told = fallbacks.fall_back(connection, now, self._plan, ids) if ids else Told()
            told += patience.fall_back_late(connection, now, self._plan, self._names) or Told()
            if self._plan.failing_after is not None:
                for channel in sorted({channel for _, channel in buried}):
                    failing.gave_up(connection, now, channel, "nothing here sends through it")
            groups.forget_idle(connection, now)
            return buried, told, outbox.backlog(connection), groups.count_open(connection), now

        buried, told, backlog, open_groups, now = transact(self._engine, measure)
        for _, channel in buried:
            self._meter.incr("alerts.dead", channel=channel)
        if len(buried) == outbox.BURIED_AT_ONCE:
            self._gauges_due = 0.0  # the next turn goes on with them
        self._heed(told)
        age = (now - backlog.oldest).total_seconds() if backlog.oldest else 0.0
        self._meter.gauge("alerts.groups_open", open_groups)
        self._meter.gauge("alerts.backlog", backlog.count)
        self._meter.gauge("alerts.oldest_pending_seconds", max(0.0, age))


def _concurrency(plan: Plan, channel: str) -> int | None:
    """How many messages alerting.yml wants under way at once; None where it says nothing."""
    known = None if plan.routing is None else plan.routing.channel(channel)
    return None if known is None else known.concurrency


def _require_channels(plan: Plan, channels: Sequence[Channel]) -> None:
    missing = set(plan.receivers) - {channel.name for channel in channels}
    if missing:
        msg = f"the plan names channels that are not given: {', '.join(sorted(missing))}"
        raise AlertingError(msg)


def _heard_of(lane: Lane, worker: Worker, outcome: Retry | Permanent) -> None:
    """A refusal shows that the receiver answers; what never left this machine shows nothing.

    One that is busy answers, but tells nobody anything. One that refuses these addresses for now may take all others.
    """
    if outcome.failure in (Failure.CONFIG, Failure.INTERNAL, Failure.TIMEOUT):
        lane.untouched(worker)
    elif outcome.failure is Failure.BUSY and not outcome.addressee:
        lane.put_off(worker)
    else:
        lane.succeeded(worker)


def _in_time(outcome: Delivered, lease: Lease, again_at: datetime) -> Delivered:
    """Of those who did not take it for now, whom there is no time to ask again will never have it."""
    if again_at <= lease.give_up_at:
        return outcome
    late = (replace(refusal, reason=_given_up(lease.attempts, refusal.reason)) for refusal in outcome.later)
    return Delivered(never=(*outcome.never, *late))


def _reasons(refusals: Sequence[Refusal]) -> dict[str, str]:
    """Why each of these addresses did not take a message that others took."""
    return {address: refusal.reason for refusal in refusals for address in refusal.addresses}


def _given_up(attempts: int, last: str) -> str:
    """Why a delivery is dead at its age limit. One that never was tried waited for a receiver that did not answer."""
    tried = (
        f"given up after {number_of(attempts, 'attempt')}"
        if attempts
        else "given up untried, for the receiver was away"
    )
    return f"{tried}; the last: {last}" if last else tried


def _first_line(error: Exception) -> str:
    """SQLAlchemy's messages go on with the statement and its parameters, which are none of the log's business."""
    return str(error).partition("\n")[0]
