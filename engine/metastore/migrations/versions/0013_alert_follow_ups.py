"""Episodes of alerts, who acknowledged them, and what follows where nobody does"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from alerting.tables import UtcDateTime

LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let an event end others and be acknowledged; let a delivery be escalated, repeated and fall back."""
    op.add_column("alert_event", sa.Column("episode_key", sa.String(length=64), nullable=True))
    op.add_column("alert_event", sa.Column("ended_by", BIG_KEY, nullable=True))
    op.create_index("ix_alert_event_episode", "alert_event", ["episode_key", "id"])
    op.create_index("ix_alert_event_open", "alert_event", ["kind", "ended_by", "occurred_at"])
    op.add_column("alert_delivery", sa.Column("origin", sa.String(length=12), nullable=True))
    op.add_column("alert_delivery", sa.Column("note", LONG_TEXT, nullable=True))
    op.add_column("alert_delivery", sa.Column("turn", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("alert_delivery", sa.Column("fell_back_at", UtcDateTime(), nullable=True))
    op.add_column("alert_delivery", sa.Column("held_by", sa.String(length=16), nullable=True))
    op.add_column("alert_delivery", sa.Column("waiting_since", UtcDateTime(), nullable=True))
    op.execute("UPDATE alert_delivery SET waiting_since = created_at WHERE state IN ('pending', 'sending')")
    op.create_index("ix_alert_delivery_accepted", "alert_delivery", ["channel", "delivered_at"])
    op.add_column("alert_group", sa.Column("wait_seconds", sa.Float(), nullable=False, server_default="0"))
    op.create_table(
        "alert_ack",
        sa.Column("event_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("author", sa.String(length=250), nullable=False),
        sa.Column("comment", LONG_TEXT, nullable=False),
        sa.Column("acked_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["alert_event.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_table(
        "alert_follow_up",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("delivery_id", BIG_KEY, nullable=False),
        sa.Column("origin", sa.String(length=12), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["alert_delivery.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("delivery_id", "origin", name="uq_alert_follow_up"),
    )
    op.create_index("ix_alert_follow_up_due", "alert_follow_up", ["due_at"])
