"""What is read from Windsock's own metastore: eleven statements, and one or two for deadlines where a DAG has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import DateTime, column, func, literal_column, select, table, true, union_all

from exporters.metastore import families
from exporters.metastore.database import instant
from exporters.metastore.deadlines import Deadlines
from exporters.metastore.errors import UnknownSchemaError
from exporters.metastore.families import FINAL_RUNS, OPEN_RUNS, LastRun, among
from exporters.metastore.schema import columns_of, missing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sqlalchemy import ColumnClause, Connection, Row, ScalarSelect, Select

    from exporters.metastore.samples import Samples

UNROUTED: Final = "unrouted"
"""The channel of alerts that no route was looked up for yet: where the notifier is dead, all of them stay there."""
NOBODY: Final = "none"
"""The channel of alerts that were routed to nobody."""

_ACTIVE: Final = ("scheduled", "queued", "running")
_UNFINISHED_DELIVERIES: Final = ("pending", "sending")
_OF_AIRFLOW: Final = table("slot_pool")


def _instants(*names: str) -> list[ColumnClause[Any]]:
    return [column(name, DateTime()) for name in names]


dag = table("dag", column("dag_id"), column("version"), column("is_active"))
dag_schedule = table("dag_schedule", column("dag_id"), column("is_paused"), *_instants("next_run_after"))
dag_version = table("dag_version", column("dag_id"), column("version"), column("data"))
dag_file = table("dag_file", column("path"), column("error"))
budget = table("budget", column("kind"), column("name"), column("slots"), column("used"))
dag_run = table(
    "dag_run",
    *(column(name) for name in ("id", "dag_id", "state", "version", "lane")),
    *_instants("start_date", "end_date"),
)
task_instance = table(
    "task_instance",
    *(column(name) for name in ("run_pk", "dag_id", "task_id", "state", "pool")),
    *_instants("scheduled_at", "start_date", "end_date"),
)
sla_deadline = table(
    "sla_deadline",
    *(column(name) for name in ("run_pk", "state")),
    *_instants("due_at", "at_risk_at", "completed_at"),
)
process = table("process", column("kind"), column("hostname"), *_instants("heartbeat_at", "ended_at"))
alert_event = table("alert_event", *_instants("occurred_at", "routed_at"))
alert_delivery = table("alert_delivery", column("channel"), column("state"), *_instants("created_at", "waiting_since"))
callback_request = table("callback_request", column("state"), *_instants("due_at"))
log_shipment = table("log_shipment", column("reason"), *_instants("created_at"))

TABLES: Final = (
    dag, dag_schedule, dag_version, dag_file, budget, dag_run, task_instance, sla_deadline, process, alert_event,
    alert_delivery, callback_request, log_shipment,
)  # fmt: skip

RUNS: Final = (
    select(dag_run.c.dag_id, dag_run.c.state, dag_run.c.version, dag_run.c.lane, func.count().label("runs"))
    .where(among(dag_run.c.state, OPEN_RUNS))
    .group_by(dag_run.c.dag_id, dag_run.c.state, dag_run.c.version, dag_run.c.lane)
)
TASKS: Final = (
    select(task_instance.c.dag_id, task_instance.c.state, func.count().label("tasks"))
    .select_from(dag_run.join(task_instance, task_instance.c.run_pk == dag_run.c.id))
    .where(among(dag_run.c.state, OPEN_RUNS))
    .group_by(task_instance.c.dag_id, task_instance.c.state)
)
ACTIVE: Final = (
    select(
        task_instance.c.pool,
        task_instance.c.dag_id,
        task_instance.c.state,
        func.count().label("tasks"),
        func.min(task_instance.c.scheduled_at).label("ready_since"),
        func.min(task_instance.c.start_date).label("running_since"),
    )
    .where(among(task_instance.c.state, _ACTIVE))
    .group_by(task_instance.c.pool, task_instance.c.dag_id, task_instance.c.state)
)


def _of_last_run(state: str, wanted: str) -> ScalarSelect[Any]:
    """A column of a DAG's run that ended last with this outcome: one step in the index ``ix_dag_run_last``."""
    run = dag_run.alias(f"{state}_run")
    newest = select(run.c[wanted]).where(run.c.dag_id == dag.c.dag_id, run.c.state == literal_column(f"'{state}'"))
    newest = newest.where(run.c.end_date.is_not(None)).order_by(run.c.end_date.desc()).limit(1)
    return newest.correlate(dag).scalar_subquery()


DAGS: Final = (
    select(
        dag.c.dag_id,
        dag.c.version,
        dag_schedule.c.is_paused,
        dag_schedule.c.next_run_after.label("next_run"),
        *(_of_last_run(state, "end_date").label(f"{state}_ended") for state in FINAL_RUNS),
        *(_of_last_run(state, "start_date").label(f"{state}_started") for state in FINAL_RUNS),
    )
    .select_from(dag.outerjoin(dag_schedule, dag_schedule.c.dag_id == dag.c.dag_id))
    .where(dag.c.is_active.is_(true()))
)
HEARTBEATS: Final = (
    select(process.c.kind.label("component"), process.c.hostname, func.max(process.c.heartbeat_at).label("beat"))
    .where(process.c.ended_at.is_(None))
    .group_by(process.c.kind, process.c.hostname)
)
BUDGETS: Final[Select[Any]] = select(
    budget.c.kind, budget.c.name.label("pool"), budget.c.name.label("dag_id"), budget.c.slots, budget.c.used
).where(among(budget.c.kind, ("pool", "dag_runs")))
IMPORT_ERRORS: Final = select(dag_file.c.path).where(dag_file.c.error.is_not(None))
DELIVERIES: Final = select(alert_delivery.c.channel, alert_delivery.c.state, func.count().label("deliveries")).group_by(
    alert_delivery.c.channel, alert_delivery.c.state
)
# What waits for the rate of its channel waits on purpose: its age counts from when the channel may be used again.
WAITING: Final = union_all(
    select(
        alert_delivery.c.channel,
        func.count().label("alerts"),
        func.min(func.coalesce(alert_delivery.c.waiting_since, alert_delivery.c.created_at)).label("since"),
    )
    .where(among(alert_delivery.c.state, _UNFINISHED_DELIVERIES))
    .group_by(alert_delivery.c.channel),
    select(literal_column(f"'{UNROUTED}'"), func.count(), func.min(alert_event.c.occurred_at)).where(
        alert_event.c.routed_at.is_(None)
    ),
)
# From when it is due, so that the pause before a retry is no delay.
CALLBACKS: Final = select(func.count().label("requests"), func.min(callback_request.c.due_at).label("since")).where(
    callback_request.c.state == literal_column("'pending'")
)

SHIPMENTS: Final = select(
    log_shipment.c.reason, func.count().label("logs"), func.min(log_shipment.c.created_at).label("since")
).group_by(log_shipment.c.reason)


class WindsockMetastore:
    """Reads the signals of Windsock's metastore; remembers the deadlines of the DAG versions that it has seen."""

    def __init__(self, dags_folder: str = "") -> None:
        self._dags_folder = dags_folder
        self._deadlines = Deadlines(dag_run, sla_deadline, dag_version)

    def check(self, connection: Connection) -> None:
        """Raise UnknownSchemaError where this is no metastore of Windsock."""
        found = columns_of(connection, (*TABLES, _OF_AIRFLOW))
        if _OF_AIRFLOW.name in found:
            raise UnknownSchemaError("this is an Airflow metadata database; give its URL with --airflow")
        if not found:
            raise UnknownSchemaError("it has no tables yet; run `windsock db init`")
        if lost := missing(found, TABLES):
            raise UnknownSchemaError(f"it lacks {', '.join(lost)}; run `windsock db upgrade`")

    def read(self, connection: Connection, samples: Samples) -> None:
        """Fill `samples` by the statements above."""
        runs = connection.execute(RUNS).all()
        dags = connection.execute(DAGS).all()
        families.add_runs(samples, runs)
        families.add_dags(samples, dags)
        for row in dags:
            families.add_last_runs(samples, row.dag_id, _last_runs(row))
        families.add_tasks(samples, connection.execute(TASKS))
        budgets = connection.execute(BUDGETS).all()
        families.add_pools(samples, (row for row in budgets if row.kind == "pool"))
        families.add_run_limits(samples, _run_limits(budgets, dags), runs)
        families.add_active(samples, connection.execute(ACTIVE), families.paused_of(dags))
        families.add_heartbeats(samples, connection.execute(HEARTBEATS))
        families.add_import_errors(samples, connection.execute(IMPORT_ERRORS), self._dags_folder)
        _add_deliveries(connection, samples)
        _add_callbacks(connection, samples)
        _add_shipments(connection, samples)
        current = {(row.dag_id, row.version) for row in dags}
        self._deadlines.read(connection, samples, current, {(row.dag_id, row.version) for row in runs})


def _run_limits(budgets: Iterable[Row[Any]], dags: Iterable[Row[Any]]) -> dict[str, int | None]:
    """max_active_runs of the DAGs that are there."""
    limits = {row.dag_id: int(row.slots) for row in budgets if row.kind == "dag_runs"}
    return {row.dag_id: limits.get(row.dag_id) for row in dags}


def _last_runs(row: Row[Any]) -> dict[str, LastRun]:
    columns = ((state, getattr(row, f"{state}_ended"), getattr(row, f"{state}_started")) for state in FINAL_RUNS)
    return {state: LastRun.of(ended, started) for state, ended, started in columns if ended is not None}


def _add_deliveries(connection: Connection, samples: Samples) -> None:
    for row in connection.execute(DELIVERIES):
        channel = row.channel or NOBODY
        if row.state not in _UNFINISHED_DELIVERIES:
            samples.add("metastore.deliveries", row.deliveries, channel, row.state)
        if channel != NOBODY:
            samples.add("metastore.deliveries", 0, channel, "dead")  # so that the first one is seen as growth
            samples.add("metastore.outbox_backlog", 0, channel)
            samples.raise_to("metastore.outbox_oldest_seconds", 0, channel)
    for row in connection.execute(WAITING):
        channel, age = row.channel or NOBODY, samples.age(instant(row.since)) if row.since else 0
        samples.set("metastore.outbox_backlog", row.alerts, channel)
        samples.set("metastore.outbox_oldest_seconds", age, channel)


def _add_callbacks(connection: Connection, samples: Samples) -> None:
    waiting = connection.execute(CALLBACKS).one()
    samples.set("metastore.callback_backlog", waiting.requests)
    samples.set("metastore.callback_oldest_seconds", samples.age(instant(waiting.since)) if waiting.since else 0)


def _add_shipments(connection: Connection, samples: Samples) -> None:
    samples.set("metastore.log_shipping_backlog", 0)
    samples.set("metastore.log_shipping_oldest_seconds", 0)
    for row in connection.execute(SHIPMENTS):
        samples.add("metastore.log_shipping_backlog", row.logs)
        samples.raise_to("metastore.log_shipping_oldest_seconds", samples.age(instant(row.since)))
        if row.reason is not None:
            samples.set("metastore.log_shipping_failing", row.logs, row.reason)
