"""The outbox of a programme without a notifier: a file or a database of its own, or the metastore of a Windsock."""

from __future__ import annotations

from enum import Enum
from typing import Final

from sqlalchemy import Engine, func, inspect, select
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from alerting import outbox
from alerting.database import connect, transact
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.outbox import DeliveryState
from alerting.tables import TABLES, alert_delivery, alert_event, metadata

_METASTORE: Final = "windsock_version"  # the table that tells a metastore's schema


class Standing(Enum):
    """How an event stands."""

    OPEN = "open"
    SETTLED = "settled"


def open_outbox(url: str) -> Engine:
    """The database, with the outbox's tables in it. A path is an SQLite file. Raises AlertingError."""
    try:
        engine = connect(url if "://" in url else f"sqlite:///{url}")
    except (ArgumentError, NoSuchModuleError, ImportError):
        raise AlertingError("outbox of notify() is neither a path nor a database URL that can be used") from None
    try:
        if not inspect(engine).has_table(alert_event.name):
            _create(engine)
    except DBAPIError as error:
        engine.dispose()
        raise AlertingError(f"the outbox of notify() cannot be used: {error.orig}") from None
    return engine


def _create(engine: Engine) -> None:
    try:
        metadata.create_all(engine, tables=TABLES)
    except DBAPIError:  # another callback was faster
        metadata.create_all(engine, tables=TABLES)


def keep(engine: Engine, event: AlertEvent) -> bool:
    """Write the event; returns whether a notifier of Windsock is to deliver it."""
    transact(engine, lambda connection, _now: outbox.record(connection, [event]))
    return inspect(engine).has_table(_METASTORE)


def standing(engine: Engine, event: AlertEvent) -> Standing:
    """Whether every receiver of an event has been told or given up."""
    e, d = alert_event.c, alert_delivery.c
    unrouted = select(func.count()).where(e.dedup_key == event.dedup_key, e.routed_at.is_(None))
    unfinished = (
        select(func.count())
        .select_from(alert_event.join(alert_delivery, e.id == d.event_id))
        .where(
            e.dedup_key == event.dedup_key,
            d.state.in_((DeliveryState.PENDING, DeliveryState.SENDING)),
        )
    )
    with engine.connect() as connection:
        open_ones = sum(int(connection.execute(query).scalar_one()) for query in (unrouted, unfinished))
    return Standing.OPEN if open_ones else Standing.SETTLED
