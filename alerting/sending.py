"""What a thread of a lane does in its turn: lease → render → send, with no transaction open, and then settle."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from alerting import one_by_one, outbox, throttle
from alerting.channels import Delivered, Failure, Message, Outcome, Permanent, Refusal, Retry
from alerting.events import AlertEvent
from alerting.lanes import Lane, Worker
from alerting.means import Means, first_line
from alerting.outbox import Aside, Lease
from alerting.settling import Settler, given_up

log = logging.getLogger(__name__)

HOLD_SECONDS: Final = 60.0  # then a channel's rate is asked again: a clock, or the file, may have changed


@dataclass(frozen=True)
class Sender:
    """Sends one message after the other; any number of threads may use it."""

    means: Means
    settler: Settler

    def deliver_next(self, lane: Lane, worker: Worker) -> bool:
        """lease → render → send, with no transaction open → confirm, retry or bury. True where more may be due."""
        offered = lane.take_offered()
        if offered is not None and offered.is_stale:
            self._give_back(offered.lease)
            offered = None
        leases, leased_at, pause = ([offered.lease], offered.leased_at, None) if offered else self.lease(lane.name)
        for lease in leases:
            if lease.error == outbox.LEASE_RAN_OUT:  # it may have been accepted before
                self.means.meter.incr("alerts.possible_duplicates", channel=lane.name)
            message = self._message(lane, lease, leased_at)
            asked = isinstance(message, Message)
            outcome = self._send(lane, lease, message) if isinstance(message, Message) else message
            self.settler.settle(lane, worker, lease, outcome, leased_at, asked=asked)
        if pause is not None:
            lane.hold(min(pause.total_seconds(), HOLD_SECONDS))
        return bool(leases) and not offered  # whoever offered it has seen what else is due, and nudged for it

    def _give_back(self, lease: Lease) -> None:
        """It was leased too long ago to begin with it now, and may be leased anew."""
        try:
            self.means.transact(lambda connection, now: outbox.release(connection, lease, now))
        except SQLAlchemyError as error:  # its lease runs out
            log.debug("nothing can be released: %s", first_line(error))

    def lease(self, channel: str) -> tuple[list[Lease], datetime, timedelta | None]:
        """What is to be sent, when that was said, and how long to wait where the channel has had enough for now."""
        try:
            return self._lease_any(channel)
        except SQLAlchemyError as error:  # the next turn finds the same, and wakes this lane when it is over
            log.debug("nothing can be leased: %s", first_line(error))
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
        rate = self.means.plan.rate(channel)

        def lease_one(connection: Connection, now: datetime) -> tuple[list[Lease], Aside, datetime, timedelta | None]:
            aside = Aside()
            if rate and (pause := throttle.pause(connection, now, channel, rate)) is not None:
                return [], aside, now, pause
            leases = outbox.lease(
                *(connection, now, self.means.lease_for, 1, [channel], self.means.holder),
                retries_first=rate is not None,
                only=only,
                aside=aside,
            )
            self.means.tell_unread(connection, now, aside)
            if rate and leases:
                throttle.count(connection, now, channel, rate)
            return leases, aside, now, None

        leases, aside, now, pause = self.means.transact(lease_one)
        self.means.count_aside(aside)
        return leases, now, pause

    def _lease_readable(self, channel: str) -> tuple[list[Lease], datetime, timedelta | None]:
        """The first of what is due that can be read; what cannot, and comes before it, is dead with its reason.

        No message is to blame for what the rate of the channel raises.
        """
        rate = self.means.plan.rate(channel)
        retries_first = rate is not None
        if rate is not None:
            self.means.transact(lambda connection, now: throttle.pause(connection, now, channel, rate))
        due = partial(outbox.due, channel=channel, limit=one_by_one.AT_ONCE, retries_first=retries_first)
        lease_one, bury = partial(self._lease_one, channel), partial(one_by_one.bury_unreadable, self.means, channel)
        for leases, now, pause in one_by_one.each(self.means.transact(due), lease_one, bury):
            if leases or pause is not None:
                return leases, now, pause
        return [], datetime.now(UTC), None

    def _message(self, lane: Lane, lease: Lease, leased_at: datetime) -> Message | Permanent | Retry:
        """What is to be sent, or why it cannot be: then the channel is not asked."""
        if lease.event is None:
            return Permanent(Failure.INTERNAL, outbox.UNREADABLE)
        if leased_at > lease.give_up_at:
            reason = given_up(lease.attempts - 1, lease.error or lane.last_reason)
            return Permanent(Failure.TIMEOUT, reason, addressee=lease.refused)
        try:
            return self._rendered(lease, lease.event)
        except Exception as error:
            return _unexpected(lane, lease, error, "rendering")

    def _send(self, lane: Lane, lease: Lease, message: Message) -> Outcome:
        try:
            return self._discreet(lane.channel.send(message))
        except Exception as error:
            return _unexpected(lane, lease, error, "sending")

    def _discreet(self, outcome: Outcome) -> Outcome:
        """A channel masks its own secrets in what a receiver answers; here go those of all others."""
        match outcome:
            case Delivered(later, never):
                return Delivered(*(tuple(map(self._discreet_refusal, refused)) for refused in (later, never)))
            case _:
                return replace(outcome, reason=self.means.renderer.redact(outcome.reason))

    def _discreet_refusal(self, refusal: Refusal) -> Refusal:
        return replace(refusal, reason=self.means.renderer.redact(refusal.reason))

    def _rendered(self, lease: Lease, event: AlertEvent) -> Message:
        severities = self.means.plan.severity
        if not lease.others:
            return self.means.renderer.render(event, lease.addresses, severities)
        reference = f"windsock alerts show {lease.number}"
        return self.means.renderer.render_wave((event, *lease.others), lease.addresses, reference, severities)


def _unexpected(lane: Lane, lease: Lease, error: Exception, where: str) -> Retry:
    """The message of an unexpected error may hold anything, so only its type is kept."""
    log.error("cannot send alert %s to %s: %s", lease.number, lane.name, type(error).__name__)
    return Retry(Failure.INTERNAL, f"unexpected {type(error).__name__} while {where}")
