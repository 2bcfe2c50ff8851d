"""The index that finds a DAG's last run of each outcome"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index the runs by DAG, state and end."""
    op.create_index("ix_dag_run_last", "dag_run", ["dag_id", "state", "end_date"])
