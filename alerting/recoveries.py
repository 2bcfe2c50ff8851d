"""The end of a trouble: who is told that it is over, and from when on it is not open any more.

Whoever was told of the trouble, or is about to be, hears of its end by the same ways, and nobody else does. Where the
trouble still waits in a group, its end waits with it, and one message tells of both: a failure is not kept from people
because it was short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, bindparam, select, update

from alerting import addressees
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.routes import EMAIL, Group, Origin, Plan, Suppressed, SuppressedBy, Target, each_once
from alerting.tables import alert_delivery, alert_event, alert_group

_d, _e, _g = alert_delivery.c, alert_event.c, alert_group.c
# Dead and suppressed deliveries told nobody.
TOLD: Final = ("pending", "sending", "delivered", "waiting")
_UNTOLD: Final = Suppressed("nobody was told of what this ends")
_UNWANTED: Final = "{} is not told of ends: send_resolved is false"


def end_episodes(
    connection: Connection, endings: Mapping[int, AlertEvent], plan: Plan
) -> dict[int, tuple[Target, ...]]:
    """Marks as over what these events end, and says for each whom to tell.

    1. Mark the troubles of the same episode that came before and are open. An update waits for a router that has one
       of them locked, so its deliveries are seen in step 2.
    2. Read who has a delivery about them.
    """
    marked = (
        update(alert_event)
        .where(
            _e.episode_key == bindparam("key"),
            _e.kind != bindparam("own_kind"),  # an end before this one is in the episode, too
            _e.id < bindparam("ending"),
            _e.ended_by.is_(None),
        )
        .values(ended_by=bindparam("ending"))
    )
    connection.execute(marked, [_marks(event_id, endings[event_id]) for event_id in sorted(endings)])
    told: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(_deliveries(endings)).all():
        told.setdefault(row.ended_by, []).append(row)
    return {event_id: _targets(event.kind, told.get(event_id, ()), plan) for event_id, event in endings.items()}


def _marks(event_id: int, event: AlertEvent) -> dict[str, Any]:
    return {"key": event.episode_key, "own_kind": event.kind.value, "ending": event_id}


def _deliveries(endings: Mapping[int, AlertEvent]) -> Any:
    keys = {event.episode_key for event in endings.values()}
    return (
        select(
            *(_e.ended_by, _d.channel, _d.address, _d.receiver),
            *(_g.receiver.label("grouped_for"), _g.labels, _g.wait_seconds, _g.interval_seconds),
        )
        .select_from(
            alert_event.join(alert_delivery, _d.event_id == _e.id).outerjoin(alert_group, _g.id == _d.group_id)
        )
        .where(_e.episode_key.in_(keys), _e.ended_by.in_(list(endings)), _d.state.in_(TOLD))
        .order_by(_d.id)
    )


def _targets(kind: EventKind, told: Sequence[Row[Any]], plan: Plan) -> tuple[Target, ...]:
    """Each channel and mail address once, whichever and however many of the troubles went there.

    Where two receivers share a way, and one of them does not want ends, it is the other's. Where both want them and
    fall back to different receivers, it is told for each.
    """
    targets = [_target(row, plan) for row in told if row.channel != EMAIL or addressees.known(row.address)]
    return each_once(kind, targets, plan) or (Target("", held=_UNTOLD),)


def _target(row: Row[Any], plan: Plan) -> Target:
    receiver = plan.receiver(row.receiver)
    unwanted = receiver is not None and not receiver.send_resolved
    return Target(
        row.channel,
        addressees.known(row.address),
        receiver=row.receiver,
        group=None if unwanted else _group(row),
        held=Suppressed(_UNWANTED.format(row.receiver), SuppressedBy.UNWANTED) if unwanted else None,
        origin=Origin.RESOLVED,
    )


def _group(row: Row[Any]) -> Group | None:
    """The group that the trouble is in; None where it was forgotten meanwhile, or has labels that cannot be read.

    Then the end is told at once.
    """
    try:
        labels = msgspec.json.decode(row.labels or "", type=tuple[tuple[str, str], ...])
    except msgspec.DecodeError:
        return None
    wait, interval = timedelta(seconds=row.wait_seconds), timedelta(seconds=row.interval_seconds)
    return Group(row.grouped_for, labels, wait, interval)
