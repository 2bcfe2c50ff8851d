"""The foundation's tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from alerting.tables import UtcDateTime

# Written out here, not imported: a migration must go on meaning what it meant.
ID = sa.String(250).with_variant(mysql.VARCHAR(250, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
TOKEN = sa.String(36).with_variant(mysql.VARCHAR(36, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table, the default pool and the wake-up topics."""
    op.create_table(
        "alert_event",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("dedup_key", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("dag_id", ID, nullable=True),
        sa.Column("run_id", ID, nullable=True),
        sa.Column("task_id", ID, nullable=True),
        sa.Column("try_number", sa.Integer(), nullable=True),
        sa.Column("occurred_at", UtcDateTime(), nullable=False),
        sa.Column("payload", LONG_TEXT, nullable=False),
        sa.Column("routed_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dedup_key"),
    )
    op.create_index("ix_alert_event_dag", "alert_event", ["dag_id", "id"])
    op.create_index("ix_alert_event_unrouted", "alert_event", ["routed_at", "id"])

    op.create_table(
        "budget",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.CheckConstraint("used >= 0", name="ck_budget_used"),
        sa.PrimaryKeyConstraint("kind", "name"),
    )
    op.create_table(
        "callback_request",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("dedup_key", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("dag_id", ID, nullable=False),
        sa.Column("fileloc", LONG_TEXT, nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("token", TOKEN, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", LONG_TEXT, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("done_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dedup_key"),
    )
    op.create_index("ix_callback_request_due", "callback_request", ["state", "due_at"])

    op.create_table(
        "dag",
        sa.Column("dag_id", ID, nullable=False),
        sa.Column("path_hash", sa.String(length=64), nullable=False),
        sa.Column("fileloc", LONG_TEXT, nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("dag_id"),
    )
    op.create_index("ix_dag_path_hash", "dag", ["path_hash"])

    op.create_table(
        "dag_file",
        sa.Column("path_hash", sa.String(length=64), nullable=False),
        sa.Column("path", LONG_TEXT, nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=True),
        sa.Column("parsed_at", UtcDateTime(), nullable=True),
        sa.Column("parse_seconds", sa.Float(), nullable=True),
        sa.Column("dag_count", sa.Integer(), nullable=False),
        sa.Column("error", LONG_TEXT, nullable=True),
        sa.Column("error_summary", LONG_TEXT, nullable=True),
        sa.Column("error_remedy", LONG_TEXT, nullable=True),
        sa.Column("error_line", sa.Integer(), nullable=True),
        sa.Column("error_since", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("path_hash"),
    )
    op.create_table(
        "dag_run",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("dag_id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("run_type", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("logical_date", UtcDateTime(), nullable=True),
        sa.Column("data_interval_start", UtcDateTime(), nullable=True),
        sa.Column("data_interval_end", UtcDateTime(), nullable=True),
        sa.Column("run_after", UtcDateTime(), nullable=False),
        sa.Column("queued_at", UtcDateTime(), nullable=False),
        sa.Column("start_date", UtcDateTime(), nullable=True),
        sa.Column("end_date", UtcDateTime(), nullable=True),
        sa.Column("conf", sa.JSON(), nullable=False),
        sa.Column("unfinished", sa.Integer(), nullable=False),
        sa.Column("triggered_by", sa.String(length=250), nullable=True),
        sa.CheckConstraint("(end_date IS NOT NULL) = (state IN ('success', 'failed'))", name="ck_dag_run_end"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dag_id", "logical_date", name="uq_dag_run_logical_date"),
        sa.UniqueConstraint("dag_id", "run_id", name="uq_dag_run_run_id"),
    )
    op.create_index("ix_dag_run_dag", "dag_run", ["dag_id", "id"])
    op.create_index("ix_dag_run_state", "dag_run", ["state", "id"])

    op.create_table(
        "dag_schedule",
        sa.Column("dag_id", ID, nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=True),
        sa.Column("next_interval_start", UtcDateTime(), nullable=True),
        sa.Column("next_interval_end", UtcDateTime(), nullable=True),
        sa.Column("next_run_after", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("dag_id"),
    )
    op.create_index("ix_dag_schedule_due", "dag_schedule", ["next_run_after"])

    op.create_table(
        "dag_version",
        sa.Column("dag_id", ID, nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("data", LONG_TEXT, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("dag_id", "version"),
    )
    op.create_table(
        "process",
        sa.Column("id", TOKEN, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("hostname", sa.String(length=250), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pid_started", sa.String(length=64), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("heartbeat_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_process_kind", "process", ["kind", "ended_at"])

    op.create_table(
        "user",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("username", ID, nullable=False),
        sa.Column("password_hash", sa.String(length=250), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("username"),
    )
    op.create_table(
        "wakeup",
        sa.Column("topic", sa.String(length=32), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic"),
    )
    op.create_table(
        "alert_delivery",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("event_id", BIG_KEY, nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=64), nullable=False),
        sa.Column("address", LONG_TEXT, nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=True),
        sa.Column("token", TOKEN, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", LONG_TEXT, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("give_up_at", UtcDateTime(), nullable=False),
        sa.Column("delivered_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "(state IN ('pending', 'sending')) = (due_at IS NOT NULL)", name="ck_alert_delivery_due_while_open"
        ),
        sa.CheckConstraint("(state = 'sending') = (token IS NOT NULL)", name="ck_alert_delivery_token_while_sending"),
        sa.CheckConstraint("(state = 'delivered') = (delivered_at IS NOT NULL)", name="ck_alert_delivery_delivered_at"),
        sa.ForeignKeyConstraint(["event_id"], ["alert_event.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id", "channel", "target", name="uq_alert_delivery_target"),
    )
    op.create_index("ix_alert_delivery_due", "alert_delivery", ["channel", "due_at"])
    op.create_index("ix_alert_delivery_state", "alert_delivery", ["state", "id"])

    op.create_table(
        "task_instance",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("run_pk", BIG_KEY, nullable=False),
        sa.Column("dag_id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("task_id", ID, nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=True),
        sa.Column("operator", sa.String(length=250), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("max_tries", sa.Integer(), nullable=False),
        sa.Column("token", TOKEN, nullable=True),
        sa.Column("owner", TOKEN, nullable=True),
        sa.Column("pool", ID, nullable=False),
        sa.Column("pool_slots", sa.Integer(), nullable=False),
        sa.Column("queue", ID, nullable=False),
        sa.Column("priority_rank", sa.Integer(), nullable=False),
        sa.Column("up_total", sa.Integer(), nullable=False),
        sa.Column("up_success", sa.Integer(), nullable=False),
        sa.Column("up_failed", sa.Integer(), nullable=False),
        sa.Column("up_blocked", sa.Integer(), nullable=False),
        sa.Column("up_skipped", sa.Integer(), nullable=False),
        sa.Column("ready_at", UtcDateTime(), nullable=True),
        sa.Column("scheduled_at", UtcDateTime(), nullable=True),
        sa.Column("queued_at", UtcDateTime(), nullable=True),
        sa.Column("start_date", UtcDateTime(), nullable=True),
        sa.Column("end_date", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "(end_date IS NOT NULL) = (state IS NOT NULL AND state IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed'))",  # noqa: E501
            name="ck_task_instance_end",
        ),
        sa.CheckConstraint(
            "(token IS NOT NULL) = (state IS NOT NULL AND state IN ('queued', 'running'))",
            name="ck_task_instance_token",
        ),
        sa.ForeignKeyConstraint(["run_pk"], ["dag_run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_pk", "task_id", "map_index", name="uq_task_instance_key"),
        sa.UniqueConstraint("token", name="uq_task_instance_token"),
    )
    op.create_index("ix_task_instance_due", "task_instance", ["state", "ready_at"])
    op.create_index("ix_task_instance_owner", "task_instance", ["owner"])
    op.create_index("ix_task_instance_ready", "task_instance", ["state", "priority_rank", "id"])

    op.create_table(
        "web_session",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", BIG_KEY, nullable=False),
        sa.Column("csrf_token", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_table(
        "task_attempt",
        sa.Column("ti_id", BIG_KEY, nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("token", TOKEN, nullable=False),
        sa.Column("owner", TOKEN, nullable=False),
        sa.Column("hostname", sa.String(length=250), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("cause", sa.String(length=20), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.Integer(), nullable=True),
        sa.Column("error", LONG_TEXT, nullable=True),
        sa.Column("start_date", UtcDateTime(), nullable=False),
        sa.Column("end_date", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["ti_id"], ["task_instance.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("ti_id", "try_number"),
    )
    op.create_table(
        "xcom",
        sa.Column("ti_id", BIG_KEY, nullable=False),
        sa.Column("key", ID, nullable=False),
        sa.Column("value", LONG_TEXT, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["ti_id"], ["task_instance.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("ti_id", "key"),
    )
    budget = sa.table("budget", sa.column("kind"), sa.column("name"), sa.column("slots"), sa.column("used"))
    op.bulk_insert(budget, [{"kind": "pool", "name": "default_pool", "slots": 128, "used": 0}])
    wakeup = sa.table("wakeup", sa.column("topic"), sa.column("changes"))
    op.bulk_insert(wakeup, [{"topic": topic, "changes": 0} for topic in ("scheduler", "notifier")])
