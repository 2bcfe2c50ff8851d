"""Since when a DAG is paused: a deadline that had passed before is told all the same"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from alerting.tables import UtcDateTime

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of DAGs that are paused now nobody knows since when."""
    op.add_column("dag_schedule", sa.Column("paused_at", UtcDateTime(), nullable=True))
