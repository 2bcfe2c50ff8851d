"""To whom a trouble is told again: to where its receiver of alerting.yml is now, and not to where it was.

A receiver has a message for each of its channels, and may have several by mail. Each of them is told again by itself,
in its own time. So one is repeated by its own ways, as far as the receiver still has them, and by those that are new:
what has a message of its own is left to that one, and so is what another receiver tells as often.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeAlias

from sqlalchemy import Row

from alerting import addressees
from alerting.duties import covers
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.recoveries import TOLD
from alerting.routes import Origin, Plan, Target, ways
from alerting.routing import Receiver

_Way: TypeAlias = tuple[str, str]  # a channel, and a mail address, or "" where the channel knows where to send


def targets(
    event: AlertEvent, delivery: Row[Any], receiver: Receiver, plan: Plan, rows: Iterable[Row[Any]], note: str
) -> tuple[Target, ...]:
    """Where this delivery of the event is repeated; ``rows`` are all that the event has."""
    left_out = _left_out(event, receiver, plan, rows) - _ways_of(delivery)
    found: list[Target] = []
    for target in ways(event, receiver, plan):
        free = [address for address in target.addresses or ("",) if (target.channel, address) not in left_out]
        if free:
            addresses = tuple(address for address in free if address)
            found.append(replace(target, addresses=addresses, origin=Origin.REPEAT, note=note, turn=delivery.turn + 1))
    return tuple(found)


def _left_out(event: AlertEvent, receiver: Receiver, plan: Plan, rows: Iterable[Row[Any]]) -> set[_Way]:
    """What has a message of its own, and what cannot tell that it fails itself."""
    found: set[_Way] = set()
    if event.kind is EventKind.DELIVERY_FAILING:
        channel, address = addressees.parts(event.subject or "")
        found.add((channel, address or ""))
    for row in rows:
        by_another = row.state in TOLD and covers(plan.receiver(row.receiver), receiver, event.kind)
        if row.receiver == receiver.name or by_another:
            found |= _ways_of(row)
    return found


def _ways_of(row: Row[Any]) -> set[_Way]:
    return {(row.channel, address) for address in addressees.known(row.address) or ("",)}
