"""The troubles of a DAG that are open, for what Windsock told by itself"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_alert_event_dag_open", "alert_event", ["dag_id", "kind", "ended_by", "occurred_at"])
