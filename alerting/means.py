"""What a deliverer works with, shared by its lanes and its turns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from alerting import failing, outbox
from alerting.database import Result, read, transact
from alerting.meters import Meter
from alerting.outbox import Aside
from alerting.render import Renderer
from alerting.routes import Plan, SuppressedBy
from alerting.telling import Told

log = logging.getLogger(__name__)

DATABASE_PAUSE_SECONDS: Final = 1.0


@dataclass
class Means:
    """``plan`` changes with the file. ``nudge`` wakes the lanes of these channels, as often as each is named."""

    engine: Engine
    renderer: Renderer
    plan: Plan
    lease_for: timedelta
    meter: Meter
    holder: str
    nudge: Callable[[Sequence[str]], None]

    def transact(self, verb: Callable[[Connection, datetime], Result]) -> Result:
        return transact(self.engine, verb)

    def read(self, verb: Callable[[Connection], Result]) -> Result:
        return read(self.engine, verb)

    def heed(self, told: Told) -> None:
        """Counts what follows a message, and wakes the lanes that have it."""
        for origin in told.origins:
            self.meter.incr("alerts.follow_ups", reason=origin.value)
        for reason in told.suppressed:
            self.meter.incr("alerts.suppressed", reason=reason.value)
        self.nudge(told.channels)

    def tell_unread(self, connection: Connection, now: datetime, aside: Aside) -> None:
        """People hear of it that a part of a message cannot be read. In the transaction that leases the rest."""
        for key, _ in aside.unread if self.plan.failing_after is not None else ():
            failing.unreadable(connection, now, key, outbox.UNREADABLE)

    def count_aside(self, aside: Aside) -> None:
        self.count_overtaken(len(aside.overtaken))
        for key, channel in aside.unread:
            self.meter.incr("alerts.dead", channel=channel)
            log.error("a part of a message to %s is dead (delivery %d): %s", channel, key, outbox.UNREADABLE)

    def count_overtaken(self, count: int) -> None:
        if count:
            self.meter.incr("alerts.suppressed", count, reason=SuppressedBy.OVERTAKEN.value)


def first_line(error: Exception) -> str:
    """SQLAlchemy's messages go on with the statement and its parameters, which are none of the log's business."""
    return str(error).partition("\n")[0]
