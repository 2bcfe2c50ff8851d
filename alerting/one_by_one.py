"""One by one: where a step for many raises what is no fault of the database's, each of them is done alone.

So whatever one of them holds, the others go on, and that one is set aside with its reason, or put off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine

from alerting import failing, fallbacks, outbox
from alerting.database import transact
from alerting.routes import Plan
from alerting.telling import Told

log = logging.getLogger(__name__)

AT_ONCE: Final = 50
Done = TypeVar("Done")


def each(ids: Iterable[int], work: Callable[[int], Done], instead: Callable[[int, str], None]) -> Iterator[Done]:
    """What ``work`` returns of each of these; of one that raises, ``instead`` is told why."""
    for key in ids:
        try:
            done = work(key)
        except Exception as error:
            if not outbox.is_at_fault(error):
                raise
            instead(key, f"unexpected {outbox.place_of(error)}")
        else:
            yield done


def set_aside_delivery(engine: Engine, plan: Plan, delivery_id: int, why: str) -> tuple[int, Told]:
    """A message that cannot be leased is dead; for how many events, and what its fallback is told."""
    reason = f"this version cannot read the message ({why}); upgrade, then replay"

    def set_aside(connection: Connection, now: datetime) -> tuple[int, Told]:
        count = outbox.set_aside_delivery(connection, now, delivery_id, reason)
        if count and plan.failing_after is not None:
            failing.unreadable(connection, now, delivery_id, reason)
        return count, Told()

    def fall_back(connection: Connection, now: datetime) -> tuple[int, Told]:
        count, _ = set_aside(connection, now)
        return count, fallbacks.fall_back(connection, now, plan, [delivery_id]) if count else Told()

    try:
        count, told = transact(engine, fall_back)
    except Exception as error:  # of what the fallback reads of it
        if not outbox.is_at_fault(error):
            raise
        log.error("nobody is told instead of delivery %d: %s", delivery_id, outbox.place_of(error))
        count, told = transact(engine, set_aside)
    if count:
        log.error("a message is dead: %s", reason)
    return count, told
