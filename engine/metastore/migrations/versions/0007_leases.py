"""Leases: which scheduler does what only one may do, and who may hand out work next"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from alerting.tables import UtcDateTime

TOKEN = sa.String(36).with_variant(mysql.VARCHAR(36, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table with its rows."""
    op.create_table(
        "lease",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("holder", TOKEN, nullable=True),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    lease = sa.table("lease", sa.column("name"), sa.column("term"))
    op.bulk_insert(lease, [{"name": name, "term": 0} for name in ("leader", "admission", "claims")])
