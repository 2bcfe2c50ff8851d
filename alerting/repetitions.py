"""To whom a trouble is told again: to where its receiver of alerting.yml is now, and not to where it was.

A receiver has a message for each of its channels, and may have several by mail. Each of them is told again by itself,
in its own time. So one is repeated by its own ways, as far as the receiver still has them, and by those that are new:
what has a message of its own is left to that one, and so is what another receiver tells as often.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Row

from alerting import addressees
from alerting.duties import covers
from alerting.events import AlertEvent
from alerting.heard import ways_of_row
from alerting.kinds import EventKind
from alerting.recoveries import TOLD
from alerting.routes import Origin, Plan, Target, Way, ways
from alerting.routing import Receiver


def targets(
    event: AlertEvent, delivery: Row[Any], receiver: Receiver, plan: Plan, rows: Iterable[Row[Any]], note: str
) -> tuple[Target, ...]:
    """Where this delivery of the event is repeated; ``rows`` are all that the event has."""
    left_out = _left_out(event, receiver, plan, rows) - set(ways_of_row(delivery))
    found: list[Target] = []
    for target in ways(event, receiver, plan):
        free = [way for way in target.ways if way not in left_out]
        if free:
            addresses = tuple(way.address for way in free if way.address)
            found.append(replace(target, addresses=addresses, origin=Origin.REPEAT, note=note, turn=delivery.turn + 1))
    return tuple(found)


def _left_out(event: AlertEvent, receiver: Receiver, plan: Plan, rows: Iterable[Row[Any]]) -> set[Way]:
    """What has a message of its own, and what cannot tell that it fails itself."""
    found: set[Way] = set()
    if event.kind is EventKind.DELIVERY_FAILING:
        channel, address = addressees.parts(event.subject or "")
        found.add(Way(channel, address or ""))
    for row in rows:
        by_another = row.state in TOLD and covers(plan.receiver(row.receiver), receiver, event.kind)
        if row.receiver == receiver.name or by_another:
            found |= set(ways_of_row(row))
    return found
