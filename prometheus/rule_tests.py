"""The cases of one area as a file for ``promtool test rules``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus.document import text
from prometheus.rules_by_area import ALERTS, AREAS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prometheus.case import Case
    from prometheus.spec import Alert

_READ_BY_ALL: Final = "golden_signals"  # recordings that several areas ask for
_INTERVALS: Final = {"slo": "5m"}
"""How often the rules are evaluated, where the cases last for days."""


def rule_tests(area: str, cases: Sequence[Case], annotations: Callable[[Alert], Mapping[str, str]]) -> str:
    """Every case of the area, with the labels and annotations that its alert has."""
    loaded = dict.fromkeys((_READ_BY_ALL, area))
    return text(
        {
            "rule_files": [f"../rules/{each}.yml" for each in loaded],
            "evaluation_interval": _INTERVALS.get(area, "30s"),
            "group_eval_order": [group.name for each in loaded for group in AREAS[each]],
            "tests": [_case(case, annotations) for case in cases],
        }
    )


def _case(case: Case, annotations: Callable[[Alert], Mapping[str, str]]) -> dict[str, Any]:
    alert = next(each for each in ALERTS if each.name == case.alert)
    expected = [
        {
            "exp_labels": {"severity": alert.severity.value, **firing.labels},
            "exp_annotations": {**annotations(alert), "description": firing.description},
        }
        for firing in case.firing
    ]
    return {
        "name": f"{case.alert}: {case.kind}: {case.title}",
        "interval": case.interval,
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}],
    }
