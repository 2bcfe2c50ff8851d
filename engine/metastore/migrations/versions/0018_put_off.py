"""Why a follow-up is put off: in its own row, where no outcome of its message takes the place of that"""

from __future__ import annotations

import re
from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_SAID: Final = re.compile(
    r"(?:^|; )its (?:escalation|repetition|fallback) cannot be told: .*?; it is tried again every 5m", re.DOTALL
)
_DELIVERIES: Final = sa.table("alert_delivery", sa.column("id", sa.BigInteger), sa.column("error", LONG_TEXT))


def upgrade() -> None:
    """Add the column. What is put off now says why when it is tried again: where that stood before it is taken out."""
    op.add_column("alert_follow_up", sa.Column("error", LONG_TEXT, nullable=True))
    connection, row = op.get_bind(), _DELIVERIES.c
    those = sa.select(row.id, row.error).where(row.error.like("%cannot be told: %; it is tried again every 5m%"))
    for key, error in connection.execute(those).all():
        rest = _SAID.sub("", error).removeprefix("; ") or None
        connection.execute(sa.update(_DELIVERIES).where(row.id == key).values(error=rest))
