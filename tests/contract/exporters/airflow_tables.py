"""The tables of an Airflow metadata database, as far as the exporter reads them, with their indexes.

Facts from the released models 2.10.5 to 3.3.2, compared with what ``airflow db migrate`` of 2.11.2 and 3.3.2 makes.
What differs between 2 and 3: ``dag.is_active`` became ``is_stale`` (turned round), ``execution_date`` became
``logical_date`` (and may be empty), task instances got a key of their own and ``scheduled_dttm``, import errors a
bundle.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    TIMESTAMP,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import mysql

# On MySQL, ids have three bytes a character, as Airflow's default collation for them says; so an index of four fits.
ID = String(250).with_variant(mysql.VARCHAR(250, charset="utf8mb3", collation="utf8mb3_bin"), "mysql", "mariadb")


def instant(name: str) -> Column[Any]:
    return Column(
        name, TIMESTAMP(timezone=True).with_variant(mysql.TIMESTAMP(fsp=6), "mysql", "mariadb"), nullable=True
    )


def airflow_tables(major: int) -> MetaData:
    """What Airflow 2.10 and 2.11, or 3.0 to 3.3, has."""
    made = MetaData()
    _dag(made, major)
    _dag_run(made, major)
    _task_instance(made, major)
    Table(
        "slot_pool",
        made,
        Column("id", Integer, primary_key=True),
        Column("pool", String(256), unique=True),
        Column("slots", Integer, default=0),
        Column("description", Text),
        Column("include_deferred", Boolean, nullable=False),
    )
    Table(
        "import_error",
        made,
        Column("id", Integer, primary_key=True),
        instant("timestamp"),
        Column("filename", String(1024)),
        Column("stacktrace", Text),
        *([Column("bundle_name", ID)] if major >= 3 else []),
    )
    Table(
        "job",
        made,
        Column("id", Integer, primary_key=True),
        Column("state", String(20)),
        Column("job_type", String(30)),
        *(instant(name) for name in ("start_date", "end_date", "latest_heartbeat")),
        Column("hostname", String(500)),
        Index("job_type_heart", "job_type", "latest_heartbeat"),
        Index("idx_job_state_heartbeat", "state", "latest_heartbeat"),
    )
    return made


def _dag(made: MetaData, major: int) -> None:
    Table(
        "dag",
        made,
        Column("dag_id", ID, primary_key=True),
        Column("is_paused", Boolean),
        Column("max_active_runs", Integer),
        Column("is_stale" if major >= 3 else "is_active", Boolean),
        Column("fileloc", String(2000)),
        instant("next_dagrun_create_after"),
        Index("idx_next_dagrun_create_after", "next_dagrun_create_after"),
    )


def _dag_run(made: MetaData, major: int) -> None:
    date = "logical_date" if major >= 3 else "execution_date"
    runs = Table(
        "dag_run",
        made,
        Column("id", Integer, primary_key=True),
        Column("dag_id", ID, nullable=False),
        Column("run_id", ID, nullable=False),
        Column("state", String(50)),
        *(instant(name) for name in ("queued_at", date, "start_date", "end_date")),
        UniqueConstraint("dag_id", "run_id", name="dag_run_dag_id_run_id_key"),
        UniqueConstraint("dag_id", date, name=f"dag_run_dag_id_{date}_key"),
        Index("dag_id_state", "dag_id", "state"),
        Index("idx_dag_run_dag_id", "dag_id"),
    )
    for state in ("running", "queued"):
        only = text(f"state='{state}'")
        name = f"idx_dag_run_{state}_dags"
        Index(name, runs.c.state, runs.c.dag_id, postgresql_where=only, sqlite_where=only)


def _task_instance(made: MetaData, major: int) -> None:
    key = ("dag_id", "task_id", "run_id", "map_index")
    if major >= 3:
        keys = [
            Column("id", String(32), primary_key=True),
            UniqueConstraint(*key, name="task_instance_composite_key"),
            instant("scheduled_dttm"),
        ]
    else:
        keys = [PrimaryKeyConstraint(*key, name="task_instance_pkey")]
    Table(
        "task_instance",
        made,
        Column("task_id", ID, nullable=False),
        Column("dag_id", ID, nullable=False),
        Column("run_id", ID, nullable=False),
        Column("map_index", Integer, nullable=False, server_default=text("-1")),
        Column("state", String(20)),
        Column("pool", String(256), nullable=False),
        Column("pool_slots", Integer, nullable=False, default=1),
        Column("priority_weight", Integer),
        *(instant(name) for name in ("start_date", "end_date", "queued_dttm", "updated_at")),
        *keys,
        Index("ti_dag_state", "dag_id", "state"),
        Index("ti_dag_run", "dag_id", "run_id"),
        Index("ti_state", "state"),
        Index("ti_state_lkp", "dag_id", "task_id", "run_id", "state"),
        Index("ti_pool", "pool", "state", "priority_weight"),
    )
