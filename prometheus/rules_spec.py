"""The rules themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from prometheus.promql import EXPORTER_JOB, increased, series, silent
from prometheus.spec import Alert, Recording, Severity

_MINUTE: Final = timedelta(minutes=1)
_FAILURE_WINDOW: Final = timedelta(minutes=10)
_DEAD_WINDOW: Final = timedelta(hours=1)

RECORDINGS: Final = (
    Recording(
        record="windsock:scheduler_heartbeat:rate2m",
        expr=f"sum(rate({series('scheduler_heartbeat')}[2m]))",
    ),
    Recording(
        record="dag_task:ti_failures:increase10m",
        expr=increased(series("ti_failures"), _FAILURE_WINDOW, ("dag_id", "task_id")),
    ),
    Recording(
        record="dag_task:ti_successes:increase10m",
        expr=increased(series("ti_successes"), _FAILURE_WINDOW, ("dag_id", "task_id")),
    ),
    Recording(
        record="executor:open_slots:min",
        expr=f"min by (executor_class_name) ({series('executor.open_slots')})",
    ),
    Recording(
        record="dag_task:task_duration_seconds:mean1h",
        expr=(
            f"sum by (dag_id, task_id) (rate({series('task.duration')}_sum[1h])) "
            f"/ sum by (dag_id, task_id) (rate({series('task.duration')}_count[1h]))"
        ),
    ),
)

_LOSSES: Final = " or ".join(
    (
        increased("statsd_exporter_sample_errors_total", _FAILURE_WINDOW, ("reason",)) + " > 0",
        increased("statsd_exporter_events_error_total", _FAILURE_WINDOW, ("reason",)) + " > 0",
        (
            "label_replace(sum(increase(statsd_exporter_udp_packet_drops_total[10m])), "
            '"reason", "udp_buffer_full", "", "") > 0'
        ),
    )
)

ALERTS: Final = (
    Alert(
        name="WindsockExporterDown",
        expr=f'up{{job="{EXPORTER_JOB}"}} == 0 or absent(up{{job="{EXPORTER_JOB}"}})',
        hold=_MINUTE,
        severity=Severity.CRITICAL,
        summary="The StatsD exporter cannot be scraped.",
        description="The StatsD exporter {{ $labels.instance }} gives no metrics; other alerts are blind.",
    ),
    Alert(
        name="WindsockSchedulerHeartbeatMissing",
        expr=silent("scheduler_heartbeat", 2 * _MINUTE),
        hold=_MINUTE,
        severity=Severity.CRITICAL,
        summary="No scheduler is at work.",
        description="No scheduler heartbeat came for two minutes: no run begins and no task is started.",
    ),
    Alert(
        name="WindsockDagProcessorHeartbeatMissing",
        expr=silent("dag_processor_heartbeat", 2 * _MINUTE),
        hold=2 * _MINUTE,
        severity=Severity.CRITICAL,
        summary="No DAG processor is at work.",
        description="No DAG processor heartbeat came for two minutes: changed DAG files do not take effect.",
    ),
    Alert(
        name="WindsockImportErrors",
        expr=f"max({series('dag_processing.import_errors')}) > 0",
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        summary="DAG files cannot be imported.",
        description="{{ $value }} DAG file(s) fail to import; their DAGs run as last parsed, or not at all.",
    ),
    Alert(
        name="WindsockTaskFailures",
        expr="sum by (dag_id) (dag_task:ti_failures:increase10m) > 0",
        hold=_MINUTE,
        severity=Severity.WARNING,
        summary="Task attempts fail.",
        description='{{ printf "%.0f" $value }} attempt(s) of {{ $labels.dag_id }} failed in ten minutes.',
    ),
    Alert(
        name="WindsockTasksLost",
        expr=increased(series("task_instances_without_heartbeats_killed"), _FAILURE_WINDOW, ("dag_id", "task_id")),
        hold=_MINUTE,
        severity=Severity.WARNING,
        summary="Running tasks lost their supervisor.",
        description=(
            '{{ printf "%.0f" $value }} attempt(s) of {{ $labels.dag_id }}.{{ $labels.task_id }} stopped '
            "sending heartbeats and were failed."
        ),
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
        summary="The executor has no free slot, and tasks wait.",
        description="{{ $labels.executor_class_name }} has no free slot for ten minutes; tasks wait.",
    ),
    Alert(
        name="WindsockPoolStarving",
        expr=f"max by (pool_name) ({series('pool.starving_tasks')}) > 0",
        hold=10 * _MINUTE,
        severity=Severity.WARNING,
        summary="Tasks wait for a slot of a full pool.",
        description="{{ $value }} task(s) wait for a slot of pool {{ $labels.pool_name }}.",
    ),
    Alert(
        name="WindsockAlertsDead",
        expr=increased(series("alerts.dead"), _DEAD_WINDOW, ("channel",)),
        hold=timedelta(0),
        severity=Severity.CRITICAL,
        summary="Alerts were given up undelivered.",
        description='{{ printf "%.0f" $value }} alert(s) to {{ $labels.channel }} were given up in one hour.',
    ),
    Alert(
        name="WindsockAlertsDelayed",
        expr=f"max({series('alerts.oldest_pending_seconds')}) > 300",
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        summary="Alerts wait too long for delivery.",
        description="The oldest undelivered alert has waited for {{ humanizeDuration $value }}.",
    ),
    Alert(
        name="WindsockSamplesLost",
        expr=_LOSSES,
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        summary="The StatsD exporter loses samples.",
        description='{{ printf "%.0f" $value }} sample(s) were lost in ten minutes ({{ $labels.reason }}).',
    ),
    Alert(
        name="WindsockAlertmanagerDown",
        expr='up{job="alertmanager"} == 0 or absent(up{job="alertmanager"})',
        hold=2 * _MINUTE,
        severity=Severity.CRITICAL,
        summary="Alertmanager cannot be scraped.",
        description="Alertmanager {{ $labels.instance }} does not answer: alerts of Prometheus reach nobody.",
    ),
    Alert(
        name="WindsockWatchdog",
        expr="vector(1)",
        hold=timedelta(0),
        severity=Severity.INFO,
        summary="The alerting path works.",
        description="This alert always fires. Whoever receives it should complain when it stops.",
    ),
)
