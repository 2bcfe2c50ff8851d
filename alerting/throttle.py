"""Storm control: how many messages a receiver is told within a window; what goes beyond it becomes one digest.

And the pace of a channel: how many messages it takes within a window; what goes beyond it waits for the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select, update

from alerting.database import insert_new
from alerting.routing import Limit
from alerting.tables import alert_pace

_p: Final = alert_pace.c
_CHANNEL: Final = "#"  # before a channel's name, which no receiver's has


def take(
    connection: Connection, now: datetime, limits: Mapping[str, Limit], wanted: Mapping[str, int]
) -> dict[str, int]:
    """For each receiver how many of the wanted messages may go now; they are counted as gone.

    1. Lock the receivers' rows, in one order, so that two deliverers count one after the other.
    2. Begin a new window where the last one is over.
    3. Write the new count. A rollback of the caller's transaction takes it back with the messages.
    """
    names = sorted(name for name in wanted if name in limits)
    if not names:
        return dict(wanted)
    known = lock(connection, now, names)
    allowed = dict(wanted)
    for name in names:
        start, told = _window(known[name], now, limits[name])
        allowed[name] = max(0, min(wanted[name], limits[name].messages - told))
        values = {"window_start": start, "messages": told + allowed[name]}
        connection.execute(update(alert_pace).where(_p.receiver == name).values(values))
    return allowed


def take_one(connection: Connection, now: datetime, receiver: str, limit: Limit) -> bool:
    """Whether one more message may go to this receiver."""
    return take(connection, now, {receiver: limit}, {receiver: 1})[receiver] == 1


def pause(connection: Connection, now: datetime, channel: str, rate: Limit) -> timedelta | None:
    """None: one more message may go through this channel; :func:`count` it. Else how long it has to wait.

    Asked before a message is leased, so that what has to wait keeps its place. The count stays locked until then.
    """
    key = f"{_CHANNEL}{channel}"
    known = lock(connection, now, [key])[key]
    start, sent = _window(known, now, rate)
    if sent < rate.messages:
        return None
    if start != known[0]:
        connection.execute(update(alert_pace).where(_p.receiver == key).values(window_start=start))
    return start + rate.per - now


def count(connection: Connection, now: datetime, channel: str, rate: Limit) -> None:
    """One more message goes through this channel. In the transaction of :func:`pause`."""
    take_one(connection, now, f"{_CHANNEL}{channel}", rate)


def take_back(connection: Connection, counted_at: datetime, channel: str) -> None:
    """The message that was counted then has not gone through this channel; nothing, where its window is over."""
    counted = (_p.receiver == f"{_CHANNEL}{channel}", _p.window_start <= counted_at, _p.messages > 0)
    connection.execute(update(alert_pace).where(*counted).values(messages=_p.messages - 1))


def held_until(connection: Connection, now: datetime, channel: str, rate: Limit) -> datetime | None:
    """When this channel may be used again; None where it may be used now."""
    query = select(_p.window_start, _p.messages).where(_p.receiver == f"{_CHANNEL}{channel}")
    known = connection.execute(query).one_or_none()
    start, sent = (now, 0) if known is None else _window((known.window_start, known.messages), now, rate)
    return start + rate.per if sent >= rate.messages else None


def _window(known: tuple[datetime, int], now: datetime, limit: Limit) -> tuple[datetime, int]:
    """When the window of now began, and what was told in it.

    One that begins in the future is of a clock that was set back since: it begins now, and nobody waits for longer than
    a window.
    """
    start, told = known
    return (now, 0) if now - start >= limit.per else (min(start, now), told)


def lock(connection: Connection, now: datetime, names: list[str]) -> dict[str, tuple[datetime, int]]:
    """Locks the rows of these receivers, new ones too; returns when the window of each began and what it was told."""
    query = select(alert_pace).where(_p.receiver.in_(names)).order_by(_p.receiver).with_for_update()
    known = {row.receiver: (row.window_start, row.messages) for row in connection.execute(query)}
    missing = [name for name in names if name not in known]
    if not missing:
        return known
    rows = [{"receiver": name, "window_start": now, "messages": 0} for name in missing]
    connection.execute(insert_new(connection, alert_pace, "receiver").values(rows))
    return {row.receiver: (row.window_start, row.messages) for row in connection.execute(query)}
