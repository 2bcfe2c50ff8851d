"""What became of user callbacks: of which run, output, log, how often they failed, and which are still to be called"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from alerting.tables import UtcDateTime

LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what the notifier writes when a callback has ended."""
    op.add_column("callback_request", sa.Column("run_pk", BIG_KEY, nullable=True))
    op.add_column("callback_request", sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("callback_request", sa.Column("left_over", sa.JSON(), nullable=True))
    op.add_column("callback_request", sa.Column("output", LONG_TEXT, nullable=True))
    op.add_column("callback_request", sa.Column("log_path", LONG_TEXT, nullable=True))
    op.add_column("callback_request", sa.Column("unstarted_since", UtcDateTime(), nullable=True))
    op.create_index("ix_callback_request_run", "callback_request", ["run_pk"])
    requests = sa.table("callback_request", sa.column("run_pk", BIG_KEY), sa.column("payload", sa.JSON()))
    op.execute(requests.update().values(run_pk=requests.c.payload["run_pk"].as_integer()))
