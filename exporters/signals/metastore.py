"""Signals that the metastore exporter reads from the database: truth that no lost datagram can bend.

Each is a gauge of the moment of the last read. ``emitters`` says for whose database the exporter can give it. Ages are
computed by the database's clock. The series of a thing that is gone (a DAG, a pool, a file) goes with the next read.
"""

from __future__ import annotations

from exporters.signal import Label, Signal, Unit
from exporters.signals.rows import AIRFLOW, WINDSOCK, gauge

_BOTH = WINDSOCK | AIRFLOW

SIGNALS: tuple[Signal, ...] = (
    gauge(
        "metastore.up",
        "1 when the last read of the metastore succeeded, else 0",
        _BOTH,
        unit=Unit.STATE,
        note="while it is 0 every other metastore series is absent, so that nobody reads old numbers as new ones",
    ),
    gauge("metastore.read_duration_seconds", "How long the last read took", _BOTH, unit=Unit.SECONDS),
    gauge("metastore.read_timestamp_seconds", "When the last read succeeded (Unix time)", _BOTH, unit=Unit.SECONDS),
    gauge(
        "metastore.dag_runs",
        "Runs that are not over, by state",
        _BOTH,
        labels=(Label.DAG_ID, Label.STATE),
    ),
    gauge(
        "metastore.task_instances",
        "Task instances of runs that are not over, by state",
        _BOTH,
        labels=(Label.DAG_ID, Label.STATE),
        note="a task instance that nothing was decided about yet has the state none",
    ),
    gauge(
        "metastore.oldest_queued_seconds",
        "Age of the task instance that has been ready (scheduled or queued) for longest and does not run, 0 if none",
        _BOTH,
        labels=(Label.POOL_NAME,),
        unit=Unit.SECONDS,
        note="what is scheduled of a paused DAG is left out: it waits for a person",
    ),
    gauge(
        "metastore.oldest_running_seconds",
        "Age of the attempt that has been running for longest",
        _BOTH,
        labels=(Label.DAG_ID,),
        unit=Unit.SECONDS,
        note="no series where nothing of the DAG runs",
    ),
    gauge(
        "metastore.last_run_timestamp_seconds",
        "When the DAG's last run that is over ended (Unix time)",
        _BOTH,
        labels=(Label.DAG_ID,),
        unit=Unit.SECONDS,
    ),
    gauge(
        "metastore.last_run_failed",
        "1 when the DAG's last run that is over failed, else 0",
        _BOTH,
        labels=(Label.DAG_ID,),
        unit=Unit.STATE,
    ),
    gauge(
        "metastore.last_success_timestamp_seconds",
        "When the DAG's last successful run ended (Unix time)",
        _BOTH,
        labels=(Label.DAG_ID,),
        unit=Unit.SECONDS,
    ),
    gauge(
        "metastore.last_run_duration_seconds",
        "How long the DAG's last run that is over took, from its start",
        _BOTH,
        labels=(Label.DAG_ID,),
        unit=Unit.SECONDS,
    ),
    gauge(
        "metastore.next_run_timestamp_seconds",
        "When the DAG's next run is due (Unix time); past when it is overdue",
        _BOTH,
        labels=(Label.DAG_ID,),
        unit=Unit.SECONDS,
        note="no series for a paused DAG or one without a schedule",
    ),
    gauge(
        "metastore.dag_at_max_active_runs",
        "1 when the DAG has as many open runs as max_active_runs allows, so that its next run waits for one of them",
        _BOTH,
        labels=(Label.DAG_ID,),
        unit=Unit.STATE,
    ),
    gauge("metastore.dag_paused", "1 when the DAG is paused, else 0", _BOTH, labels=(Label.DAG_ID,), unit=Unit.STATE),
    gauge(
        "metastore.heartbeat_timestamp_seconds",
        "Newest heartbeat of the processes of this kind that have not signed off (Unix time)",
        _BOTH,
        labels=(Label.COMPONENT, Label.HOSTNAME),
        unit=Unit.SECONDS,
        note="a dead process is the series that stands still; one that signed off in order is absent, and one of "
        "Airflow's that has been silent for a day",
    ),
    gauge("metastore.pool_slots", "Slots of the pool; -1 when unlimited", _BOTH, labels=(Label.POOL_NAME,)),
    gauge("metastore.pool_used_slots", "Slots of the pool in use", _BOTH, labels=(Label.POOL_NAME,)),
    gauge(
        "metastore.pool_waiting_tasks",
        "Task instances of the pool that are ready and wait",
        _BOTH,
        labels=(Label.POOL_NAME,),
        note="those of a paused DAG are left out",
    ),
    gauge(
        "metastore.import_errors",
        "1 for each DAG file that cannot be imported",
        _BOTH,
        labels=(Label.FILE_PATH,),
        note="the path is relative to the DAG folder where it lies below it",
    ),
    gauge(
        "metastore.outbox_backlog",
        "Deliveries that wait",
        WINDSOCK,
        labels=(Label.CHANNEL,),
        note="the channel unrouted holds the alerts that no route was looked up for yet; all, while no notifier runs",
    ),
    gauge(
        "metastore.outbox_oldest_seconds",
        "Age of the oldest delivery that waits, 0 if none",
        WINDSOCK,
        labels=(Label.CHANNEL,),
        unit=Unit.SECONDS,
        note="what is held by the rate of its channel, or was sent again, counts from when it may go",
    ),
    gauge(
        "metastore.deliveries",
        "Deliveries in the outbox's history, by outcome",
        WINDSOCK,
        labels=(Label.CHANNEL, Label.OUTCOME),
        note="falls when the history is pruned; the channel of what was routed to nobody is none",
    ),
    gauge("metastore.callback_backlog", "User callbacks that wait to be run", WINDSOCK),
    gauge(
        "metastore.callback_oldest_seconds",
        "Age of the oldest user callback that waits, 0 if none",
        WINDSOCK,
        unit=Unit.SECONDS,
    ),
    gauge(
        "metastore.log_shipping_backlog",
        "Logs of ended attempts that wait to be shipped",
        WINDSOCK,
        note="always 0 where logging.remote_logging is off",
    ),
    gauge(
        "metastore.log_shipping_oldest_seconds",
        "Age of the oldest log that waits to be shipped, from the end of its attempt; 0 if none: the lag",
        WINDSOCK,
        unit=Unit.SECONDS,
    ),
    gauge(
        "metastore.log_shipping_failing",
        "Logs that wait since a try to ship them failed, by reason",
        WINDSOCK,
        labels=(Label.REASON,),
        note="no series where none does",
    ),
    gauge(
        "metastore.sla_missed_tasks",
        "Deadlines of open runs (sla= of tasks and DAGs, deadline=) that have passed before what they are of was done",
        WINDSOCK,
        labels=(Label.DAG_ID,),
    ),
    gauge(
        "metastore.sla_at_risk_tasks",
        "Deadlines of open runs of whose time four fifths are used up, and not all of it",
        WINDSOCK,
        labels=(Label.DAG_ID,),
    ),
    gauge(
        "metastore.series_dropped",
        "Series that the last read left out, since their family has more than exporter.metastore_max_series",
        _BOTH,
    ),
)
