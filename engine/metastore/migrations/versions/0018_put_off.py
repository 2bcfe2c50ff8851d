"""Why a follow-up is put off: in its own row, where no outcome of its message takes the place of that"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    """Add the column. What is put off now says why when it is tried again."""
    op.add_column("alert_follow_up", sa.Column("error", LONG_TEXT, nullable=True))
