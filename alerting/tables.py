"""The outbox: events as recorded, and one delivery row per event and channel."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

_MYSQL: Final = ("mysql", "mariadb")


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. Aware in Python, always UTC; stored with microseconds. A naive value is refused with TypeError."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        if dialect.name in _MYSQL:
            from sqlalchemy.dialects import mysql  # its sixteen modules are for those who use it

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


class ExactString(TypeDecorator[str]):
    """A string that compares byte by byte on every database; MySQL's default collation would fold case."""

    impl = String
    cache_ok = True

    def __init__(self, length: int, charset: str) -> None:
        super().__init__(length)
        self.length, self.charset = length, charset

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        if dialect.name not in _MYSQL:
            return super().load_dialect_impl(dialect)
        from sqlalchemy.dialects import mysql

        return mysql.VARCHAR(self.length, charset=self.charset, collation=f"{self.charset}_bin")


class LongText(TypeDecorator[str]):
    """A text of any length; MySQL's own TEXT ends at 64 KB."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        if dialect.name not in _MYSQL:
            return super().load_dialect_impl(dialect)
        from sqlalchemy.dialects import mysql

        return mysql.LONGTEXT()


metadata = MetaData()

BigKey = BigInteger().with_variant(Integer(), "sqlite")  # SQLite autoincrements only INTEGER keys
Id = ExactString(250, "utf8mb4")
Token = ExactString(36, "ascii")

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
    Column("episode_key", String(64)),  # the same for a trouble and for what ends it
    Column("ended_by", BigKey),  # the id of the event that ended it; NULL while it is open, and where nothing can
    Index("ix_alert_event_unrouted", "routed_at", "id"),  # route(): events without deliveries
    Index("ix_alert_event_dag", "dag_id", "id"),  # alerts list --dag
    Index("ix_alert_event_dag_open", "dag_id", "kind", "ended_by", "occurred_at"),  # twins.unless_told(), pages
    Index("ix_alert_event_episode", "episode_key", "id"),  # recoveries.end_episodes()
    Index("ix_alert_event_open", "kind", "ended_by", "occurred_at"),  # inhibitions, acks.find_open()
)

# Who has seen an alert: it is neither escalated nor repeated any more.
alert_ack = Table(
    "alert_ack",
    metadata,
    Column("event_id", BigKey, ForeignKey("alert_event.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("author", String(250), nullable=False),
    Column("comment", LongText, nullable=False),
    Column("acked_at", UtcDateTime, nullable=False),
)

# state: pending → sending → delivered | pending (retry) | dead;  suppressed = nobody is told, kept with its reason
#        waiting (for its group) → pending, or waiting for the row that carries its wave → delivered | dead with it
#
# A wave is one message about several events. The row whose id is the others' wave carries it: this one is leased, sent
# and settled, and the others, which wait meanwhile, take its outcome in the same transaction.
#
# due_at is the next moment at which a deliverer may take the row: the next attempt of a pending one, the end of the
# lease of one that is being sent. A row that is finished has none, so history costs the lease query nothing.
alert_delivery = Table(
    "alert_delivery",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("event_id", BigKey, ForeignKey("alert_event.id", ondelete="CASCADE"), nullable=False),
    Column("channel", String(64), nullable=False),  # receiver's name, never its URL; "" where suppressed
    Column("target", String(64), nullable=False),  # Target.digest: one delivery per event, receiver, address and turn
    Column("address", LongText, nullable=False),  # mail addresses (JSON list), or "" where the receiver holds the URL
    Column("state", String(12), nullable=False),
    Column("due_at", UtcDateTime),
    Column("token", Token),  # of the deliverer that holds the lease; every outcome is guarded by it
    Column("attempts", Integer, nullable=False, default=0),
    Column("error", LongText),  # why the last attempt failed, or why nobody is told; without secrets
    Column("created_at", UtcDateTime, nullable=False),
    # When it was to be sent first, or again by replay(). NULL in a group until that is put off.
    Column("waiting_since", UtcDateTime),
    # A retry after this moment is a death. It counts from waiting_since, however long a group made it wait before.
    Column("give_up_at", UtcDateTime, nullable=False),
    Column("delivered_at", UtcDateTime),
    Column("receiver", String(64)),  # of alerting.yml; NULL where the settings decided
    Column("group_id", BigKey),  # the alert_group that it waits in, or went out with
    Column("wave", BigKey),  # the id of the row that carries the message
    Column("origin", String(12)),  # why it is told where no route led here: an Origin; NULL where one did
    Column("note", LongText),  # what the message says of that
    Column("turn", Integer, nullable=False, default=0, server_default="0"),  # how often this was told here before
    Column("fell_back_at", UtcDateTime),  # when it went, or could not go, to the fallback receiver, too
    Column("fell_back_to", String(64)),  # its name; NULL where nobody could read the event
    Column("heard_before", LongText),  # ids (JSON list) of deliveries for which the fallback was not told once more
    # What suppressed it: a SuppressedBy; or "addressee", where its addresses refuse what the channel would take. The
    # words are in error.
    Column("held_by", String(16)),
    UniqueConstraint("event_id", "channel", "target", name="uq_alert_delivery_target"),
    CheckConstraint(
        "(state IN ('pending', 'sending')) = (due_at IS NOT NULL)", name="ck_alert_delivery_due_while_open"
    ),
    CheckConstraint("(state = 'sending') = (token IS NOT NULL)", name="ck_alert_delivery_token_while_sending"),
    CheckConstraint("(state = 'delivered') = (delivered_at IS NOT NULL)", name="ck_alert_delivery_delivered_at"),
    Index("ix_alert_delivery_due", "channel", "due_at"),  # lease(), next_due()
    Index("ix_alert_delivery_state", "state", "id"),  # backlog(), replay(), alerts list --state; exporter: oldest
    Index("ix_alert_delivery_count", "channel", "state", "created_at"),  # metastore exporter: counts
    Index("ix_alert_delivery_group", "group_id", "state", "id"),  # groups.flush()
    Index("ix_alert_delivery_wave", "wave", "id"),  # the members of one message
    Index("ix_alert_delivery_accepted", "channel", "delivered_at"),  # failing.look()
)

# What is to be done later about a message that was delivered, unless somebody acknowledges it or it is over.
# follow_ups.follow_up() takes a row by deleting it, in the transaction that writes what comes of it.
alert_follow_up = Table(
    "alert_follow_up",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("delivery_id", BigKey, ForeignKey("alert_delivery.id", ondelete="CASCADE"), nullable=False),
    Column("origin", String(12), nullable=False),  # "escalation", "repeat" or "fallback"
    Column("due_at", UtcDateTime, nullable=False),
    Column("error", LongText),  # why it could not be done when it was due, and is put off; NULL where it is not
    UniqueConstraint("delivery_id", "origin", name="uq_alert_follow_up"),
    Index("ix_alert_follow_up_due", "due_at"),  # follow_ups.follow_up(), next_due()
)

# A group of events that are told together. due_at is its next wave; NULL while nothing has come since the last one.
alert_group = Table(
    "alert_group",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("group_key", String(64), nullable=False, unique=True),
    Column("receiver", String(64), nullable=False),
    Column("labels", LongText, nullable=False),  # JSON: [[name, value], …]
    Column("due_at", UtcDateTime),
    Column("interval_seconds", Float, nullable=False),
    Column("wait_seconds", Float, nullable=False, default=0.0, server_default="0"),
    Column("waved_at", UtcDateTime),  # its last wave
    Index("ix_alert_group_due", "due_at"),  # groups.flush(), groups.next_due()
)

# How many messages a receiver was told in the current window, or "#" and its name a channel: throttle.take() counts,
# all deliverers together.
alert_pace = Table(
    "alert_pace",
    metadata,
    Column("receiver", String(64), primary_key=True),
    Column("window_start", UtcDateTime, nullable=False),
    Column("messages", Integer, nullable=False),
)

alert_silence = Table(
    "alert_silence",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("matchers", LongText, nullable=False),  # JSON list of texts
    Column("author", String(250), nullable=False),
    Column("comment", LongText, nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_alert_silence_ends", "ends_at"),  # silences.active()
)

# What goes wrong now and was told: a row from the event that says so to the one that says it is over. The row is what
# makes both of them once: who inserts it tells the one, who deletes it the other.
alert_trouble = Table(
    "alert_trouble",
    metadata,
    Column("kind", String(32), primary_key=True),  # an EventKind
    Column("subject", Id, primary_key=True),  # a DAG, a file, a process and its host, a channel
    Column("since", UtcDateTime, nullable=False),
)

# When the Watchdog of Prometheus was last heard of; no row until it is. missed_at is set while its absence is told.
alert_watchdog = Table(
    "alert_watchdog",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("heard_at", UtcDateTime, nullable=False),
    Column("missed_at", UtcDateTime),
)

TABLES: Final = (
    alert_event,
    alert_ack,
    alert_delivery,
    alert_follow_up,
    alert_group,
    alert_pace,
    alert_silence,
    alert_trouble,
    alert_watchdog,
)
