"""Deadlines of tasks and runs, and since when somebody waits for a DAG's runs"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from alerting.tables import UtcDateTime

ID = sa.String(250).with_variant(mysql.VARCHAR(250, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Runs that are there already have promised nothing."""
    op.add_column("dag_schedule", sa.Column("awaited_since", UtcDateTime(), nullable=True))
    op.create_table(
        "sla_deadline",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("run_pk", BIG_KEY, nullable=False),
        sa.Column("dag_id", ID, nullable=False),
        sa.Column("task_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("at_risk_at", UtcDateTime(), nullable=False),
        sa.Column("allowed_seconds", sa.Float(), nullable=True),
        sa.Column("completed_at", UtcDateTime(), nullable=True),
        sa.Column("missed_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'met', 'missed', 'cancelled')", name="ck_sla_deadline_state"),
        sa.ForeignKeyConstraint(["run_pk"], ["dag_run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_pk", "task_id", "position", name="uq_sla_deadline_key"),
    )
    op.create_index("ix_sla_deadline_due", "sla_deadline", ["state", "due_at"])
