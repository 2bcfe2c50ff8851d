"""What is read from the metadata database of Airflow 2.10 to 3.3: nine statements, or ten.

The schema is told by its columns, not by a version number: ``dag.is_active`` became ``is_stale`` in 3.0, and task
instances have ``scheduled_dttm`` from there on. Where it is missing, a scheduled task instance is as old as its last
change. Facts: the models of the released packages 2.10.5, 2.11.2, 3.0.6, 3.1.8, 3.2.1 and 3.3.2.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    DateTime,
    and_,
    bindparam,
    case,
    column,
    false,
    func,
    literal_column,
    or_,
    select,
    table,
    true,
)

from exporters.metastore import families
from exporters.metastore.errors import UnknownSchemaError
from exporters.metastore.families import OPEN_RUNS, Beat, among
from exporters.metastore.last_runs import LastRuns
from exporters.metastore.schema import columns_of, missing

if TYPE_CHECKING:
    from sqlalchemy import ColumnClause, ColumnElement, Connection, Select

    from exporters.metastore.samples import Samples

COMPONENTS: Final = {
    "SchedulerJob": "scheduler",
    "DagProcessorJob": "dag_processor",
    "TriggererJob": "triggerer",
}
"""Jobs that are processes; a LocalTaskJob is one attempt of a task."""

HEARTBEAT_MEMORY: Final = timedelta(days=1)
"""How long a process that died without signing off is shown: its host may be a pod, whose name never comes back."""

_ACTIVE: Final = ("scheduled", "queued", "running")


def _instants(*names: str) -> list[ColumnClause[Any]]:
    return [column(name, DateTime()) for name in names]


dag = table(
    "dag",
    *(column(name) for name in ("dag_id", "is_paused", "is_active", "is_stale", "max_active_runs")),
    *_instants("next_dagrun_create_after"),
)
dag_run = table(
    "dag_run", *(column(name) for name in ("id", "dag_id", "run_id", "state")), *_instants("start_date", "end_date")
)
task_instance = table(
    "task_instance",
    *(column(name) for name in ("dag_id", "run_id", "state", "pool", "pool_slots")),
    *_instants("start_date", "queued_dttm", "scheduled_dttm", "updated_at"),
)
slot_pool = table("slot_pool", column("pool"), column("slots"), column("include_deferred"))
import_error = table("import_error", column("filename"))
job = table("job", column("job_type"), column("state"), column("hostname"), *_instants("latest_heartbeat"))

TABLES: Final = (dag, dag_run, task_instance, slot_pool, import_error, job)
_CHANGED: Final = ("dag.is_active", "dag.is_stale", "task_instance.scheduled_dttm")
"""What is in some of the versions only."""
_OF_WINDSOCK: Final = table("windsock_version")

RUNS: Final = select(dag_run.c.id, dag_run.c.dag_id, dag_run.c.state, literal_column("1").label("runs")).where(
    among(dag_run.c.state, OPEN_RUNS)
)
TASKS: Final = (
    select(task_instance.c.dag_id, task_instance.c.state, func.count().label("tasks"))
    .select_from(
        dag_run.join(
            task_instance,
            and_(task_instance.c.dag_id == dag_run.c.dag_id, task_instance.c.run_id == dag_run.c.run_id),
        )
    )
    .where(among(dag_run.c.state, OPEN_RUNS))
    .group_by(task_instance.c.dag_id, task_instance.c.state)
)
_TAKES_A_SLOT: Final = or_(
    among(task_instance.c.state, ("queued", "running")),
    and_(task_instance.c.state == literal_column("'deferred'"), slot_pool.c.include_deferred.is_(true())),
)
POOLS: Final = (
    select(
        slot_pool.c.pool,
        slot_pool.c.slots,
        func.coalesce(func.sum(task_instance.c.pool_slots), 0).label("used"),
    )
    .select_from(slot_pool.outerjoin(task_instance, and_(task_instance.c.pool == slot_pool.c.pool, _TAKES_A_SLOT)))
    .group_by(slot_pool.c.pool, slot_pool.c.slots)
)
IMPORT_ERRORS: Final = select(import_error.c.filename.label("path"))
_COMPONENT: Final = case({name: literal_column(f"'{word}'") for name, word in COMPONENTS.items()}, value=job.c.job_type)
HEARTBEATS: Final = (
    select(_COMPONENT.label("component"), job.c.hostname, func.max(job.c.latest_heartbeat).label("beat"))
    .where(among(job.c.job_type, COMPONENTS), job.c.state == literal_column("'running'"))
    .where(job.c.latest_heartbeat > bindparam("since", type_=DateTime(timezone=True)))
    .group_by(job.c.job_type, job.c.hostname)
)
ANY_DAG_PROCESSOR: Final[Select[Any]] = (
    select(literal_column("1")).select_from(job).where(job.c.job_type == literal_column("'DagProcessorJob'")).limit(1)
)
_SCHEDULED_SINCE_3: Final = func.coalesce(task_instance.c.scheduled_dttm, task_instance.c.queued_dttm)
_SCHEDULED_SINCE_2: Final = case(
    (task_instance.c.state == literal_column("'queued'"), task_instance.c.queued_dttm),
    else_=task_instance.c.updated_at,
)


class AirflowMetastore:
    """Reads the signals of an Airflow metadata database. The schema is looked at by `check`, before the first read."""

    def __init__(self, dags_folder: str = "") -> None:
        self._dags_folder = dags_folder
        self._last_runs = LastRuns(dag_run)
        self._is_3 = True
        self._dags = _dags(dag.c.is_stale.is_(false()))
        self._active = _active(_SCHEDULED_SINCE_3)

    def check(self, connection: Connection) -> None:
        """Raise UnknownSchemaError where these are not Airflow's tables; find out of which kind they are."""
        self._last_runs.forget()
        found = columns_of(connection, (*TABLES, _OF_WINDSOCK))
        if _OF_WINDSOCK.name in found:
            raise UnknownSchemaError("this is a metastore of Windsock; leave out --airflow")
        lost = missing(found, TABLES, optional=_CHANGED)
        if not {"is_stale", "is_active"} & found.get("dag", frozenset()):
            lost.append("dag.is_stale or dag.is_active")
        if lost:
            raise UnknownSchemaError(f"it lacks {', '.join(lost)}, so it is not of Airflow 2.10 to 3.3")
        self._is_3 = "is_stale" in found["dag"]
        self._dags = _dags(dag.c.is_stale.is_(false()) if self._is_3 else dag.c.is_active.is_(true()))
        self._active = _active(_SCHEDULED_SINCE_3 if "scheduled_dttm" in found["task_instance"] else _SCHEDULED_SINCE_2)

    def read(self, connection: Connection, samples: Samples) -> None:
        """Fill `samples` by the statements above."""
        runs = connection.execute(RUNS).all()
        dags = connection.execute(self._dags).all()
        self._last_runs.follow(connection, samples.now, (run.id for run in runs))
        families.add_runs(samples, runs)
        families.add_dags(samples, dags)
        for row in dags:
            families.add_last_runs(samples, row.dag_id, self._last_runs.of(row.dag_id))
        families.add_tasks(samples, connection.execute(TASKS))
        families.add_pools(samples, connection.execute(POOLS))
        families.add_run_limits(samples, {row.dag_id: row.max_active_runs for row in dags}, runs)
        families.add_active(samples, connection.execute(self._active), families.paused_of(dags))
        since = {"since": samples.now - HEARTBEAT_MEMORY}
        beats = [Beat(*row) for row in connection.execute(HEARTBEATS, since)]
        if not self._is_3 and connection.execute(ANY_DAG_PROCESSOR).first() is None:
            beats += _parsers_inside(beats)
        families.add_heartbeats(samples, beats)
        families.add_import_errors(samples, connection.execute(IMPORT_ERRORS), self._dags_folder)


def _parsers_inside(beats: list[Beat]) -> list[Beat]:
    """The DAG processors of an Airflow 2 in which none ever signed on: each scheduler has one of its own.

    So it is unless ``standalone_dag_processor`` is set. It lives as long as its scheduler, which starts it anew when it
    dies.
    """
    return [beat._replace(component="dag_processor") for beat in beats if beat.component == "scheduler"]


def _dags(is_there: ColumnElement[bool]) -> Select[Any]:
    next_run = dag.c.next_dagrun_create_after.label("next_run")
    return select(dag.c.dag_id, dag.c.is_paused, dag.c.max_active_runs, next_run).where(is_there)


def _active(scheduled_since: ColumnElement[Any]) -> Select[Any]:
    columns = task_instance.c
    return (
        select(
            columns.pool,
            columns.dag_id,
            columns.state,
            func.count().label("tasks"),
            func.min(scheduled_since).label("ready_since"),
            func.min(columns.start_date).label("running_since"),
        )
        .where(among(columns.state, _ACTIVE))
        .group_by(columns.pool, columns.dag_id, columns.state)
    )
