"""Troubles that go on, processes that were declared dead, and the lease of who looks out for both"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from alerting.tables import UtcDateTime

ID = sa.String(250).with_variant(mysql.VARCHAR(250, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, the column and the row."""
    op.create_table(
        "alert_trouble",
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject"),
    )
    op.add_column("process", sa.Column("is_lost", sa.Boolean(), nullable=True))
    lease = sa.table("lease", sa.column("name"), sa.column("term"))
    op.bulk_insert(lease, [{"name": "lookout", "term": 0}])
