"""How long a message may wait before somebody is told of it: what it waits for on purpose, and what it does not.

The ``rate`` of a channel makes messages wait on purpose. They are no sign of a channel that fails, keep no dead-man's
switch from being called, and are not given up for it. What was tried and not taken waits in vain, whoever answered.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update

from alerting import follow_ups, throttle
from alerting.follow_ups import MOST_AT_ONCE, Told
from alerting.outbox import DeliveryState
from alerting.routes import Origin, Plan
from alerting.routing import Limit
from alerting.spans import span
from alerting.tables import alert_delivery

_d = alert_delivery.c


def excuse(connection: Connection, now: datetime, channel: str, rate: Limit, give_up_after: timedelta) -> int:
    """Where this channel has had as many messages as it may, the age of those that wait for it counts from later on.

    From the moment at which the channel may be used again. What was tried keeps its age: the channel did not take it.
    Returns how many messages.
    """
    until = throttle.held_until(connection, now, channel, rate)
    if until is None:
        return 0
    untried = (_d.channel == channel, _d.state == DeliveryState.PENDING.value, _d.attempts == 0)
    waiting = (_d.due_at <= now, _d.waiting_since < until)
    age = {"waiting_since": until, "give_up_at": until + give_up_after}
    return connection.execute(update(alert_delivery).where(*untried, *waiting).values(age)).rowcount


def fall_back_late(
    connection: Connection, now: datetime, plan: Plan, channels: Collection[str], *, untried: bool = False
) -> Told | None:
    """Tells the fallback receivers of what was tried and not taken for as long as they let it wait; None: of nothing.

    A service may answer for a day that it cannot: it is not down, and yet nobody is told. The deliveries stay pending,
    as those of a channel that is down. With ``untried``, what waits for so long without a try counts, too.
    """
    told: Told | None = None
    for after, receivers in _by_patience(plan).items():
        late = (_d.state == DeliveryState.PENDING.value, _d.waiting_since <= now - after)
        theirs = (_d.channel.in_(channels), _d.receiver.in_(receivers), _d.attempts >= (0 if untried else 1))
        first = (_d.fell_back_at.is_(None), _d.origin.is_(None) | (_d.origin != Origin.FALLBACK.value))
        query = select(_d.id).where(*late, *theirs, *first).order_by(_d.id).limit(MOST_AT_ONCE)
        ids = connection.execute(query.with_for_update(skip_locked=True)).scalars().all()
        if ids:
            why = f"it has not taken it for {span(after)}; it is tried on"
            told = (told or Told()) + follow_ups.fall_back(connection, now, plan, ids, why)
    return told


def _by_patience(plan: Plan) -> dict[timedelta, list[str]]:
    """The receivers that have a fallback, by how long they let a message wait."""
    found: dict[timedelta, list[str]] = {}
    receivers = {} if plan.routing is None else plan.routing.receivers
    for name, receiver in sorted(receivers.items()):
        if receiver.fallback is not None:
            found.setdefault(receiver.fallback.after, []).append(name)
    return found
