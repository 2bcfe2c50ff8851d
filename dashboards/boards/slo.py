"""SLO and error budget: what was promised, how much of the budget is left, and how fast it burns."""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Row
from dashboards.links import Uid, board, runbook
from dashboards.panels import AMBER, GREEN, RED, Ask, Column, Kit, Words, note
from dashboards.promql import RECORDED_SLOS, grown, observations, selector

_KIT: Final = Kit()
_TASKS: Final = 'slo="task-success"'
_DELAY: Final = 'slo="schedule-delay"'
_RED_WHEN_SPENT: Final = ((None, RED), (0, AMBER), (0.25, GREEN))
_BURN: Final = ((None, GREEN), (1, AMBER), (14.4, RED))
_NO_RULES: Final = "rules not evaluated"


def _recorded(measure: str, by: str = "slo", where: str = "") -> str:
    """One of the SLO recordings: ``windsock:slo_<measure>``."""
    narrowed = f'measure="slo_{measure}"{"," if where else ""}{where}'
    return f"max by ({by}) ({selector(RECORDED_SLOS, narrowed)})"


_NOW: Final = Row(
    "Budget",
    [
        _KIT.number(
            "Budget left: task success",
            Words(
                "The share of the allowed failures of 30 days that is not used up.",
                "above 25 %.",
                "below 0 the promise is broken: find what fails most before you change anything else.",
            ),
            _recorded("error_budget_remaining:ratio30d", where=_TASKS),
            links=[board(Uid.OVERVIEW), runbook("WindsockTaskSuccessBurns")],
            unit="percentunit",
            steps=_RED_WHEN_SPENT,
            empty=_NO_RULES,
            span=6,
        ),
        _KIT.number(
            "Budget left: schedule delay",
            Words(
                "The share of the allowed late starts of 30 days that is not used up.",
                "above 25 %.",
                "below 0 the promise is broken: see the scheduler's board.",
            ),
            _recorded("error_budget_remaining:ratio30d", where=_DELAY),
            links=[board(Uid.SCHEDULER), runbook("WindsockScheduleDelayBurns")],
            unit="percentunit",
            steps=_RED_WHEN_SPENT,
            empty=_NO_RULES,
            span=6,
        ),
        _KIT.number(
            "Burn rate of one hour: task success",
            Words(
                "How many times faster than allowed the budget was spent in the last hour.",
                "below 1.",
                "14.4 spends 2 % of a month's budget in an hour and wakes somebody.",
            ),
            _recorded("burn_rate:ratio1h", where=_TASKS),
            links=[board(Uid.OVERVIEW), runbook("WindsockTaskSuccessBurnsFast")],
            steps=_BURN,
            empty=_NO_RULES,
            span=6,
            decimals=2,
        ),
        _KIT.number(
            "Burn rate of one hour: schedule delay",
            Words(
                "How many times faster than allowed the budget was spent in the last hour.",
                "below 1.",
                "14.4 spends 2 % of a month's budget in an hour and wakes somebody.",
            ),
            _recorded("burn_rate:ratio1h", where=_DELAY),
            links=[board(Uid.SCHEDULER), runbook("WindsockScheduleDelayBurnsFast")],
            steps=_BURN,
            empty=_NO_RULES,
            span=6,
            decimals=2,
        ),
        _KIT.rows(
            "Promises",
            Words(
                "Each SLO: what was promised, the errors of 30 days, and what is left of the budget.",
                "errors below 1 minus the objective.",
                "the row below says since when it burns.",
            ),
            Ask(_recorded("objective:ratio")),
            Ask(_recorded("errors:ratio_rate30d")),
            Ask(_recorded("error_budget_remaining:ratio30d")),
            Ask(_recorded("burn_rate:ratio6h")),
            columns=(
                Column("slo", "SLO"),
                Column("Value #A", "Objective", unit="percentunit"),
                Column("Value #B", "Errors, 30 days", unit="percentunit"),
                Column("Value #C", "Budget left", unit="percentunit", steps=_RED_WHEN_SPENT),
                Column("Value #D", "Burn rate, 6 hours", steps=_BURN),
            ),
            links=[board(Uid.OVERVIEW)],
            empty=_NO_RULES,
            span=14,
        ),
        note(
            "What the SLOs count",
            "**task-success**: task attempts that did not fail. **schedule-delay**: runs that began within 60 seconds "
            "of being due.\n\nA burn rate of 1 spends exactly the budget of 30 days in 30 days. Somebody is woken at "
            "14.4 over one hour (and five minutes) or 6 over six hours (and thirty minutes); a ticket comes at 3 over "
            "one day (and two hours) or 1 over three days (and six hours): the numbers of Google's SRE workbook.\n\n"
            "With few runs a day one failure moves these ratios far; for a single DAG read the time since its last "
            "success instead.",
            links=[board(Uid.DAG)],
            span=10,
            height=8,
        ),
    ],
)

_OVER_TIME: Final = Row(
    "Burning",
    [
        _KIT.lines(
            "Budget left",
            Words(
                "The share of the 30 days' budget that is left.",
                "falls slowly, rises as old errors leave the window.",
                "a cliff is an incident: find it in the error ratios beside.",
            ),
            Ask(_recorded("error_budget_remaining:ratio30d"), "{{slo}}"),
            links=[board(Uid.OVERVIEW)],
            unit="percentunit",
            steps=((None, RED), (0, GREEN)),
            empty=_NO_RULES,
        ),
        _KIT.lines(
            "Burn rate",
            Words(
                "How many times faster than allowed the budget is spent, over one and six hours.",
                "below 1.",
                "above 14.4 over one hour, or 6 over six: act now.",
            ),
            Ask(_recorded("burn_rate:ratio1h"), "1h {{slo}}"),
            Ask(_recorded("burn_rate:ratio6h"), "6h {{slo}}"),
            links=[runbook("WindsockTaskSuccessBurnsFast"), runbook("WindsockScheduleDelayBurnsFast")],
            steps=((None, GREEN), (6, AMBER), (14.4, RED)),
            empty=_NO_RULES,
        ),
        _KIT.lines(
            "Error ratio by window: task success",
            Words(
                "The share of failed attempts over each window that a burn-rate alert looks at.",
                "below 1 %.",
                "short windows high: it is happening now; long ones only: it is over.",
            ),
            *(Ask(_recorded(f"errors:ratio_rate{window}", where=_TASKS), window) for window in ("5m", "30m", "1h")),
            *(
                Ask(_recorded(f"errors:ratio_rate{window}", where=_TASKS), window)
                for window in ("2h", "6h", "1d", "3d")
            ),
            links=[board(Uid.OVERVIEW)],
            unit="percentunit",
            empty="no attempt ended",
        ),
        _KIT.lines(
            "Error ratio by window: schedule delay",
            Words(
                "The share of runs that began later than 60 seconds after being due.",
                "below 1 %.",
                "short windows high: it is happening now; long ones only: it is over.",
            ),
            *(Ask(_recorded(f"errors:ratio_rate{window}", where=_DELAY), window) for window in ("5m", "30m", "1h")),
            *(
                Ask(_recorded(f"errors:ratio_rate{window}", where=_DELAY), window)
                for window in ("2h", "6h", "1d", "3d")
            ),
            links=[board(Uid.SCHEDULER)],
            unit="percentunit",
            empty="no scheduled run began",
        ),
        _KIT.lines(
            "What is counted: attempts",
            Words(
                "Attempts that ended and those that failed, within the window of each point.",
                "few failures among many.",
                "the DAGs are on the overview.",
            ),
            Ask(grown("ti_successes", ""), "succeeded"),
            Ask(grown("ti_failures", ""), "failed"),
            links=[board(Uid.OVERVIEW)],
            bars=True,
            stacked=True,
            empty="no attempt ended",
        ),
        _KIT.lines(
            "What is counted: scheduled runs",
            Words(
                "Scheduled runs that began, within the window of each point.",
                "the shape of the schedule.",
                "none while runs are due: see the late DAGs on the overview.",
            ),
            Ask(observations("dagrun.schedule_delay", ""), "began"),
            links=[board(Uid.SCHEDULER)],
            bars=True,
            empty="no scheduled run began",
        ),
    ],
)

BOARD: Final = Board(
    uid=Uid.SLO,
    description="What was promised, how much of the error budget is left, and how fast it burns.",
    rows=[_NOW, _OVER_TIME],
)
