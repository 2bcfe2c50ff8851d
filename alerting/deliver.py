"""The deliverer: its turns, and the lanes that it wakes. See the package's docstring for the protocol.

A turn routes what is new, forms waves, does what is to follow, falls back, and looks from time to time at what waits.
What a thread of a lane does with one message is in ``sending``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar

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
)
from alerting.channels import Channel
from alerting.errors import AlertingError
from alerting.lanes import Lane
from alerting.means import DATABASE_PAUSE_SECONDS, Means, first_line
from alerting.meters import Meter, NoMeter
from alerting.outbox import Aside, Lease
from alerting.render import Renderer
from alerting.routes import Plan, SuppressedBy
from alerting.sending import Sender
from alerting.settling import Settler

log = logging.getLogger(__name__)

ROUTE_BATCH: Final = 500
FLUSH_BATCH: Final = 50  # waves in one turn: what was recorded meanwhile is to be routed, too
FEW: Final = 4  # messages that are leased while they are routed
POLL_SECONDS: Final = 2.0  # without a wake-up; with one, nothing waits for it
GAUGE_SECONDS: Final = 10.0
CLOSING_SECONDS: Final = 10.0
HARD_LIMIT: Final = 0.75  # of the lease: later than this, somebody else might send it too
Done = TypeVar("Done")


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
        self._means = Means(engine, renderer, plan, lease_for, meter or NoMeter(), holder, self._nudge)
        self._sender = Sender(self._means, Settler(self._means))
        self._poll_seconds = poll_seconds
        self._lanes = {channel.name: self._lane(channel) for channel in channels}
        self._names = tuple(self._lanes)
        self._gauges_due = 0.0
        self._look_at_groups = 0.0  # monotonic
        self._wave_in: float | None = None  # seconds until the first wave is due, as the last routing saw it
        self._follow_ups_due = 0.0  # monotonic
        self._news: tuple[Sequence[Channel], Plan] | None = None
        self._is_woken = True  # somebody has said that something was recorded

    def _lane(self, channel: Channel) -> Lane:
        hard_limit = self._means.lease_for.total_seconds() * HARD_LIMIT
        return Lane(channel, self._sender.deliver_next, hard_limit, self._means.plan.concurrency(channel.name))

    def reconfigure(self, channels: Sequence[Channel], plan: Plan) -> None:
        """From the next turn on, deliver by this plan. A channel that is the same object keeps what it is about."""
        _require_channels(plan, channels)
        self._news = (channels, plan)

    def _adopt(self, channels: Sequence[Channel], plan: Plan) -> None:
        before, self._means.plan = self._means.plan, plan
        kept = {
            name: lane
            for name, lane in self._lanes.items()
            if lane.channel in channels and lane.most == plan.concurrency(name)
        }
        fresh = {channel.name: self._lane(channel) for channel in channels if channel.name not in kept}
        for name in self._lanes.keys() - kept.keys():
            self._lanes[name].close(0.0)  # its threads end after the message that each has under way
        for lane in fresh.values():
            lane.start()
        self._lanes = kept | fresh
        for name, lane in kept.items():
            if before.rate(name) != plan.rate(name):
                lane.let_go()
        self._names = tuple(self._lanes)

    def run(self, wait: Callable[[float], bool], stop: threading.Event) -> None:
        """Delivers until ``stop`` is set. ``wait(seconds)`` returns early when something was recorded, or on stop."""
        for lane in self._lanes.values():
            lane.start()
        try:
            while not stop.is_set():
                self._is_woken = wait(self._turn())
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
            waits = [self._tried(step) for step in (self._route, self._flush, self._follow_up, self._fall_back)]
        except SQLAlchemyError as error:
            log.warning("the outbox cannot be read, trying again: %s", first_line(error))
            return DATABASE_PAUSE_SECONDS
        return min(DATABASE_PAUSE_SECONDS if wait is None else wait for wait in waits)

    def _tried(self, step: Callable[[], Done]) -> Done | None:
        """What one step cannot do holds up no other one, and does not end the deliverer."""
        try:
            return step()
        except Exception as error:
            if not outbox.is_at_fault(error):
                raise
            log.error("%s fails, trying again: %s", step.__name__.strip("_"), outbox.place_of(error))
            return None

    def _route(self) -> float:
        """record (by others) → route; the lanes go on with lease → render → send → confirm | retry | bury.

        While nobody wakes it, a look tells whether there is anything to route: one statement, and no lock.
        """
        if not self._is_woken and not (look := self._means.read(partial(outbox.look, channels=self._names))).has_news:
            self._wave_in = None if look.wave_due is None else max(0.0, (look.wave_due - look.now).total_seconds())
            return self._take_on(outbox.Routed(), [], Aside(), look.due, look.now)
        try:
            batch = self._means.transact(self._route_batch)
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
        ids = self._means.transact(lambda connection, _: outbox.unrouted(connection, ROUTE_BATCH))
        for routed in one_by_one.each(ids, self._route_alone, partial(one_by_one.set_aside_event, self._means)):
            self._count_routed(routed)
            self._nudge(routed.channels)
        due, now = self._means.transact(self._look)
        self._wake(due, now, ())
        self._measure(busy=False)
        return DATABASE_PAUSE_SECONDS

    def _route_alone(self, event_id: int) -> outbox.Routed:
        def route(connection: Connection, now: datetime) -> outbox.Routed:
            routed = outbox.route(connection, now, self._means.plan, only=event_id)
            escalations.start(connection, now, self._means.plan, routed.channels)
            return routed

        return self._means.transact(route)

    def _look(self, connection: Connection, now: datetime) -> tuple[dict[str, datetime], datetime]:
        outbox.explain_orphans(connection, now, self._names)
        self._see_groups(connection, now)
        return outbox.next_due(connection, self._names), now

    def _take_on(
        self,
        routed: outbox.Routed,
        leases: list[Lease],
        aside: Aside,
        due: dict[str, datetime],
        now: datetime,
    ) -> float:
        """Counts what was routed and wakes the lanes that have work; returns how long to wait for more."""
        self._means.count_aside(aside)
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
            self._means.meter.incr("alerts.recorded", event=kind.value)
        for reason in routed.suppressed:
            self._means.meter.incr("alerts.suppressed", reason=reason.value)

    def _wake(self, due: dict[str, datetime], now: datetime, fresh: Sequence[str]) -> None:
        """The lanes that have something due; ``fresh`` are the channels of what is known to be all of it."""
        for channel, due_at in due.items():
            if due_at <= now:
                self._lanes[channel].nudge(fresh.count(channel) or self._lanes[channel].concurrency)

    def _route_batch(
        self, connection: Connection, now: datetime
    ) -> tuple[outbox.Routed, list[Lease], Aside, dict[str, datetime], datetime]:
        routed = outbox.route(connection, now, self._means.plan, ROUTE_BATCH)
        escalations.start(connection, now, self._means.plan, routed.channels)
        if not set(routed.channels) <= set(self._names):
            outbox.explain_orphans(connection, now, self._names)
        self._see_groups(connection, now)
        aside = Aside()
        leases = self._lease_routed(connection, now, routed.channels, aside)
        self._means.tell_unread(connection, now, aside)
        return routed, leases, aside, outbox.next_due(connection, self._names), now

    def _lease_routed(
        self, connection: Connection, now: datetime, channels: Sequence[str], aside: Aside
    ) -> list[Lease]:
        """Few messages for lanes that are idle: leased while they are routed, they need no transaction of their own.

        Not for channels with a rate, which is counted where a lane leases.
        """
        free = [name for name in set(channels) if name in self._lanes and self._means.plan.rate(name) is None]
        spare = {name: self._lanes[name].spare for name in free}
        if not channels or len(channels) > FEW or any(channels.count(name) > spare.get(name, 0) for name in channels):
            return []
        found = outbox.lease(
            connection, now, self._means.lease_for, len(channels), list(spare), self._means.holder, aside=aside
        )
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
        if self._means.plan.routing is not None or time.monotonic() >= self._look_at_groups:
            self._look_at_groups = time.monotonic() + GAUGE_SECONDS
            next_due = groups.next_due(connection)
            self._wave_in = None if next_due is None else max(0.0, (next_due - now).total_seconds())

    def _flush(self) -> float:
        """Forms the waves of the groups that are due; returns how long to wait for the next one."""
        if self._wave_in is None or self._wave_in > 0:
            return self._poll_seconds if self._wave_in is None else self._wave_in
        for _ in range(FLUSH_BATCH):
            try:
                wave = self._means.transact(self._flush_one)
            except Exception as error:
                return self._flush_each(error)
            if wave is None:
                next_due, now = self._means.transact(lambda connection, now: (groups.next_due(connection), now))
                return self._poll_seconds if next_due is None else max(0.0, (next_due - now).total_seconds())
            self._take_on_wave(wave)
        return 0.0

    def _take_on_wave(self, wave: groups.Wave) -> None:
        for reason, count in ((SuppressedBy.SILENCE, wave.silenced), (SuppressedBy.INHIBITED, wave.inhibited)):
            if count:
                self._means.meter.incr("alerts.suppressed", count, reason=reason.value)
        self._means.count_overtaken(wave.overtaken)
        self._nudge(wave.channels)

    def _flush_each(self, error: Exception) -> float:
        def flush(group_id: int) -> groups.Wave | None:
            return self._means.transact(partial(self._flush_one, only=group_id))

        ids = self._apart("flush", error, partial(groups.due, limit=FLUSH_BATCH))
        put_off = partial(one_by_one.put_off, self._means, putting_off.put_off_group)
        for wave in one_by_one.each(ids, flush, put_off):
            if wave is not None:
                self._take_on_wave(wave)
        return DATABASE_PAUSE_SECONDS

    def _apart(self, step: str, error: Exception, ids: Callable[[Connection, datetime], list[int]]) -> list[int]:
        """What is to be done one by one, since all together raised this; raises it where they are not to blame."""
        if not outbox.is_at_fault(error):
            raise error
        log.error("%s fails, trying again one by one: %s", step, outbox.place_of(error))
        return self._means.transact(ids)

    def _flush_one(self, connection: Connection, now: datetime, only: int | None = None) -> groups.Wave | None:
        wave = groups.flush(connection, now, self._means.plan, only)
        if wave is not None:
            escalations.start(connection, now, self._means.plan, wave.channels)
        return wave

    def _nudge(self, channels: Sequence[str]) -> None:
        for channel in set(channels) & self._lanes.keys():
            self._lanes[channel].nudge(channels.count(channel))

    def _follow_up(self) -> float:
        """Escalates and repeats what is due; returns how long to wait for the next one."""
        plan = self._means.plan
        if plan.routing is None or not plan.routing.follows_up:
            return self._poll_seconds
        if (pause := self._follow_ups_due - time.monotonic()) > 0:
            return pause
        try:
            told = self._means.transact(lambda connection, now: follow_ups.follow_up(connection, now, plan))
        except Exception as error:
            return self._follow_up_each(error)
        if told is not None:
            self._means.heed(told)
            return 0.0
        next_due, now = self._means.transact(lambda connection, now: (follow_ups.next_due(connection, plan), now))
        wait = self._poll_seconds if next_due is None else max(0.0, (next_due - now).total_seconds())
        self._follow_ups_due = time.monotonic() + min(wait, self._poll_seconds)
        return min(wait, self._poll_seconds)

    def _follow_up_each(self, error: Exception) -> float:
        one_by_one.follow_up(
            self._means, self._apart("follow_up", error, partial(follow_ups.due, plan=self._means.plan))
        )
        return DATABASE_PAUSE_SECONDS

    def _fall_back(self) -> float:
        """Tells the fallback receivers of what waits for a channel that has been down for too long."""
        routing = self._means.plan.routing
        if routing is None or not any(each.fallback for each in routing.receivers.values()):
            return self._poll_seconds
        more = False
        for lane in self._lanes.values():
            down_for = timedelta(seconds=lane.down_for)
            if down_for:
                more |= self._fall_back_from(lane.name, down_for)
        return 0.0 if more else self._poll_seconds

    def _fall_back_from(self, channel: str, down_for: timedelta) -> bool:
        """True where there may be more: what was recorded meanwhile is to be routed, too."""
        lane = self._lanes[channel]

        def find(connection: Connection, now: datetime, only: int | None) -> dict[int, str]:
            known_until = now + timedelta(seconds=lane.left_alone_for)
            if failing.has_accepted(connection, channel, now - down_for):  # another deliverer reaches it
                return patience.late(connection, now, self._means.plan, [channel], untried=True, only=only)
            return fallbacks.stranded(
                *(connection, self._means.plan, channel, down_for, known_until, lane.last_reason), only=only
            )

        return one_by_one.fall_back(self._means, find)

    def _measure(self, *, busy: bool) -> None:
        """From time to time, in a quiet turn if one comes: a lane that sends would wait for it."""
        late = time.monotonic() - self._gauges_due
        if late < 0 or (busy and late < GAUGE_SECONDS):
            return
        self._gauges_due = time.monotonic() + GAUGE_SECONDS
        for step in (self._excuse, self._look_for_failing, self._bury_orphans, self._fall_back_late, self._gauge):
            self._tried(step)

    def _excuse(self) -> None:
        def excuse(connection: Connection, now: datetime) -> None:
            for channel in self._names:
                if (rate := self._means.plan.rate(channel)) is not None:
                    patience.excuse(connection, now, channel, rate, self._means.plan.give_up_after)

        if any(self._means.plan.rate(channel) for channel in self._names):
            self._means.transact(excuse)

    def _look_for_failing(self) -> None:
        after = self._means.plan.failing_after
        if after is not None:
            self._means.transact(lambda connection, now: failing.look(connection, now, after, self._names))

    def _bury_orphans(self) -> None:
        def bury(connection: Connection, now: datetime) -> tuple[list[str], list[int]]:
            outbox.explain_orphans(connection, now, self._names)
            buried = outbox.bury_orphans(connection, now, self._names)
            channels = [channel for _, channel in buried]
            if self._means.plan.failing_after is not None:
                for channel in sorted(set(channels)):
                    failing.gave_up(connection, now, channel, "nothing here sends through it")
            ids = [delivery_id for delivery_id, _ in buried]
            return channels, fallbacks.note(connection, now, self._means.plan, ids)

        channels, falling = self._means.transact(bury)
        for channel in channels:
            self._means.meter.incr("alerts.dead", channel=channel)
        if len(channels) == outbox.BURIED_AT_ONCE:
            self._gauges_due = 0.0  # the next turn goes on with them
        one_by_one.follow_up(self._means, falling)

    def _fall_back_late(self) -> None:
        def find(connection: Connection, now: datetime, only: int | None) -> dict[int, str]:
            return patience.late(connection, now, self._means.plan, self._names, only=only)

        if self._means.plan.routing is not None and one_by_one.fall_back(self._means, find):
            self._gauges_due = 0.0  # the next turn goes on with the rest

    def _gauge(self) -> None:
        def gauge(connection: Connection, now: datetime) -> tuple[outbox.Backlog, int, datetime]:
            groups.forget_idle(connection, now)
            return outbox.backlog(connection), groups.count_open(connection), now

        backlog, open_groups, now = self._means.transact(gauge)
        age = (now - backlog.oldest).total_seconds() if backlog.oldest else 0.0
        self._means.meter.gauge("alerts.groups_open", open_groups)
        self._means.meter.gauge("alerts.backlog", backlog.count)
        self._means.meter.gauge("alerts.oldest_pending_seconds", max(0.0, age))


def _require_channels(plan: Plan, channels: Sequence[Channel]) -> None:
    missing = set(plan.receivers) - {channel.name for channel in channels}
    if missing:
        msg = f"the plan names channels that are not given: {', '.join(sorted(missing))}"
        raise AlertingError(msg)
