"""Recording: an event in the transaction of whoever changes a state, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, func, select

from alerting.cleaning import storable
from alerting.database import batches, insert_new
from alerting.events import AlertEvent
from alerting.tables import alert_event

_e: Final = alert_event.c


def record(connection: Connection, events: Sequence[AlertEvent]) -> int:
    """Writes the events in the caller's transaction and returns how many were new.

    An event that is already there, by its dedup_key, is passed over; any other error is raised.
    """
    unique = list({event.dedup_key: event for event in events}.items())
    return sum(_record(connection, batch) for batch in batches(unique))


def _record(connection: Connection, events: Sequence[tuple[str, AlertEvent]]) -> int:
    statement = insert_new(connection, alert_event, "dedup_key")
    rows = [_event_row(key, event) for key, event in events]
    if connection.dialect.name not in ("mysql", "mariadb"):
        return len(connection.execute(statement.returning(_e.id), rows).all())
    # It has no RETURNING, and its row count takes an untouched row for a changed one.
    known = select(func.count()).where(_e.dedup_key.in_([key for key, _ in events]))
    before = int(connection.execute(known).scalar_one())
    connection.execute(statement, rows)
    return len(rows) - before


def known(connection: Connection, keys: Iterable[str]) -> set[str]:
    """Those of these keys of which an event is there."""
    wanted = sorted(set(keys))
    found = (connection.execute(select(_e.dedup_key).where(_e.dedup_key.in_(batch))) for batch in batches(wanted))
    return {key for rows in found for key in rows.scalars()}


def _event_row(key: str, event: AlertEvent) -> dict[str, Any]:
    return {
        "dedup_key": key,
        "kind": event.kind.value,
        "dag_id": _id(event.dag_id),
        "run_id": _id(event.run_id),
        "task_id": _id(event.task_id),
        "try_number": event.try_number,
        "occurred_at": event.occurred_at,
        "payload": _encode(event),
        "episode_key": event.episode_key,
    }


def _id(value: str | None) -> str | None:
    """The column is for searching, the payload keeps the whole."""
    return None if value is None else storable(value)[:250]


def _encode(event: AlertEvent) -> str:
    try:
        return msgspec.json.encode(event).decode()
    except UnicodeEncodeError:  # a task's output need not be UTF-8, and a failure must be told all the same
        return msgspec.json.encode(_writable(msgspec.to_builtins(event))).decode()


def _writable(value: Any) -> Any:
    """Replaces the lone surrogates with which Python stands in for bytes that are not UTF-8."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list() | tuple():
            return [_writable(item) for item in value]
        case dict():
            return {key: _writable(item) for key, item in value.items()}
        case _:
            return value
