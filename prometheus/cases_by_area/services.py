"""Cases of the alerts on processes. Time begins at 0, so ``0+10x60`` is a heartbeat that is always fresh."""

from __future__ import annotations

from typing import Final

from prometheus.case import SCRAPED, Case, Firing, Kind, exported, four, grown

_METASTORE: Final = 'job="windsock-metastore",instance="x:9103"'
_UP: Final = f"airflow_metastore_up{{{_METASTORE}}}"
_CALLBACKS: Final = {f"airflow_metastore_callback_backlog{{{_METASTORE}}}": "0x120"}
_FRESH: Final = "0+10x120"
_STOPPED: Final = "0+10x30 300x90"  # at five minutes
_STATSD: Final = exported("airflow_scheduler_heartbeat")
_LOOP: Final = "airflow_scheduler_scheduler_loop_duration_bucket"


def _beats(component: str, hostname: str = "a") -> str:
    return (
        f'airflow_metastore_heartbeat_timestamp_seconds{{{_METASTORE},component="{component}",hostname="{hostname}"}}'
    )


def _nobody(
    alert: str, component: str, told: str, early: str, beside: dict[str, str] | None = None
) -> tuple[Case, ...]:
    """Dead, just dead, alive; signed off; and when the metastore cannot be read, nothing is known."""
    beats, firing = _beats(component), (Firing(told, {"component": component}),)
    readable = {_UP: "1x120"} | (beside or {})
    return (
        Case(alert, Kind.FIRING, "it died", readable | {beats: _STOPPED}, "12m", firing),
        Case(alert, Kind.FIRING, "it signed off", readable | {beats: "0+10x30 stale"}, "12m", firing),
        Case(alert, Kind.FIRING, "there never was one", readable, "12m", firing),
        Case(alert, Kind.NOT_YET, "it has just died", readable | {beats: _STOPPED}, early),
        Case(alert, Kind.SILENT, "it beats", readable | {beats: _FRESH}, "15m"),
        Case(
            alert, Kind.SILENT, "another one beats", readable | {beats: _STOPPED, _beats(component, "b"): _FRESH}, "15m"
        ),
        Case(alert, Kind.MISSING, "the metastore is not read, which is told by itself", {_UP: "0x120"}, "12m"),
    )


CASES: Final = (
    *_nobody(
        "WindsockSchedulerHeartbeatMissing",
        "scheduler",
        "No scheduler heartbeat for two minutes: no run begins and no task is started.",
        "7m30s",
    ),
    *_nobody(
        "WindsockDagProcessorHeartbeatMissing",
        "dag_processor",
        "No DAG processor heartbeat for two minutes: changed DAG files do not take effect.",
        "8m30s",
    ),
    *_nobody(
        "WindsockNotifierHeartbeatMissing",
        "notifier",
        "No notifier heartbeat for two minutes: no alert is delivered and no callback is run.",
        "8m30s",
        _CALLBACKS,
    ),
    Case("WindsockNotifierHeartbeatMissing", Kind.SILENT, "an Airflow has no notifier", {_UP: "1x120"}, "12m"),
    *four(
        "WindsockProcessSilent",
        bad={_beats("supervisor"): _STOPPED, _beats("supervisor", "b"): _FRESH},
        good={_beats("supervisor"): _FRESH, _beats("supervisor", "b"): "0+10x30 stale"},
        early="9m30s",
        late="12m",
        told="The supervisor on a was last seen 7m 0s ago.",
        labels={"component": "supervisor", "hostname": "a"},
    ),
    Case(
        "WindsockSchedulerMetricsMissing",
        Kind.FIRING,
        "they stopped",
        {_STATSD: "0+2x30 60x60"},
        "12m",
        (Firing("No StatsD heartbeat of a scheduler for two minutes: rates and latencies are not to be trusted."),),
    ),
    Case("WindsockSchedulerMetricsMissing", Kind.NOT_YET, "they just stopped", {_STATSD: "0+2x30 60x60"}, "8m"),
    Case("WindsockSchedulerMetricsMissing", Kind.SILENT, "they come", {_STATSD: "0+2x100"}, "15m"),
    Case(
        "WindsockSchedulerMetricsMissing",
        Kind.MISSING,
        "they never came, which counts as stopped",
        {},
        "5m",
        (Firing("No StatsD heartbeat of a scheduler for two minutes: rates and latencies are not to be trusted."),),
    ),
    *four(
        "WindsockSchedulerLoopSlow",
        bad={
            exported(_LOOP, 'le="5"'): "0x90",
            exported(_LOOP, 'le="10"'): "0+1x90",
            exported(_LOOP, 'le="+Inf"'): "0+1x90",
        },
        good={
            exported(_LOOP, 'le="1"'): "0+1x90",
            exported(_LOOP, 'le="5"'): "0+1x90",
            exported(_LOOP, 'le="+Inf"'): "0+1x90",
        },
        early="4m",
        late="12m",
        told="Of the scheduler's turns, 95 % take up to 10 s.",
    ),
    *grown(
        "WindsockHeartbeatWritesFail",
        exported("airflow_job_heartbeat_failure"),
        told="7 heartbeat(s) could not be written in ten minutes.",
        early="16m",
    ),
    Case(
        "WindsockHeartbeatWritesFail",
        Kind.SILENT,
        "Prometheus was away: old failures are not new ones",
        {
            exported("up"): "_x90 1x60",
            exported("process_start_time_seconds"): "-86400x200",
            exported("airflow_job_heartbeat_failure"): "_x90 5x60",
        },
        "18m",
    ),
    Case(
        "WindsockHeartbeatWritesFail",
        Kind.FIRING,
        "Prometheus was away, and one more failed since",
        {**SCRAPED, exported("airflow_job_heartbeat_failure"): "5x90 6x60"},
        "18m",
        (Firing("1 heartbeat(s) could not be written in ten minutes."),),
    ),
)
