"""What becomes of a message that was sent: confirm, retry or bury, and what is to be done and told of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from alerting import failing, fallbacks, follow_ups, one_by_one, outbox, throttle
from alerting.channels import Delivered, Failure, Outcome, Permanent, Refusal, Retry
from alerting.database import Result
from alerting.lanes import Lane, Worker
from alerting.means import DATABASE_PAUSE_SECONDS, Means, first_line
from alerting.outbox import DeliveryState, Lease
from alerting.pace import backoff
from alerting.words import number_of

log = logging.getLogger(__name__)


_UNTRIED: Final = (Failure.UNREACHABLE, Failure.CONFIG)  # of these the service knows nothing


@dataclass(frozen=True)
class Settler:
    """Writes outcomes down, and tells the lane of them."""

    means: Means

    def settle(
        self, lane: Lane, worker: Worker, lease: Lease, outcome: Outcome, leased_at: datetime, *, asked: bool
    ) -> None:
        """``asked`` says whether the channel was: what cannot be rendered, or is too old, is not sent."""
        if not asked or (isinstance(outcome, Retry | Permanent) and outcome.failure in _UNTRIED):
            self._take_back(lane, leased_at)
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

    def _take_back(self, lane: Lane, leased_at: datetime) -> None:
        """The service has had no message: the next one need not wait for another window."""
        if self.means.plan.rate(lane.name) is not None:
            self._write(lambda connection, _: throttle.take_back(connection, leased_at, lane.name))

    def _confirm(self, lane: Lane, lease: Lease, outcome: Delivered) -> None:
        pause = timedelta(seconds=backoff(lease.attempts))  # of those who did not take it, and of nobody else

        def confirm(connection: Connection, now: datetime) -> tuple[bool, datetime, list[int], Delivered]:
            refused = _in_time(outcome, lease, now + pause)
            ours = outbox.confirm(
                connection, lease, now, later=refused.later, never=refused.never, again_at=now + pause
            )
            if not ours:
                return False, now, [], refused
            follow_ups.schedule(connection, now, lease, self.means.plan)
            if not refused.never:
                return True, now, [], refused
            if self._tells_deaths_of(lease):
                failing.refused(connection, now, lane.name, _reasons(refused.never))
            return True, now, follow_ups.schedule_for_refused(connection, now, lease, self.means.plan), refused

        ours, accepted_at, falling, refused = self._write(confirm)
        if not ours:
            log.warning(
                "alert %s to %s was accepted twice, since its lease ran out in between", lease.number, lane.name
            )
            return
        self.means.meter.incr("alerts.delivered", 1 + len(lease.others), channel=lane.name)
        if refused.later:
            lane.nudge_after(pause.total_seconds())
        if refused.never:
            self.means.meter.incr("alerts.dead", len(refused.never), channel=lane.name)
        self._time(lane, lease, accepted_at, DeliveryState.DELIVERED)
        self._fall_back(falling)

    def _time(self, lane: Lane, lease: Lease, now: datetime, outcome: DeliveryState) -> None:
        """From the event to its outcome, where nothing made it wait on purpose: no group, and no follow-up."""
        if lease.event is not None and lease.wave is None and lease.event.note is None:
            delay = (now - lease.event.occurred_at).total_seconds()
            self.means.meter.timing("alerts.delivery_delay", max(0.0, delay), channel=lane.name, outcome=outcome.value)

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
            self.means.meter.incr("alerts.attempt_failures", channel=lane.name, reason=outcome.failure.value)
            lane.nudge_after(pause_seconds)
        else:
            self._bury(lane, lease, outcome, given_up(lease.attempts, outcome.reason))

    def _bury(self, lane: Lane, lease: Lease, outcome: Retry | Permanent, reason: str) -> None:
        def bury(connection: Connection, now: datetime) -> tuple[bool, datetime, list[int]]:
            ours = outbox.bury(connection, lease, reason)
            if ours:
                self._tell_death(connection, now, lease, outcome, reason)
            if not ours or self.means.plan.routing is None:
                return ours, now, []
            follow_ups.schedule_for_dead(connection, now, lease, self.means.plan)
            return True, now, fallbacks.note(connection, now, self.means.plan, [lease.id])

        ours, buried_at, falling = self._write(bury)
        self.means.meter.incr("alerts.attempt_failures", channel=lane.name, reason=outcome.failure.value)
        if ours:
            self.means.meter.incr("alerts.dead", 1 + len(lease.others), channel=lane.name)
            self._time(lane, lease, buried_at, DeliveryState.DEAD)
            log.error("alert %s to %s is dead: %s", lease.number, lane.name, reason)
            self._fall_back(falling)

    def _fall_back(self, steps: Sequence[int]) -> None:
        """The death is written, whatever becomes of this. What cannot be done now is due at the next turn."""
        try:
            one_by_one.follow_up(self.means, steps)
        except SQLAlchemyError as error:
            log.debug("the fallback is told later: %s", first_line(error))

    def _tell_death(
        self, connection: Connection, now: datetime, lease: Lease, outcome: Retry | Permanent, reason: str
    ) -> None:
        """A fault of our own says nothing of the channel, and what refuses an address nothing of the others."""
        if lease.event is None and self.means.plan.failing_after is not None:
            failing.unreadable(connection, now, lease.id, reason)
        if outcome.failure is Failure.INTERNAL or not self._tells_deaths_of(lease):
            return
        if self._concerns_addresses(connection, now, lease, outcome):
            failing.refused(connection, now, lease.channel, dict.fromkeys(lease.addresses, reason))
        else:
            failing.gave_up(connection, now, lease.channel, reason)

    def _tells_deaths_of(self, lease: Lease) -> bool:
        return self.means.plan.failing_after is not None and not failing.is_about_delivery(lease.event)

    def _concerns_addresses(
        self, connection: Connection, now: datetime, lease: Lease, outcome: Retry | Permanent
    ) -> bool:
        """Whether it is these addresses, or this message to them, that is refused, and not whatever is sent.

        A server that takes nothing for now may say so of each address, so that counts only beside mail that it took.
        """
        is_permanent = isinstance(outcome, Permanent)
        is_known = outcome.addressee and (is_permanent or lease.refused)
        if is_known or not lease.addresses or self.means.plan.failing_after is None:
            return outcome.addressee
        may_be = outcome.addressee or (is_permanent and outcome.failure is Failure.REJECTED)
        return may_be and failing.has_accepted(connection, lease.channel, now - self.means.plan.failing_after)

    def _write(self, verb: Callable[[Connection, datetime], Result]) -> Result:
        """Writes an outcome down. While the lease lasts nobody else can, so a database that is away is waited for."""
        deadline = time.monotonic() + self.means.lease_for.total_seconds()
        while True:
            try:
                return self.means.transact(verb)
            except SQLAlchemyError:
                if time.monotonic() + DATABASE_PAUSE_SECONDS > deadline:
                    raise
                time.sleep(DATABASE_PAUSE_SECONDS)


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
    late = (replace(refusal, reason=given_up(lease.attempts, refusal.reason)) for refusal in outcome.later)
    return Delivered(never=(*outcome.never, *late))


def _reasons(refusals: Sequence[Refusal]) -> dict[str, str]:
    """Why each of these addresses did not take a message that others took."""
    return {address: refusal.reason for refusal in refusals for address in refusal.addresses}


def given_up(attempts: int, last: str) -> str:
    """Why a delivery is dead at its age limit; ``last`` is why its receiver took none before, if that is known.

    One that never was tried waited for a receiver that did not answer, or no deliverer was there to try it.
    """
    if not attempts and not last:
        return "given up untried: it was too old when it could have been sent first"
    tried = f"after {number_of(attempts, 'attempt')}" if attempts else "untried, for the receiver was away"
    return f"given up {tried}; the last: {last}" if last else f"given up {tried}"
