"""The outbox of a programme without a notifier: a file or a database of its own, or the metastore of a Windsock."""

from __future__ import annotations

from enum import Enum
from typing import Final

from sqlalchemy import Engine, func, inspect, select
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from alerting import outbox
from alerting.clock import database_now
from alerting.database import connect, transact
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.outbox import DeliveryState
from alerting.tables import TABLES, alert_delivery, alert_event, alert_follow_up, metadata

_e, _d = alert_event.c, alert_delivery.c
_METASTORE: Final = "windsock_version"  # the table that tells a metastore's schema


class Standing(Enum):
    """How an event stands, and what else is in the outbox."""

    OPEN = "open"  # somebody is still to be told of it
    SETTLED = "settled"  # nobody is, but others' messages are due
    IDLE = "idle"  # nothing is due


def open_outbox(url: str) -> Engine:
    """The database, with the outbox's tables in it. A path is an SQLite file. Raises AlertingError.

    What an older version has made gets what its follow-ups lack; a metastore gets that by ``windsock db upgrade``.
    """
    try:
        engine = connect(url if "://" in url else f"sqlite:///{url}")
    except (ArgumentError, NoSuchModuleError, ImportError):
        raise AlertingError("outbox of notify() is neither a path nor a database URL that can be used") from None
    try:
        there = inspect(engine)
        if not there.has_table(alert_event.name):
            _create(engine)
        elif not there.has_table(_METASTORE):
            _renew(engine)
    except DBAPIError as error:
        engine.dispose()
        raise AlertingError(f"the outbox of notify() cannot be used: {error.orig}") from None
    return engine


def _create(engine: Engine) -> None:
    try:
        metadata.create_all(engine, tables=TABLES)
    except DBAPIError:  # another callback was faster
        metadata.create_all(engine, tables=TABLES)


def _renew(engine: Engine) -> None:
    try:
        _add_what_is_new_of_follow_ups(engine)
    except DBAPIError:  # another callback was faster
        _add_what_is_new_of_follow_ups(engine)


def _add_what_is_new_of_follow_ups(engine: Engine) -> None:
    column, found = alert_follow_up.c.error, inspect(engine)
    if not found.has_table(alert_follow_up.name):  # older still
        metadata.create_all(engine, tables=TABLES)
        return
    if column.name in {there["name"] for there in found.get_columns(alert_follow_up.name)}:
        return
    with engine.begin() as connection:
        kind = column.type.compile(engine.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {alert_follow_up.name} ADD COLUMN {column.name} {kind}")


def keep(engine: Engine, event: AlertEvent) -> bool:
    """Write the event; returns whether a notifier of Windsock is to deliver it."""
    transact(engine, lambda connection, _now: outbox.record(connection, [event]))
    return inspect(engine).has_table(_METASTORE)


def standing(engine: Engine, event: AlertEvent) -> Standing:
    """Whether every receiver of an event has been told or given up, and whether anything else could be sent now."""
    own = _e.dedup_key == event.dedup_key
    unfinished = (DeliveryState.PENDING, DeliveryState.SENDING)
    untold = (*unfinished, DeliveryState.WAITING)
    both = alert_event.join(alert_delivery, _e.id == _d.event_id)
    unrouted = select(func.count()).where(own, _e.routed_at.is_(None))
    unsent = select(func.count()).select_from(both).where(own, _d.state.in_(untold))
    with engine.connect().execution_options(read_only=True) as connection:
        if any(connection.execute(query).scalar() for query in (unrouted, unsent)):
            return Standing.OPEN
        due = select(func.count()).where(_d.state.in_(unfinished), _d.due_at <= database_now(connection))
        sending = select(func.count()).where(_d.state == DeliveryState.SENDING)
        others = any(connection.execute(query).scalar() for query in (due, sending))
    return Standing.SETTLED if others else Standing.IDLE
