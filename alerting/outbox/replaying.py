"""Replaying: what is dead is sent again, to the same receivers or to another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, select, update

from alerting import groups
from alerting.outbox.deliveries import DeliveryState
from alerting.outbox.setting_aside import route_again
from alerting.routes import EMAIL, GRAFANA
from alerting.tables import alert_delivery

_d: Final = alert_delivery.c


def replay(
    connection: Connection,
    now: datetime,
    give_up_after: timedelta,
    ids: Iterable[int] | None = None,
    to: str | None = None,
    receivers: Sequence[str] = (),
) -> int:
    """Makes dead deliveries pending again, these or all; returns how many.

    With `to`, those of chat receivers go to that receiver, unless it was to be told of the same event already; and with
    them what waits for a receiver that is none of `receivers` any more. Without it, what could not be routed is to be
    routed anew.
    """
    if ids is not None:
        ids = list(ids)
    routed_anew = route_again(connection, ids) if to is None else 0
    chosen = _d.state == DeliveryState.DEAD
    if to is not None:
        chosen |= (_d.state == DeliveryState.PENDING) & _d.channel.not_in([*receivers, to, EMAIL, GRAFANA])
    if ids is not None:
        chosen &= _d.id.in_(_with_their_waves(connection, ids))
    values: dict[str, Any] = {"state": "pending", "due_at": now, "attempts": 0}
    values |= {"waiting_since": now, "give_up_at": now + give_up_after, "held_by": None}
    if to is not None:
        chosen &= _d.id.in_(_movable(connection, chosen, to))
        values["channel"] = to
    in_waves = select(_d.id, _d.wave).where(chosen, _d.wave.is_not(None)).order_by(_d.id)
    waves: dict[int, list[int]] = {}
    for row in connection.execute(in_waves).all():
        waves.setdefault(row.wave, []).append(row.id)
    count = connection.execute(update(alert_delivery).where(chosen).values(**values)).rowcount
    for members in waves.values():
        groups.form_wave(connection, members)
    return count + routed_anew


def any_dead(connection: Connection, ids: Sequence[int]) -> bool:
    """Whether replay() would find any of these."""
    query = select(_d.id).where(_d.id.in_(ids), _d.state == DeliveryState.DEAD).limit(1)
    return bool(ids) and connection.execute(query).first() is not None


def _with_their_waves(connection: Connection, ids: Sequence[int]) -> list[int]:
    """One message is replayed as a whole, whichever of its deliveries is named."""
    waves = select(_d.wave).where(_d.id.in_(ids), _d.wave.is_not(None))
    others = connection.execute(select(_d.id).where(_d.wave.in_(connection.execute(waves).scalars().all())))
    return [*ids, *others.scalars()]


def _movable(connection: Connection, chosen: ColumnElement[bool], to: str) -> list[int]:
    """One delivery of each event that `to` has none of; its own dead ones too."""
    told = select(_d.event_id).where(_d.channel == to)
    others = _d.channel.not_in((EMAIL, GRAFANA)) & _d.event_id.not_in(told)
    rows = connection.execute(select(_d.id, _d.event_id).where(chosen, others | (_d.channel == to)))
    return list({row.event_id: row.id for row in rows}.values())
