"""Service level objectives: error ratios, budgets, and alerts on how fast a budget burns.

Two objectives, both over all DAGs: task attempts that do not fail, and runs that begin within a minute of being due.
A single DAG has too few runs for a ratio; `work` watches its freshness instead.

The windows and factors are those of the Google SRE workbook, chapter 5 "Alerting on SLOs", as Sloth ships them for a
period of 30 days. (Its table for 28 days has 13.44, 5.6, 2.8 and 0.93.) The period here is 30 days: the recordings are
named for it, and Prometheus keeps samples for longer by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from prometheus.promql import increased, series
from prometheus.spec import Alert, Board, Group, Recording, Severity

PERIOD: Final = "30d"
OBJECTIVE: Final = 0.99
MIN_EVENTS: Final = 20
"""Events in the long window below which a ratio says nothing: one failed attempt of three is no burning budget."""
STEP: Final = "5m"
"""Span in which events are counted; every window is a multiple of it."""


@dataclass(frozen=True)
class Windows:
    """The error ratio of both must be above factor times budget; the short one ends the alert soon after its cause."""

    long: str
    short: str
    factor: float
    budget: float  # share of the period's budget that is gone when this fires


PAGE: Final = (Windows("1h", "5m", 14.4, 0.02), Windows("6h", "30m", 6, 0.05))
TICKET: Final = (Windows("1d", "2h", 3, 0.10), Windows("3d", "6h", 1, 0.10))
RATIO_WINDOWS: Final = {
    "windsock-slo": ("5m", "30m", "1h", "2h", "6h"),
    "windsock-slo-days": ("1d", "3d"),
    "windsock-slo-period": (PERIOD,),
}
"""Group of rules → its windows. Long windows change slowly and cost more, so they are computed less often."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One objective, by its label ``slo``."""

    slo: str
    alert: str  # first part of its alerts' names
    bad: str
    events: str
    confirmed: str  # what the metastore shows while it is true
    what: str  # goes wrong
    promise: str


def _none_is_zero(expr: str) -> str:
    return f"({expr} or vector(0))"


_FAILED: Final = _none_is_zero(increased(series("ti_failures"), STEP, ()))
_SUCCEEDED: Final = _none_is_zero(increased(series("ti_successes"), STEP, ()))
_BEGUN: Final = _none_is_zero(increased(series("dagrun.schedule_delay") + "_count", STEP, ()))
# The bridge and statsd_exporter write the bound of a minute in different ways.
_IN_TIME: Final = _none_is_zero(increased(series("dagrun.schedule_delay") + '_bucket{le=~"60|60.0"}', STEP, ()))

OBJECTIVES: Final = (
    Objective(
        slo="task-success",
        alert="WindsockTaskSuccess",
        bad=_FAILED,
        events=f"{_FAILED} + {_SUCCEEDED}",
        confirmed=(
            f"max(({series('metastore.last_run_failed')} == 1 "
            f"and on (dag_id) time() - {series('metastore.last_run_timestamp_seconds')} < seconds(6h)) "
            f"unless on (dag_id) {series('metastore.dag_paused')} == 1) == 1"
        ),
        what="task attempts fail",
        promise="task attempts do not fail",
    ),
    Objective(
        slo="schedule-delay",
        alert="WindsockScheduleDelay",
        bad=f"clamp_min({_BEGUN} - {_IN_TIME}, 0)",
        events=_BEGUN,
        confirmed=(
            f"(max_over_time((time() - min({series('metastore.next_run_timestamp_seconds')}))[5m:30s]) > seconds(1m) "
            f'or sum({series("metastore.dag_runs")}{{state="queued"}}) > 0)'
        ),
        what="runs begin more than a minute late",
        promise="runs begin within a minute of being due",
    ),
)


def _counts(objective: Objective) -> tuple[Recording, ...]:
    labels = {"slo": objective.slo}
    return (
        Recording(record="windsock:slo_bad_events:increase5m", expr=objective.bad, labels=labels),
        Recording(record="windsock:slo_events:increase5m", expr=objective.events, labels=labels),
        Recording(record="windsock:slo_objective:ratio", expr=f"vector({OBJECTIVE:g})", labels=labels),
    )


def _ratio(window: str) -> Recording:
    """Weighted by events: every event is in as many of the overlapping counts as any other."""
    return Recording(
        record=f"windsock:slo_errors:ratio_rate{window}",
        expr=(
            f"sum_over_time(windsock:slo_bad_events:increase5m[{window}]) "
            f"/ (sum_over_time(windsock:slo_events:increase5m[{window}]) > 0)"
        ),
    )


def _burn_rate(window: str) -> Recording:
    return Recording(
        record=f"windsock:slo_burn_rate:ratio{window}",
        expr=f"windsock:slo_errors:ratio_rate{window} / (1 - windsock:slo_objective:ratio)",
    )


_REMAINING: Final = Recording(
    record=f"windsock:slo_error_budget_remaining:ratio{PERIOD}",
    expr=f"1 - windsock:slo_errors:ratio_rate{PERIOD} / (1 - windsock:slo_objective:ratio)",
)


def _burns(objective: Objective, windows: Windows) -> str:
    """Both windows burn, and the long one holds enough events to say so."""
    chosen = f'{{slo="{objective.slo}"}}'
    threshold = f"{windows.factor:g} * {1 - OBJECTIVE:.2g}"
    return (
        f"(windsock:slo_errors:ratio_rate{windows.long}{chosen} > {threshold} "
        f"and windsock:slo_errors:ratio_rate{windows.short}{chosen} > {threshold} "
        f"and sum_over_time(windsock:slo_events:increase5m{chosen}[{windows.long}:{STEP}]) >= {MIN_EVENTS})"
    )


def _any(objective: Objective, pairs: tuple[Windows, ...]) -> str:
    return " or ".join(_burns(objective, pair) for pair in pairs)


def _alerts(objective: Objective) -> tuple[Alert, Alert]:
    """A page where the metastore agrees; else a ticket, since these ratios travel by UDP."""
    told = "of them {{ humanizePercentage $value }}, and 1 % are allowed"
    return (
        Alert(
            name=f"{objective.alert}BurnsFast",
            expr=f"({_any(objective, PAGE)}) and on () {objective.confirmed}",
            severity=Severity.CRITICAL,
            board=Board.SLO,
            summary=f"The error budget of {objective.slo} is used up within days.",
            description=f"Too many {objective.what}: {told}.",
        ),
        Alert(
            name=f"{objective.alert}Burns",
            expr=f"{_any(objective, TICKET)} or {_any(objective, PAGE)}",
            severity=Severity.WARNING,
            board=Board.SLO,
            summary=f"The error budget of {objective.slo} is used up before its period ends.",
            description=f"Too many {objective.what}: {told}.",
        ),
    )


_INTERVALS: Final = {"windsock-slo-days": timedelta(minutes=1), "windsock-slo-period": timedelta(minutes=5)}

GROUPS: Final = (
    Group(
        name="windsock-slo",
        rules=(
            *(rule for objective in OBJECTIVES for rule in _counts(objective)),
            *map(_ratio, RATIO_WINDOWS["windsock-slo"]),
            *map(_burn_rate, ("1h", "6h")),
        ),
    ),
    *(
        Group(name=name, rules=tuple(map(_ratio, RATIO_WINDOWS[name])), interval=interval)
        for name, interval in _INTERVALS.items()
    ),
    Group(name="windsock-slo-budget", rules=(_REMAINING,), interval=_INTERVALS["windsock-slo-period"]),
    Group(
        name="windsock-slo-alerts",
        rules=tuple(alert for objective in OBJECTIVES for alert in _alerts(objective)),
    ),
)
