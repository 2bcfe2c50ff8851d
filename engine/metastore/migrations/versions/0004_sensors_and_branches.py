"""Rescheduled sensors and decided branches: when an attempt first started, and which task decided against this one"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from alerting.tables import Id, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns, empty: no task instance of before was rescheduled or decided against."""
    op.add_column("task_instance", sa.Column("sensing_since", UtcDateTime(), nullable=True))
    op.add_column("task_instance", sa.Column("skipped_by", Id, nullable=True))
