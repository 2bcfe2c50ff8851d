"""The indexes that the metastore exporter reads: last runs by outcome, deliveries by channel and state"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index the runs by DAG, state and end, and the deliveries by channel, state and age."""
    op.create_index("ix_dag_run_last", "dag_run", ["dag_id", "state", "end_date"])
    op.create_index("ix_alert_delivery_count", "alert_delivery", ["channel", "state", "created_at"])
