"""Alerts on the work: runs that are late or fail, tasks that wait, limits that are reached, SLAs."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from prometheus.promql import increased, series
from prometheus.spec import Alert, Board, Group, Recording, Severity

_MINUTE: Final = timedelta(minutes=1)
_LAST_RUN: Final = series("metastore.last_run_timestamp_seconds")
_LAST_SUCCESS: Final = series("metastore.last_success_timestamp_seconds")
_NEXT_RUN: Final = series("metastore.next_run_timestamp_seconds")

# From the end of a DAG's last run until its next one is due: its interval less the run's own time, and up to one
# interval more while a run is under way. A run that somebody triggers makes it smaller: the greatest of a day counts.
_SPACING: Final = Recording(
    record="dag:run_spacing_seconds:max1d",
    expr=f"max_over_time((max by (dag_id) ({_NEXT_RUN}) - max by (dag_id) ({_LAST_RUN}) > 0)[1d:5m])",
)

_FULL_POOL: Final = (
    f"max by (pool_name) ({series('metastore.pool_waiting_tasks')}) > 0 and on (pool_name) "
    f"max by (pool_name) ({series('metastore.pool_used_slots')}) >= "
    f"max by (pool_name) ({series('metastore.pool_slots')}) and on (pool_name) "
    f"max by (pool_name) ({series('metastore.pool_slots')}) >= 0"
)

# No series has the run as a label: there would be one for each run. So a text says where it is named.
_ALERTS: Final = "`windsock alerts list --all --dag {{ $labels.dag_id }}`"
_IN_AIRFLOW: Final = "(in Airflow: the page of the DAG)"

FRESHNESS: Final = (
    Alert(
        name="WindsockRunOverdue",
        expr=(
            f"time() - max by (dag_id) ({_NEXT_RUN}) > seconds(5m) "
            f"unless on (dag_id) {series('metastore.dag_at_max_active_runs')} == 1"
        ),
        hold=_MINUTE,
        severity=Severity.WARNING,
        board=Board.DAG,
        summary="A run is due and was not created, though its DAG may have one more.",
        description="The next run of {{ $labels.dag_id }} has been due for {{ humanizeDuration $value }}.",
    ),
    Alert(
        name="WindsockNoRecentSuccess",
        expr=(
            f"time() - max by (dag_id) ({_LAST_SUCCESS}) > "
            f"on (dag_id) 2 * max by (dag_id) ({_SPACING.record}) and on (dag_id) "
            f"time() - max by (dag_id) ({_LAST_SUCCESS}) > seconds(10m) "
            f"unless on (dag_id) {series('metastore.dag_paused')} == 1"
        ),
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.DAG,
        summary="A DAG has not succeeded for longer than two of its runs take to come.",
        description="The last success of {{ $labels.dag_id }} was {{ humanizeDuration $value }} ago.",
    ),
)

FAILURES: Final = (
    Alert(
        name="WindsockRunFailed",
        expr=f"max by (dag_id) ({series('metastore.last_run_failed')}) == 1",
        severity=Severity.WARNING,
        board=Board.DAG,
        summary="The last run of a DAG failed.",
        description=(
            "It is a run of {{ $labels.dag_id }}. `windsock tasks states {{ $labels.dag_id }}` "
            f"{_IN_AIRFLOW} says which tasks failed."
        ),
    ),
    Alert(
        name="WindsockTaskFailures",
        expr="sum by (dag_id) (dag_task:ti_failures:increase10m) > 0",
        hold=_MINUTE,
        severity=Severity.WARNING,
        board=Board.DAG,
        summary="Task attempts fail.",
        description=(
            'Attempts of {{ $labels.dag_id }} that failed in ten minutes: {{ printf "%.0f" $value }}. '
            f"{_ALERTS} {_IN_AIRFLOW} says which tasks of which runs."
        ),
    ),
    Alert(
        name="WindsockTasksLost",
        expr=increased(series("task_instances_without_heartbeats_killed"), "10m", ("dag_id", "task_id")),
        hold=_MINUTE,
        severity=Severity.WARNING,
        board=Board.SCHEDULER,
        summary="Running tasks lost their supervisor.",
        description=(
            "Attempts of {{ $labels.dag_id }}.{{ $labels.task_id }} that stopped sending heartbeats and were failed: "
            f'{{{{ printf "%.0f" $value }}}}. {_ALERTS} {_IN_AIRFLOW} says of which runs.'
        ),
    ),
)

QUEUES: Final = (
    Alert(
        name="WindsockQueueStuck",
        expr=f"max by (pool_name) ({series('metastore.oldest_queued_seconds')}) > seconds(15m)",
        hold=_MINUTE,
        severity=Severity.WARNING,
        board=Board.POOLS,
        summary="A task has been ready for long and does not run.",
        description="A task of pool {{ $labels.pool_name }} has been ready for {{ humanizeDuration $value }}.",
    ),
    Alert(
        name="WindsockPoolStarving",
        expr=f"max by (pool_name) ({series('pool.starving_tasks')}) > 0 or {_FULL_POOL}",
        hold=10 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.POOLS,
        summary="Tasks wait for a slot of a full pool.",
        description="{{ $value }} task(s) wait for a slot of pool {{ $labels.pool_name }}.",
    ),
    Alert(
        name="WindsockExecutorNoFreeSlots",
        expr=(
            f"max by (executor_class_name) ({series('executor.open_slots')}) <= 0 "
            f"and on (executor_class_name) "
            f"max by (executor_class_name) ({series('executor.queued_tasks')}) > 0"
        ),
        hold=10 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.SCHEDULER,
        summary="The executor has no free slot, and tasks wait.",
        description="{{ $labels.executor_class_name }} has no free slot for ten minutes; tasks wait.",
    ),
)

SLAS: Final = (
    Alert(
        name="WindsockSlaMissed",
        expr=f"max by (dag_id) ({series('metastore.sla_missed_tasks')}) > 0",
        severity=Severity.WARNING,
        board=Board.DAG,
        summary="The time that an SLA allows is over, and it is not done.",
        description=(
            "It concerns {{ $value }} SLA(s) of {{ $labels.dag_id }}. `windsock sla list --dag {{ $labels.dag_id }} "
            "--state missed` says which tasks of which runs, and since when."
        ),
    ),
    Alert(
        name="WindsockSlaAtRisk",
        expr=f"max by (dag_id) ({series('metastore.sla_at_risk_tasks')}) > 0",
        severity=Severity.INFO,
        board=Board.DAG,
        summary="Four fifths of the time that an SLA allows are used up, and it is not done.",
        description=(
            "It concerns {{ $value }} SLA(s) of {{ $labels.dag_id }}. `windsock sla list --dag {{ $labels.dag_id }} "
            "--state open` says which tasks of which runs, and by when."
        ),
    ),
)

GROUPS: Final = (
    Group(name="windsock-run-spacing", rules=(_SPACING,), interval=_MINUTE),
    Group(name="windsock-work", rules=(*FRESHNESS, *FAILURES, *QUEUES, *SLAS)),
)
