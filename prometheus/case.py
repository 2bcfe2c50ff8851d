"""What a case of an alert is, and how the usual four of them are written in one go.

Cases are data, run by ``promtool test rules``. A sample comes every ten seconds unless the case says otherwise:
``1x6`` is a minute of ones, ``1+1x6`` a minute of growth, ``_x6`` a minute without the series.
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
    """One expected alert; severity and annotations but the description follow from the rule."""

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
    interval: str = "10s"


EXPORTER: Final = 'job="windsock",instance="x:9102"'
SCRAPED: Final = {f"up{{{EXPORTER}}}": "1x800", f"process_start_time_seconds{{{EXPORTER}}}": "-86400x800"}
"""An exporter that has been there for long: what appears is new."""
_TITLES: Final = {
    Kind.FIRING: "it has lasted",
    Kind.NOT_YET: "it has not lasted",
    Kind.SILENT: "all is well",
    Kind.MISSING: "nothing is known",
}


def exported(name: str, labels: str = "") -> str:
    """A series of the StatsD exporter."""
    return f"{name}{{{EXPORTER}{',' if labels else ''}{labels}}}"


def four(
    alert: str,
    *,
    bad: Mapping[str, str],
    good: Mapping[str, str],
    early: str,
    late: str,
    told: str,
    labels: Mapping[str, str] | None = None,
    nearly: Mapping[str, str] | None = None,
    missing: Mapping[str, str] | None = None,
) -> tuple[Case, ...]:
    """The four kinds: `bad` fires by `late` and not by `early`; `good` and `missing` never fire.

    `nearly` is what is looked at early, where that is not `bad` itself.
    """
    firing = (Firing(told, labels or {}),)
    return (
        Case(alert, Kind.FIRING, _TITLES[Kind.FIRING], bad, late, firing),
        Case(alert, Kind.NOT_YET, _TITLES[Kind.NOT_YET], bad if nearly is None else nearly, early),
        Case(alert, Kind.SILENT, _TITLES[Kind.SILENT], good, late),
        Case(alert, Kind.MISSING, _TITLES[Kind.MISSING], missing or {}, late),
    )


def grown(
    alert: str,
    series: str,
    *,
    told: str,
    early: str,
    labels: Mapping[str, str] | None = None,
    late: str = "21m",
) -> tuple[Case, ...]:
    """The four kinds of an alert on a counter that grew within ten minutes: its first sample comes at 15 minutes."""
    return four(
        alert,
        bad={**SCRAPED, series: "_x90 7x60"},
        good={**SCRAPED, series: "7x200"},
        early=early,
        late=late,
        told=told,
        labels=labels,
        missing=SCRAPED,
    )
