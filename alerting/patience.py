"""How long a message may wait before somebody is told of it: what it waits for on purpose, and what it does not.

The ``rate`` of a channel makes messages wait on purpose. They are no sign of a channel that fails, keep no dead-man's
switch from being called, and are not given up for it. Neither is what was refused once or twice and waits for its next
turn, as long as the channel takes others. What was tried more often waits in vain, whoever answered: that is told, and
it is not given up for what it waits for the others.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, update

from alerting import failing, fallbacks, throttle
from alerting.outbox import IN_VAIN, DeliveryState
from alerting.routes import Plan
from alerting.routing import Limit
from alerting.spans import span
from alerting.tables import alert_delivery

_d = alert_delivery.c


def excuse(connection: Connection, now: datetime, channel: str, rate: Limit, give_up_after: timedelta) -> int:
    """Where this channel has had as many messages as it may, the age of those that wait for it counts from later on.

    From the moment at which the channel may be used again. Where the channel takes nothing, all that was tried keeps
    its age. Else what was tried IN_VAIN times is not given up earlier than the others, and keeps its age for all that
    tells of it. Returns how many messages are not told of.
    """
    until = throttle.held_until(connection, now, channel, rate)
    if until is None:
        return 0
    held = (_d.channel == channel, _d.state == DeliveryState.PENDING.value, _d.due_at <= now)
    give_up_at = until + give_up_after
    tries = 1 if _takes_nothing(connection, channel, until - 2 * rate.per) else IN_VAIN
    if tries == IN_VAIN:
        often = (_d.attempts >= IN_VAIN, _d.give_up_at < give_up_at)
        connection.execute(update(alert_delivery).where(*held, *often).values(give_up_at=give_up_at))
    patient = (_d.attempts < tries, _d.waiting_since < until)
    age = {"waiting_since": until, "give_up_at": give_up_at}
    return connection.execute(update(alert_delivery).where(*held, *patient).values(age)).rowcount


def _takes_nothing(connection: Connection, channel: str, since: datetime) -> bool:
    """Whether this channel has taken none since then, which is a window before this one, and was tried IN_VAIN times.

    One refusal is no sign of that, though a whole window passes before the next try.
    """
    tried = select(func.sum(_d.attempts)).where(_d.channel == channel, _d.state == DeliveryState.PENDING.value)
    return (connection.execute(tried).scalar() or 0) >= IN_VAIN and not failing.has_accepted(connection, channel, since)


def late(
    connection: Connection,
    now: datetime,
    plan: Plan,
    channels: Collection[str],
    *,
    untried: bool = False,
    only: int | None = None,
) -> dict[int, str]:
    """What was tried and not taken for as long as its receiver lets it wait, with what its fallback is told.

    A service may answer for a day that it cannot: it is not down, and yet nobody is told. The deliveries stay pending,
    as those of a channel that is down. With ``untried``, what waits for so long without a try counts, too; ``only``
    asks for this one alone.
    """
    found: dict[int, str] = {}
    for after, receivers in _by_patience(plan).items():
        is_late = (_d.waiting_since <= now - after, _d.attempts >= (0 if untried else 1))
        ids = fallbacks.waiting(connection, receivers, _d.channel.in_(channels), *is_late, only=only)
        found |= dict.fromkeys(ids, f"it has not taken it for {span(after)}; it is tried on")
    return found


def _by_patience(plan: Plan) -> dict[timedelta, list[str]]:
    """The receivers that have a fallback, by how long they let a message wait."""
    found: dict[timedelta, list[str]] = {}
    receivers = {} if plan.routing is None else plan.routing.receivers
    for name, receiver in sorted(receivers.items()):
        if receiver.fallback is not None:
            found.setdefault(receiver.fallback.after, []).append(name)
    return found
