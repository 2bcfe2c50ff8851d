"""Logs that are to be shipped"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from alerting.tables import UtcDateTime

# Written out here, not imported: a migration must go on meaning what it meant.
TOKEN = sa.String(36).with_variant(mysql.VARCHAR(36, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the queue of the log shipper."""
    op.create_table(
        "log_shipment",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("place", TOKEN, nullable=False),
        sa.Column("path", LONG_TEXT, nullable=False),
        sa.Column("lost", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("holder", TOKEN, nullable=True),
        sa.Column("token", TOKEN, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=True),
        sa.Column("error", LONG_TEXT, nullable=True),
        sa.CheckConstraint("(token IS NOT NULL) = (holder IS NOT NULL)", name="ck_log_shipment_lease"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_log_shipment_due", "log_shipment", ["place", "due_at"])
    op.create_index("ix_log_shipment_age", "log_shipment", ["reason", "created_at"])
    op.create_index("ix_log_shipment_holder", "log_shipment", ["holder"])
