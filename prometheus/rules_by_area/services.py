"""Alerts on the processes: do they live, does their work keep pace.

Truth is the heartbeat row of each process, which the metastore exporter reads. A process that signed off in order has
none, so a missing series is told too, while the exporter can read. That the StatsD heartbeat stands still is told
apart, and pages nobody: a lost datagram is no dead process.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from prometheus.promql import increased, quantile, series, silent
from prometheus.spec import Alert, Board, Group, Severity

_MINUTE: Final = timedelta(minutes=1)
_HEARTBEAT: Final = series("metastore.heartbeat_timestamp_seconds")
_READABLE: Final = f"max({series('metastore.up')}) == 1"


def nobody(component: str) -> str:
    """True when the newest heartbeat of a component is old, or when no process of it is signed on."""
    beats = f'{_HEARTBEAT}{{component="{component}"}}'
    return f"time() - max by (component) ({beats}) > seconds(2m) or absent({beats}) and on () ({_READABLE})"


ALERTS: Final = (
    Alert(
        name="WindsockSchedulerHeartbeatMissing",
        expr=nobody("scheduler"),
        hold=_MINUTE,
        severity=Severity.CRITICAL,
        board=Board.SCHEDULER,
        summary="No scheduler is at work.",
        description="No scheduler heartbeat for two minutes: no run begins and no task is started.",
    ),
    Alert(
        name="WindsockDagProcessorHeartbeatMissing",
        expr=nobody("dag_processor"),
        hold=2 * _MINUTE,
        severity=Severity.CRITICAL,
        board=Board.DAG_PROCESSING,
        summary="No DAG processor is at work.",
        description="No DAG processor heartbeat for two minutes: changed DAG files do not take effect.",
    ),
    Alert(
        name="WindsockNotifierHeartbeatMissing",
        expr=f"({nobody('notifier')}) and on () {series('metastore.callback_backlog')}",
        hold=2 * _MINUTE,
        severity=Severity.CRITICAL,
        board=Board.ALERTS,
        summary="No notifier is at work.",
        description="No notifier heartbeat for two minutes: no alert is delivered and no callback is run.",
    ),
    Alert(
        name="WindsockProcessSilent",
        expr=f"time() - max by (component, hostname) ({_HEARTBEAT}) > seconds(2m)",
        hold=3 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.SCHEDULER,
        summary="A process stopped beating without signing off.",
        description=(
            "The {{ $labels.component }} on {{ $labels.hostname }} was last seen {{ humanizeDuration $value }} ago."
        ),
    ),
    Alert(
        name="WindsockSchedulerMetricsMissing",
        expr=silent("scheduler_heartbeat", "2m"),
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.SCHEDULER,
        summary="The scheduler's metrics do not arrive.",
        description="No StatsD heartbeat of a scheduler for two minutes: rates and latencies are not to be trusted.",
    ),
    Alert(
        name="WindsockSchedulerLoopSlow",
        expr=quantile(0.95, series("scheduler.scheduler_loop_duration"), "10m") + " > work(5s)",
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.SCHEDULER,
        summary="The scheduler's turns take long.",
        description='Of the scheduler\'s turns, 95 % take up to {{ printf "%.0f" $value }} s.',
    ),
    Alert(
        name="WindsockHeartbeatWritesFail",
        expr=increased(series("job_heartbeat_failure"), "10m", ()),
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.INFRASTRUCTURE,
        summary="Processes cannot write their heartbeat.",
        description='{{ printf "%.0f" $value }} heartbeat(s) could not be written in ten minutes.',
    ),
)

GROUPS: Final = (Group(name="windsock-services", rules=ALERTS),)
