"""Deadlines of runs, runs begun anew, backfills, and tasks that wait for an earlier run"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from alerting.tables import UtcDateTime

ID = sa.String(250).with_variant(mysql.VARCHAR(250, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what the run-level semantics store."""
    op.add_column("dag_run", sa.Column("deadline", UtcDateTime(), nullable=True))
    op.add_column("dag_run", sa.Column("clears", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("dag_run", sa.Column("lane", ID, nullable=True))
    op.add_column("dag_run", sa.Column("backfill_id", BIG_KEY, nullable=True))
    op.create_index("ix_dag_run_deadline", "dag_run", ["state", "deadline"])
    op.create_index("ix_dag_run_backfill", "dag_run", ["backfill_id", "state"])
    op.add_column("task_instance", sa.Column("ending", sa.String(20), nullable=True))
    op.add_column("task_instance", sa.Column("past_run_pk", BIG_KEY, nullable=True))
    op.create_index("ix_task_instance_past", "task_instance", ["past_run_pk"])
    op.create_table(
        "backfill",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("dag_id", ID, nullable=False),
        sa.Column("from_date", UtcDateTime(), nullable=False),
        sa.Column("to_date", UtcDateTime(), nullable=False),
        sa.Column("max_active_runs", sa.Integer(), nullable=False),
        sa.Column("reprocess", sa.String(12), nullable=False),
        sa.Column("is_backwards", sa.Boolean(), nullable=False),
        sa.Column("conf", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(250), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("completed_at", UtcDateTime(), nullable=True),
        sa.Column("cancelled_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_backfill_open", "backfill", ["completed_at", "dag_id"])
    op.create_table(
        "backfill_run",
        sa.Column("backfill_id", BIG_KEY, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("logical_date", UtcDateTime(), nullable=False),
        sa.Column("run_pk", BIG_KEY, nullable=True),
        sa.Column("reason", sa.String(20), nullable=True),
        sa.ForeignKeyConstraint(["backfill_id"], ["backfill.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("backfill_id", "position"),
    )
    op.create_index("ix_backfill_run_run", "backfill_run", ["run_pk"])
