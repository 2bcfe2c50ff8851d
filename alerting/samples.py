"""One event of each kind with all that may be known of it: for previews of templates, and for the tests of messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import structs

from alerting.chart import Sample
from alerting.events import AlertEvent
from alerting.kinds import EventKind

MOMENT: Final = datetime(2026, 11, 23, 2, 14, 7, tzinfo=UTC)
_BEGIN: Final = MOMENT - timedelta(minutes=75)
_DUE: Final = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
_DAG: Final = "daily_report"
_RUN: Final[Mapping[str, Any]] = {
    "dag_id": _DAG,
    "run_id": "scheduled__2026-11-22T00:00:00+00:00",
    "owner": "data-platform",
    "tags": ("finance", "nightly"),
    "logical_date": datetime(2026, 11, 22, tzinfo=UTC),
    "started_at": _BEGIN,
    "url": "https://windsock.example.com/dags/daily_report/runs/scheduled__2026-11-22T00%3A00%3A00%2B00%3A00",
}
_TASK: Final[Mapping[str, Any]] = {
    **_RUN,
    "task_id": "load_orders",
    "try_number": 2,
    "max_tries": 3,
    "operator": "PythonOperator",
    "pool": "warehouse",
    "ended_at": MOMENT,
    "hostname": "worker-2",
    "log_path": "dag_id=daily_report/run_id=scheduled__2026-11-22/task_id=load_orders/attempt=2.log",
    "url": f"{_RUN['url']}/tasks/load_orders/attempts/2",
}
_FAILURE: Final[Mapping[str, Any]] = {
    **_TASK,
    "cause": "exception",
    "exit_code": 1,
    "error": "PartitionMissing: orders has no partition for 2026-11-22",
}
_LABELS: Final = (
    ("alertname", "WindsockSchedulerLoopSlow"),
    ("severity", "warning"),
    ("instance", "scheduler-1:9102"),
    ("summary", "A turn of the scheduler's loop takes 4.2 s"),
    ("runbook_url", "https://windsock.example.com/runbooks/WindsockSchedulerLoopSlow.md"),
    ("dashboard_url", "https://grafana.example.com/d/windsock-scheduler"),
)
_QUERY: Final = "https://prometheus.example.com/graph?g0.expr=airflow_scheduler_loop&g0.tab=1"
_FIELDS: Final[Mapping[EventKind, Mapping[str, Any]]] = {
    EventKind.TASK_FAILED: {**_FAILURE, "try_number": 3, "blocked": ("build_report", "publish", "notify_finance")},
    EventKind.TASK_RETRY: {**_FAILURE, "next_retry_at": MOMENT + timedelta(minutes=5)},
    EventKind.TASK_RECOVERED: {**_TASK, "try_number": 3},
    EventKind.TASK_SKIPPED: {**_TASK, "cause": "timed_out", "error": "timed out after 1 h 15 min"},
    EventKind.RUN_FAILED: {**_RUN, "cause": "task_failures", "ended_at": MOMENT, "error": "failed tasks: load_orders"},
    EventKind.RUN_RECOVERED: {**_RUN, "ended_at": MOMENT},
    EventKind.RUN_OVERDUE: _RUN,
    EventKind.SLA_AT_RISK: {
        **_RUN,
        "due_at": _DUE + timedelta(hours=1),
        "predicted_at": _DUE + timedelta(hours=1, minutes=12),
        "blocking": ("load_orders",),
    },
    EventKind.SLA_MISSED: {
        **_RUN,
        "due_at": _DUE,
        "missed": ("build_report", "publish"),
        "blocking": ("load_orders",),
    },
    EventKind.DAG_LATE: {"dag_id": _DAG, "owner": "data-platform", "due_at": _DUE, "url": _RUN["url"]},
    EventKind.DAG_BROKEN: {
        "subject": "dags/daily_report.py",
        "error": "ModuleNotFoundError: No module named 'pandas'\n(dags/daily_report.py, line 3)",
        "url": "https://windsock.example.com/import-errors",
    },
    EventKind.DAG_REPAIRED: {"subject": "dags/daily_report.py", "url": "https://windsock.example.com/import-errors"},
    EventKind.COMPONENT_DOWN: {"subject": "scheduler on machine-1", "hostname": "machine-1", "started_at": _BEGIN},
    EventKind.COMPONENT_UP: {"subject": "scheduler on machine-1", "hostname": "machine-1", "started_at": _BEGIN},
    EventKind.CALLBACK_FAILED: {
        **_TASK,
        "subject": "on_failure_callback",
        "error": "KeyError: 'SLACK_ROOM'",
    },
    EventKind.DELIVERY_FAILING: {
        "subject": "ops-room",
        "error": "error 404: no_service; correct its URL in alerting.yml",
        "started_at": _BEGIN,
    },
    EventKind.DELIVERY_RECOVERED: {"subject": "ops-room", "started_at": _BEGIN},
    EventKind.PROMETHEUS_FIRING: {"labels": _LABELS, "severity": "warning", "started_at": _BEGIN, "url": _QUERY},
    EventKind.PROMETHEUS_RESOLVED: {"labels": _LABELS, "started_at": _BEGIN, "url": _QUERY},
    EventKind.NOTIFIED: {**_RUN, "summary": "The report is ready: 12 408 orders, 3 of them without a customer."},
    EventKind.TEST: {
        "summary": "This is a test alert: windsock alerts test.",
        "url": "https://windsock.example.com",
    },
}
LOG: Final[Sequence[str]] = (
    "[2026-11-23 02:13:51] INFO load_orders: reading orders of 2026-11-22",
    "[2026-11-23 02:13:58] INFO load_orders: 12 408 rows in 14 files",
    "[2026-11-23 02:14:06] WARNING load_orders: partition 2026-11-22 is not there, looking once more",
    "Traceback (most recent call last):",
    '  File "/opt/dags/daily_report.py", line 41, in load_orders',
    "    raise PartitionMissing(f'orders has no partition for {day}')",
    "PartitionMissing: orders has no partition for 2026-11-22",
)


def event(kind: EventKind) -> AlertEvent:
    """The event of this kind."""
    return AlertEvent(kind=kind, occurred_at=MOMENT, **_FIELDS[kind])


def wave() -> list[AlertEvent]:
    """Several that are told in one message."""
    failed = event(EventKind.TASK_FAILED)
    kinds = [EventKind.RUN_FAILED, EventKind.SLA_MISSED, EventKind.NOTIFIED, EventKind.DAG_BROKEN]
    return [failed, *map(event, [*kinds, EventKind.COMPONENT_DOWN])]


def mixed_wave() -> list[AlertEvent]:
    """A failure, and two ends of others."""
    return [*good_wave()[:2], event(EventKind.TASK_FAILED)]


def good_wave() -> list[AlertEvent]:
    """Several ends that are told in one message."""
    return [structs.replace(event(EventKind.TASK_RECOVERED), task_id=name) for name in ("extract", "load", "report")]


def not_started() -> AlertEvent:
    """A deadline of one task, which waits for another."""
    return structs.replace(
        event(EventKind.SLA_MISSED),
        task_id="publish",
        missed=("publish",),
        started_at=None,
        summary="publish was not done by 2026-11-23 02:00:00 UTC. It has not started.",
        error="load_orders is running since 2026-11-23 01:31:07 UTC, attempt 2 of 3",
    )


def tail(_path: str, lines: int) -> list[str]:
    """A log for these."""
    return list(LOG[-lines:])


def history(_event: AlertEvent) -> list[Sample]:
    """The durations of a task that got slower."""
    return [Sample(600.0 + 47 * number + 180 * (number % 4), number % 13 == 11) for number in range(28)] + [
        Sample(4_500.0, failed=True)
    ]
