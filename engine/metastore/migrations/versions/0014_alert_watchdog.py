"""When the Watchdog of Prometheus was last heard of"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from alerting.tables import UtcDateTime

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of the Watchdog."""
    op.create_table(
        "alert_watchdog",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("heard_at", UtcDateTime(), nullable=False),
        sa.Column("missed_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
