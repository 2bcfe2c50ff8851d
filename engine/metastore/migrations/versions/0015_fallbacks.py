"""To whom a delivery fell back, and by which deliveries that receiver had heard already"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from alerting.tables import LongText

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns; what fell back before says nothing of it."""
    op.add_column("alert_delivery", sa.Column("fell_back_to", sa.String(length=64), nullable=True))
    op.add_column("alert_delivery", sa.Column("heard_before", LongText, nullable=True))
