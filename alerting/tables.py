"""The outbox: events as recorded, and one delivery row per event and channel."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. Aware in Python, always UTC; stored with microseconds. A naive value is refused with TypeError."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            msg = f"{value!r} has no time zone; instants are stored, so attach one"
            raise TypeError(msg)
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


metadata = MetaData()

BigKey = BigInteger().with_variant(Integer(), "sqlite")  # SQLite autoincrements only INTEGER keys
# Ids compare byte by byte on every database; MySQL's default collation would fold case.
Id = String(250).with_variant(mysql.VARCHAR(250, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
Token = String(36).with_variant(mysql.VARCHAR(36, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
LongText = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")

alert_event = Table(
    "alert_event",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("dedup_key", String(64), nullable=False, unique=True),
    Column("kind", String(32), nullable=False),
    Column("dag_id", Id),
    Column("run_id", Id),
    Column("task_id", Id),
    Column("try_number", Integer),
    Column("occurred_at", UtcDateTime, nullable=False),
    Column("payload", LongText, nullable=False),  # the AlertEvent as JSON
    Column("routed_at", UtcDateTime),  # NULL until its deliveries are written
    Index("ix_alert_event_unrouted", "routed_at", "id"),  # route(): events without deliveries
    Index("ix_alert_event_dag", "dag_id", "id"),  # alerts list --dag
)

# state: pending → sending → delivered | pending (retry) | dead;  suppressed = routed to nobody, kept with its reason
#
# due_at is the next moment at which a deliverer may take the row: the next attempt of a pending one, the end of the
# lease of one that is being sent. A row that is finished has none, so history costs the lease query nothing.
alert_delivery = Table(
    "alert_delivery",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("event_id", BigKey, ForeignKey("alert_event.id", ondelete="CASCADE"), nullable=False),
    Column("channel", String(64), nullable=False),  # receiver's name, never its URL; "" where suppressed
    Column("target", String(64), nullable=False),  # SHA-256 of address: one delivery per event and address
    Column("address", LongText, nullable=False),  # mail addresses (JSON list), or "" where the receiver holds the URL
    Column("state", String(12), nullable=False),
    Column("due_at", UtcDateTime),
    Column("token", Token),  # of the deliverer that holds the lease; every outcome is guarded by it
    Column("attempts", Integer, nullable=False, default=0),
    Column("error", LongText),  # why the last attempt failed, or why nobody is told; without secrets
    Column("created_at", UtcDateTime, nullable=False),
    Column("give_up_at", UtcDateTime, nullable=False),  # a retry after this moment is a death; replay() moves it
    Column("delivered_at", UtcDateTime),
    UniqueConstraint("event_id", "channel", "target", name="uq_alert_delivery_target"),
    CheckConstraint(
        "(state IN ('pending', 'sending')) = (due_at IS NOT NULL)", name="ck_alert_delivery_due_while_open"
    ),
    CheckConstraint("(state = 'sending') = (token IS NOT NULL)", name="ck_alert_delivery_token_while_sending"),
    CheckConstraint("(state = 'delivered') = (delivered_at IS NOT NULL)", name="ck_alert_delivery_delivered_at"),
    Index("ix_alert_delivery_due", "channel", "due_at"),  # lease(), next_due()
    Index("ix_alert_delivery_state", "state", "id"),  # backlog(), replay(), alerts list --state
    Index("ix_alert_delivery_count", "channel", "state", "created_at"),  # metastore exporter: counts and oldest
)
