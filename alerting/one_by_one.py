"""One by one: where a step for many raises what is no fault of the database's, each of them is done alone.

So whatever one of them holds, the others go on, and that one is set aside with its reason, or put off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias, TypeVar

from sqlalchemy import Connection

from alerting import failing, fallbacks, follow_ups, outbox, putting_off
from alerting.addressees import ROUTING
from alerting.errors import Unreadable
from alerting.means import Means
from alerting.telling import Told

log = logging.getLogger(__name__)

AT_ONCE: Final = 50
Done = TypeVar("Done")
Find: TypeAlias = Callable[[Connection, datetime, int | None], dict[int, str]]  # all, or this one: with its reason


def each(ids: Iterable[int], work: Callable[[int], Done], instead: Callable[[int, str], None]) -> Iterator[Done]:
    """What ``work`` returns of each of these; of one that raises, ``instead`` is told why."""
    for key in ids:
        try:
            done = work(key)
        except Exception as error:
            if not outbox.is_at_fault(error):
                raise
            instead(key, _why(error))
        else:
            yield done


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, Unreadable) else f"unexpected {outbox.place_of(error)}"


def set_aside_event(means: Means, event_id: int, why: str) -> None:
    """An event that cannot be routed is dead."""
    reason = f"it cannot be routed: {why}"

    def set_aside(connection: Connection, now: datetime) -> bool:
        if not outbox.set_aside(connection, now, event_id, reason):
            return False
        if means.plan.failing_after is not None:
            failing.unroutable(connection, now, event_id, reason)
        return True

    if means.transact(set_aside):
        means.meter.incr("alerts.dead", channel=ROUTING)
        log.error("alert %d is dead: %s", event_id, reason)


def put_off(means: Means, verb: Callable[[Connection, datetime, int, str], str | None], key: int, why: str) -> None:
    """What cannot be told for now is tried again later; ``verb`` is one of ``putting_off``."""

    def put_off_and_tell(connection: Connection, now: datetime) -> str | None:
        what = verb(connection, now, key, why)
        if what is not None and means.plan.failing_after is not None:
            failing.put_off(connection, now, what, why)
        return what

    what = means.transact(put_off_and_tell)
    if what is not None:
        log.error("nobody can be told %s, trying again later: %s", what, why)


def bury_unreadable(means: Means, channel: str, delivery_id: int, why: str) -> None:
    """A message that cannot be leased is dead, and its fallback is told."""
    reason = f"this version cannot read the message ({why}); upgrade, then replay"

    def set_aside(connection: Connection, now: datetime) -> tuple[int, list[int]]:
        count = outbox.set_aside_delivery(connection, now, delivery_id, reason)
        if not count:
            return 0, []
        if means.plan.failing_after is not None:
            failing.unreadable(connection, now, delivery_id, reason)
        return count, fallbacks.note(connection, now, means.plan, [delivery_id])

    count, falling = means.transact(set_aside)
    if count:
        means.meter.incr("alerts.dead", count, channel=channel)
        log.error("a message to %s is dead: %s", channel, reason)
    follow_up(means, falling)


def follow_up(means: Means, ids: Iterable[int]) -> None:
    """Does these follow-ups, where they are due."""

    def work(key: int) -> Told | None:
        return means.transact(partial(follow_ups.follow_up, plan=means.plan, only=key))

    for told in each(ids, work, partial(put_off, means, putting_off.put_off_follow_up)):
        if told is not None:
            means.heed(told)


def fall_back(means: Means, find: Find) -> bool:
    """Tells the fallback receivers of what ``find`` finds to wait in vain; True where there may be more."""

    def work(key: int | None) -> Told | None:
        def tell(connection: Connection, now: datetime) -> Told | None:
            return fallbacks.fall_back_all(connection, now, means.plan, find(connection, now, key))

        return means.transact(tell)

    try:
        told = work(None)
    except Exception as error:
        if not outbox.is_at_fault(error):
            raise
        log.error("falling back fails, trying again one by one: %s", outbox.place_of(error))
        ids = means.transact(lambda connection, now: sorted(find(connection, now, None)))
        for one in each(ids, work, partial(put_off, means, putting_off.put_off_fallback)):
            means.heed(one or Told())
        return False
    means.heed(told or Told())
    return told is not None
