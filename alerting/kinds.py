"""What can happen that somebody may want to hear of, and all that the pipeline must know of each kind, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias

Severity: TypeAlias = Literal["info", "warning", "error", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "error", "critical")
# How an attempt, a run or a callback ended, as the event of its end says it. Most events know of none.
CAUSES_OF_TASKS: Final = (
    *("exception", "exit", "signal", "stopped", "timeout"),
    *("import", "start", "lost", "queued", "ended"),
)
CAUSES_OF_RUNS: Final = ("task_failures", "timed_out", "stuck")
CauseOfCallback: TypeAlias = Literal["exception", "timeout", "start", "lost", "missing"]
CAUSES_OF_CALLBACKS: Final[tuple[CauseOfCallback, ...]] = ("exception", "timeout", "start", "lost", "missing")


class EventKind(StrEnum):
    """What happened. The value is stored, is what ``event=`` matches, and is the label of the alerting metrics."""

    TASK_FAILED = "task_failed"  # the last attempt failed: no retry will follow
    TASK_RETRY = "task_retry"  # an attempt failed and another will follow
    TASK_RECOVERED = "task_recovered"  # a task that was told as failed, or to be retried, has succeeded
    TASK_SKIPPED = "task_skipped"  # a time limit skipped it: a soft-failing sensor, or dagrun_timeout
    RUN_FAILED = "run_failed"
    RUN_RECOVERED = "run_recovered"  # a DAG whose run was told as failed has had a successful run
    RUN_OVERDUE = "run_overdue"  # a run goes on for much longer than its DAG's runs do
    SLA_AT_RISK = "sla_at_risk"  # a deadline will probably be missed
    SLA_MISSED = "sla_missed"
    DAG_LATE = "dag_late"  # a run that is due was not created
    DAG_BROKEN = "dag_broken"  # a DAG file cannot be read any more
    DAG_REPAIRED = "dag_repaired"
    COMPONENT_DOWN = "component_down"  # a scheduler, a DAG processor … shows no heartbeat
    COMPONENT_UP = "component_up"
    CALLBACK_FAILED = "callback_failed"  # a callback of a DAG file raised, or ran out of time
    DELIVERY_FAILING = "delivery_failing"  # messages for a channel die, or wait for too long
    DELIVERY_RECOVERED = "delivery_recovered"
    PROMETHEUS_FIRING = "prometheus_firing"  # an alert of Prometheus, sent by Alertmanager
    PROMETHEUS_RESOLVED = "prometheus_resolved"
    NOTIFIED = "notified"  # ``alerting.notify`` in a DAG file
    TEST = "test"  # `windsock alerts test`


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``verdict`` begins a subject ("Failed: daily.load"), ``short`` stands in a digest.

    ``counted`` is one of them and several, in a digest's subject: "1 failure, 2 broken files".

    ``mail`` and ``chat`` say who hears of it where the settings decide and not an alerting.yml: the addresses that the
    DAG file gives, and ``alerting.apprise_urls`` with Grafana.
    """

    verdict: str
    short: str
    counted: tuple[str, str]
    severity: Severity
    trouble: bool  # something is wrong now: red
    ends: EventKind | None = None  # the kind of event whose episode this one ends
    within: EventKind | None = None  # the kind whose episode this one is a part of
    mail: bool = False
    chat: bool = False


KINDS: Final[Mapping[EventKind, Kind]] = {
    EventKind.TASK_FAILED: Kind(
        verdict="Failed",
        short="failed",
        counted=("failure", "failures"),
        severity="error",
        trouble=True,
        mail=True,
        chat=True,
    ),
    EventKind.TASK_RETRY: Kind(
        verdict="Will retry",
        short="will retry",
        counted=("retry", "retries"),
        severity="warning",
        trouble=False,
        within=EventKind.TASK_FAILED,
        mail=True,
    ),
    EventKind.TASK_RECOVERED: Kind(
        verdict="Recovered",
        short="recovered",
        counted=("recovered", "recovered"),
        severity="info",
        trouble=False,
        ends=EventKind.TASK_FAILED,
    ),
    EventKind.TASK_SKIPPED: Kind(
        verdict="Skipped by a time limit",
        short="skipped by a time limit",
        counted=("skipped task", "skipped tasks"),
        severity="warning",
        trouble=False,
    ),
    EventKind.RUN_FAILED: Kind(
        verdict="Run failed",
        short="run failed",
        counted=("failed run", "failed runs"),
        severity="error",
        trouble=True,
        mail=True,
        chat=True,
    ),
    EventKind.RUN_RECOVERED: Kind(
        verdict="Runs succeed again",
        short="runs succeed again",
        counted=("recovered", "recovered"),
        severity="info",
        trouble=False,
        ends=EventKind.RUN_FAILED,
    ),
    EventKind.RUN_OVERDUE: Kind(
        verdict="Run takes too long",
        short="run takes too long",
        counted=("overdue run", "overdue runs"),
        severity="warning",
        trouble=True,
        chat=True,
    ),
    EventKind.SLA_AT_RISK: Kind(
        verdict="SLA at risk",
        short="SLA at risk",
        counted=("SLA at risk", "SLAs at risk"),
        severity="warning",
        trouble=False,
        chat=True,
    ),
    EventKind.SLA_MISSED: Kind(
        verdict="SLA missed",
        short="SLA missed",
        counted=("missed SLA", "missed SLAs"),
        severity="error",
        trouble=True,
        mail=True,
        chat=True,
    ),
    EventKind.DAG_LATE: Kind(
        verdict="Run not created",
        short="run not created",
        counted=("run not created", "runs not created"),
        severity="error",
        trouble=True,
        chat=True,
    ),
    EventKind.DAG_BROKEN: Kind(
        verdict="DAG file broken",
        short="DAG file broken",
        counted=("broken file", "broken files"),
        severity="error",
        trouble=True,
        mail=True,
        chat=True,
    ),
    EventKind.DAG_REPAIRED: Kind(
        verdict="DAG file repaired",
        short="DAG file repaired",
        counted=("repaired", "repaired"),
        severity="info",
        trouble=False,
        ends=EventKind.DAG_BROKEN,
    ),
    EventKind.COMPONENT_DOWN: Kind(
        verdict="Component down",
        short="component down",
        counted=("component down", "components down"),
        severity="critical",
        trouble=True,
        chat=True,
    ),
    EventKind.COMPONENT_UP: Kind(
        verdict="Component up again",
        short="component up again",
        counted=("up again", "up again"),
        severity="info",
        trouble=False,
        ends=EventKind.COMPONENT_DOWN,
    ),
    EventKind.CALLBACK_FAILED: Kind(
        verdict="Callback failed",
        short="callback failed",
        counted=("failed callback", "failed callbacks"),
        severity="warning",
        trouble=True,
        chat=True,
    ),
    EventKind.DELIVERY_FAILING: Kind(
        verdict="Alerts are not delivered",
        short="alerts are not delivered",
        counted=("failing channel", "failing channels"),
        severity="critical",
        trouble=True,
        chat=True,
    ),
    EventKind.DELIVERY_RECOVERED: Kind(
        verdict="Alerts are delivered again",
        short="alerts are delivered again",
        counted=("recovered", "recovered"),
        severity="info",
        trouble=False,
        ends=EventKind.DELIVERY_FAILING,
    ),
    EventKind.PROMETHEUS_FIRING: Kind(
        verdict="Alert", short="alert", counted=("alert", "alerts"), severity="error", trouble=True, chat=True
    ),
    EventKind.PROMETHEUS_RESOLVED: Kind(
        verdict="Resolved",
        short="resolved",
        counted=("resolved", "resolved"),
        severity="info",
        trouble=False,
        ends=EventKind.PROMETHEUS_FIRING,
    ),
    EventKind.NOTIFIED: Kind(
        verdict="Notice",
        short="notice",
        counted=("notice", "notices"),
        severity="info",
        trouble=False,
        chat=True,
    ),
    EventKind.TEST: Kind(
        verdict="Test alert",
        short="test",
        counted=("test", "tests"),
        severity="info",
        trouble=False,
        mail=True,
        chat=True,
    ),
}

# A trouble of these kinds is open until an event of another kind ends it.
WITH_END: Final = frozenset(known.ends for known in KINDS.values() if known.ends is not None)
