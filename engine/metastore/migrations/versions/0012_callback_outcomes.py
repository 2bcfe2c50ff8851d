"""What became of user callbacks: output, log, how often they failed, and which of a list are still to be called"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from alerting.tables import UtcDateTime

LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what the notifier writes when a callback has ended."""
    op.add_column("callback_request", sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("callback_request", sa.Column("left_over", sa.JSON(), nullable=True))
    op.add_column("callback_request", sa.Column("output", LONG_TEXT, nullable=True))
    op.add_column("callback_request", sa.Column("log_path", LONG_TEXT, nullable=True))
    op.add_column("callback_request", sa.Column("unstarted_since", UtcDateTime(), nullable=True))
