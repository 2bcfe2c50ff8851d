"""What each alert must do: fire, not yet fire, stay silent, and what it does when the series is missing.

Written as data, run by ``promtool test rules prometheus/tests/alerts.yml``. A sample comes every ten
seconds: ``1x6`` is a minute of ones, ``1+1x6`` a minute of growth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """Each alert has a case of every kind."""

    FIRING = "firing"
    NOT_YET = "not yet"  # the condition holds, but not for long enough; or, without a hold, it is about to
    SILENT = "silent"
    MISSING = "missing"  # the series it looks at does not exist


@dataclass(frozen=True)
class Firing:
    """One expected alert; severity, summary and runbook follow from the rule."""

    description: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """The series, when to look, and what must fire then."""

    alert: str
    kind: Kind
    title: str
    series: Mapping[str, str]
    at: str
    firing: tuple[Firing, ...] = ()


_TARGET: Final = 'job="windsock",instance="x:9102"'
_SCRAPED: Final = {f"up{{{_TARGET}}}": "1x800", f"process_start_time_seconds{{{_TARGET}}}": "-86400x800"}
_JUST_STARTED: Final = {f"up{{{_TARGET}}}": "1x800", f"process_start_time_seconds{{{_TARGET}}}": "0x800"}


def _counter(name: str, labels: str = "") -> str:
    return f"{name}{{{_TARGET}{',' if labels else ''}{labels}}}"


def _heartbeat_cases(alert: str, family: str, told: str, early: str) -> tuple[Case, ...]:
    """Stopped, never seen, just stopped, beating."""
    beating = _counter(family)
    return (
        Case(alert, Kind.FIRING, "it stopped beating", {beating: "0+2x30 60x60"}, "12m", (Firing(told),)),
        Case(alert, Kind.NOT_YET, "it has just stopped", {beating: "0+2x30 60x60"}, early),
        Case(alert, Kind.SILENT, "it beats", {beating: "0+2x100"}, "15m"),
        Case(alert, Kind.MISSING, "it was never seen, which counts as stopped", {}, "5m", (Firing(told),)),
    )


def _target_cases(alert: str, job: str, told: str, early: str) -> tuple[Case, ...]:
    """Down, never seen, just gone, up."""
    up = f'up{{job="{job}",instance="x:1"}}'
    by_job = {"job": job}
    firing = Firing(told.replace("@", " x:1"), by_job | {"instance": "x:1"})
    return (
        Case(alert, Kind.FIRING, "it does not answer", {up: "1x30 0x60"}, "12m", (firing,)),
        Case(alert, Kind.NOT_YET, "it has just gone", {up: "1x30 0x60"}, early),
        Case(alert, Kind.SILENT, "it answers", {up: "1x90"}, "12m"),
        Case(alert, Kind.MISSING, "it is no target at all", {}, "5m", (Firing(told.replace("@", " "), by_job),)),
    )


_FAILED: Final = _counter("airflow_ti_failures", 'dag_id="etl",task_id="load"')
_LOST: Final = _counter("airflow_task_instances_without_heartbeats_killed", 'dag_id="etl",task_id="load"')
_DEAD: Final = _counter("airflow_alerts_dead", 'channel="email"')
_BAD: Final = _counter("statsd_exporter_sample_errors_total", 'reason="malformed_line"')
_DROPS: Final = _counter("statsd_exporter_udp_packet_drops_total")
_IMPORT_ERRORS: Final = _counter("airflow_dag_processing_import_errors")
_PENDING: Final = _counter("airflow_alerts_oldest_pending_seconds")
_STARVING: Final = _counter("airflow_pool_starving_tasks", 'pool_name="db"')
_OPEN: Final = _counter("airflow_executor_open_slots", 'status="open",executor_class_name="LocalExecutor"')
_QUEUED: Final = _counter("airflow_executor_queued_tasks", 'status="queued",executor_class_name="LocalExecutor"')
_ETL: Final = {"dag_id": "etl"}
_LOAD: Final = _ETL | {"task_id": "load"}

CASES: Final[tuple[Case, ...]] = (
    *_target_cases(
        "WindsockExporterDown",
        "windsock",
        "The StatsD exporter@ gives no metrics; other alerts are blind.",
        "5m40s",
    ),
    *_target_cases(
        "WindsockAlertmanagerDown",
        "alertmanager",
        "Alertmanager@ does not answer: alerts of Prometheus reach nobody.",
        "6m40s",
    ),
    *_heartbeat_cases(
        "WindsockSchedulerHeartbeatMissing",
        "airflow_scheduler_heartbeat",
        "No scheduler heartbeat came for two minutes: no run begins and no task is started.",
        "7m30s",
    ),
    *_heartbeat_cases(
        "WindsockDagProcessorHeartbeatMissing",
        "airflow_dag_processor_heartbeat",
        "No DAG processor heartbeat came for two minutes: changed DAG files do not take effect.",
        "8m",
    ),
    Case(
        "WindsockImportErrors",
        Kind.FIRING,
        "two files fail",
        {_IMPORT_ERRORS: "0x6 2x60"},
        "5m",
        (Firing("2 DAG file(s) fail to import; their DAGs run as last parsed, or not at all."),),
    ),
    Case("WindsockImportErrors", Kind.NOT_YET, "a file is being saved", {_IMPORT_ERRORS: "0x6 2x60"}, "2m30s"),
    Case("WindsockImportErrors", Kind.SILENT, "all files import", {_IMPORT_ERRORS: "0x60"}, "5m"),
    Case("WindsockImportErrors", Kind.MISSING, "no processor; its heartbeat tells", {}, "5m"),
    Case(
        "WindsockTaskFailures",
        Kind.FIRING,
        "the very first failure of a task",
        {**_SCRAPED, _FAILED: "_x90 1x30"},
        "17m",
        (Firing("1 attempt(s) of etl failed in ten minutes.", _ETL),),
    ),
    Case(
        "WindsockTaskFailures",
        Kind.FIRING,
        "the first failure after a fresh start",
        {**_JUST_STARTED, _FAILED: "_x6 1x30"},
        "4m",
        (Firing("1 attempt(s) of etl failed in ten minutes.", _ETL),),
    ),
    Case(
        "WindsockTaskFailures",
        Kind.FIRING,
        "one more failure",
        {**_SCRAPED, _FAILED: "5x90 6x60"},
        "18m",
        (Firing("1 attempt(s) of etl failed in ten minutes.", _ETL),),
    ),
    Case(
        "WindsockTaskFailures",
        Kind.NOT_YET,
        "half a minute ago",
        {**_SCRAPED, _FAILED: "_x90 1x30"},
        "15m40s",
    ),
    Case("WindsockTaskFailures", Kind.SILENT, "the failures are old", {**_SCRAPED, _FAILED: "5x200"}, "30m"),
    Case(
        "WindsockTaskFailures",
        Kind.SILENT,
        "Prometheus was away: old failures are not new ones",
        {
            f"up{{{_TARGET}}}": "_x90 1x60",
            f"process_start_time_seconds{{{_TARGET}}}": "-86400x200",
            _FAILED: "_x90 5x60",
        },
        "18m",
    ),
    Case("WindsockTaskFailures", Kind.MISSING, "nothing ever failed", _SCRAPED, "15m"),
    Case(
        "WindsockTasksLost",
        Kind.FIRING,
        "a supervisor died",
        {**_SCRAPED, _LOST: "_x90 2x30"},
        "17m",
        (Firing("2 attempt(s) of etl.load stopped sending heartbeats and were failed.", _LOAD),),
    ),
    Case("WindsockTasksLost", Kind.NOT_YET, "half a minute ago", {**_SCRAPED, _LOST: "_x90 2x30"}, "15m40s"),
    Case("WindsockTasksLost", Kind.SILENT, "long ago", {**_SCRAPED, _LOST: "2x200"}, "30m"),
    Case("WindsockTasksLost", Kind.MISSING, "never", _SCRAPED, "15m"),
    Case(
        "WindsockExecutorNoFreeSlots",
        Kind.FIRING,
        "full, and tasks wait",
        {_OPEN: "0x90", _QUEUED: "3x90"},
        "12m",
        (
            Firing(
                "LocalExecutor has no free slot for ten minutes; tasks wait.",
                {"executor_class_name": "LocalExecutor"},
            ),
        ),
    ),
    Case(
        "WindsockExecutorNoFreeSlots",
        Kind.NOT_YET,
        "for nine minutes",
        {_OPEN: "0x90", _QUEUED: "3x90"},
        "9m",
    ),
    Case(
        "WindsockExecutorNoFreeSlots",
        Kind.SILENT,
        "full, nobody waits",
        {_OPEN: "0x90", _QUEUED: "0x90"},
        "12m",
    ),
    Case("WindsockExecutorNoFreeSlots", Kind.MISSING, "no scheduler; its heartbeat tells", {}, "12m"),
    Case(
        "WindsockPoolStarving",
        Kind.FIRING,
        "tasks wait",
        {_STARVING: "4x90"},
        "12m",
        (
            Firing(
                "4 task(s) wait for a slot of pool db.",
                {"pool_name": "db"},
            ),
        ),
    ),
    Case("WindsockPoolStarving", Kind.NOT_YET, "for nine minutes", {_STARVING: "4x90"}, "9m"),
    Case("WindsockPoolStarving", Kind.SILENT, "there is room", {_STARVING: "0x90"}, "12m"),
    Case("WindsockPoolStarving", Kind.MISSING, "no pools yet", {}, "12m"),
    Case(
        "WindsockAlertsDead",
        Kind.FIRING,
        "a receiver refused for good",
        {**_SCRAPED, _DEAD: "_x400 1x30"},
        "68m",
        (Firing("1 alert(s) to email were given up in one hour.", {"channel": "email"}),),
    ),
    Case("WindsockAlertsDead", Kind.NOT_YET, "before it gives up", {**_SCRAPED, _DEAD: "_x400 1x30"}, "66m"),
    Case("WindsockAlertsDead", Kind.SILENT, "more than an hour ago", {**_SCRAPED, _DEAD: "1x800"}, "130m"),
    Case("WindsockAlertsDead", Kind.MISSING, "never", _SCRAPED, "70m"),
    Case(
        "WindsockAlertsDelayed",
        Kind.FIRING,
        "the mail server is away",
        {_PENDING: "0+10x90"},
        "10m",
        (Firing("The oldest undelivered alert has waited for 10m 0s."),),
    ),
    Case("WindsockAlertsDelayed", Kind.NOT_YET, "for six minutes", {_PENDING: "0+10x90"}, "6m"),
    Case("WindsockAlertsDelayed", Kind.SILENT, "delivered at once", {_PENDING: "0x90"}, "10m"),
    Case("WindsockAlertsDelayed", Kind.MISSING, "no deliverer", {}, "10m"),
    Case(
        "WindsockSamplesLost",
        Kind.FIRING,
        "lines that cannot be read",
        {**_SCRAPED, _BAD: "_x90 7x60"},
        "21m",
        (Firing("7 sample(s) were lost in ten minutes (malformed_line).", {"reason": "malformed_line"}),),
    ),
    Case(
        "WindsockSamplesLost",
        Kind.FIRING,
        "the kernel's buffer was full",
        {**_SCRAPED, _DROPS: "0x90 600x60"},
        "21m",
        (Firing("600 sample(s) were lost in ten minutes (udp_buffer_full).", {"reason": "udp_buffer_full"}),),
    ),
    Case("WindsockSamplesLost", Kind.NOT_YET, "two minutes ago", {**_SCRAPED, _BAD: "_x90 7x60"}, "17m"),
    Case("WindsockSamplesLost", Kind.SILENT, "nothing new", {**_SCRAPED, _BAD: "7x200", _DROPS: "5x200"}, "25m"),
    Case("WindsockSamplesLost", Kind.MISSING, "nothing ever", _SCRAPED, "25m"),
    Case(
        "WindsockWatchdog",
        Kind.FIRING,
        "always",
        {},
        "1m",
        (Firing("This alert always fires. Whoever receives it should complain when it stops."),),
    ),
)
