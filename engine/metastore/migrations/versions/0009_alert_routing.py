"""Alerts by alerting.yml: receivers and groups of deliveries, silences, and how much a receiver was told"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from alerting.tables import UtcDateTime

LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let deliveries wait in groups and travel in waves; add groups, paces and silences."""
    op.add_column("alert_delivery", sa.Column("receiver", sa.String(length=64), nullable=True))
    op.add_column("alert_delivery", sa.Column("group_id", BIG_KEY, nullable=True))
    op.add_column("alert_delivery", sa.Column("wave", BIG_KEY, nullable=True))
    op.create_index("ix_alert_delivery_group", "alert_delivery", ["group_id", "state", "id"])
    op.create_index("ix_alert_delivery_wave", "alert_delivery", ["wave", "id"])
    op.create_table(
        "alert_group",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("group_key", sa.String(length=64), nullable=False),
        sa.Column("receiver", sa.String(length=64), nullable=False),
        sa.Column("labels", LONG_TEXT, nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=True),
        sa.Column("interval_seconds", sa.Float(), nullable=False),
        sa.Column("waved_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("group_key"),
    )
    op.create_index("ix_alert_group_due", "alert_group", ["due_at"])
    op.create_table(
        "alert_pace",
        sa.Column("receiver", sa.String(length=64), nullable=False),
        sa.Column("window_start", UtcDateTime(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("receiver"),
    )
    op.create_table(
        "alert_silence",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("matchers", LONG_TEXT, nullable=False),
        sa.Column("author", sa.String(length=250), nullable=False),
        sa.Column("comment", LONG_TEXT, nullable=False),
        sa.Column("starts_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_alert_silence_ends", "alert_silence", ["ends_at"])
