"""Replaying: what is dead is sent again, to the same receivers or to another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, case, select, update

from alerting import groups
from alerting.database import batches
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
    named = None if ids is None else whole_messages(connection, list(ids))
    routed_anew = route_again(connection, named) if to is None else 0
    chosen = _d.state == DeliveryState.DEAD
    if to is not None:
        chosen |= (_d.state == DeliveryState.PENDING) & _d.channel.not_in([*receivers, to, EMAIL, GRAFANA])
    rows = _locked(connection, chosen, named)
    values: dict[str, Any] = {"state": "pending", "due_at": now, "attempts": 0}
    values |= {"waiting_since": now, "give_up_at": now + give_up_after, "held_by": None}
    values["fell_back_at"] = case((_d.fell_back_to.is_not(None), _d.fell_back_at))  # else no fallback could be told
    if to is not None:
        rows = _movable(connection, rows, to)
        values["channel"] = to
    for part in batches([row.id for row in rows]):
        connection.execute(update(alert_delivery).where(_d.id.in_(part)).values(**values))
    waves: dict[int, list[int]] = {}
    for row in rows:
        if row.wave is not None:
            waves.setdefault(row.wave, []).append(row.id)
    for members in waves.values():
        groups.form_wave(connection, members)
    return len(rows) + routed_anew


def any_dead(connection: Connection, ids: Sequence[int]) -> bool:
    """Whether replay() would find any of these."""
    query = select(_d.id).where(_d.id.in_(ids), _d.state == DeliveryState.DEAD).limit(1)
    return bool(ids) and connection.execute(query).first() is not None


def whole_messages(connection: Connection, ids: Sequence[int]) -> list[int]:
    """These deliveries and all that are told by the same messages: one is replayed as a whole, whichever is named."""
    found, waves = set(ids), set[int]()
    for part in batches(ids):
        query = select(_d.wave).where(_d.id.in_(part), _d.wave.is_not(None))
        waves.update(connection.execute(query).scalars())
    for part in batches(sorted(waves)):
        found.update(connection.execute(select(_d.id).where(_d.wave.in_(part))).scalars())
    return sorted(found)


def _locked(connection: Connection, chosen: ColumnElement[bool], ids: Sequence[int] | None) -> list[Row[Any]]:
    """What is chosen, of these or of all, in order."""
    columns = (_d.id, _d.event_id, _d.channel, _d.wave)
    query: Select[Any] = select(*columns).where(chosen).order_by(_d.id).with_for_update()
    queries = [query] if ids is None else [query.where(_d.id.in_(part)) for part in batches(ids)]
    found: list[Row[Any]] = []
    for one in queries:
        found += connection.execute(one).all()
    return found


def _movable(connection: Connection, rows: Sequence[Row[Any]], to: str) -> list[Row[Any]]:
    """One delivery of each event that `to` has none of; its own dead ones too."""
    told: set[int] = set()
    for part in batches(sorted({row.event_id for row in rows})):
        told.update(connection.execute(select(_d.event_id).where(_d.channel == to, _d.event_id.in_(part))).scalars())
    found: dict[int, Row[Any]] = {}
    for row in rows:
        if row.channel == to or not (row.channel in (EMAIL, GRAFANA) or row.event_id in told):
            found[row.event_id] = row
    return list(found.values())
