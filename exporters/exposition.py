"""Series → Prometheus' text format, under their exact names.

`prometheus_client.generate_latest` would write ``airflow_ti_failures_total``; a StatsD exporter must
keep the name.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Final

from prometheus_client.utils import floatToGoString

from exporters.series import Family, Histogram, Labels, Scalar, Series, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_LABELS: Final = itemgetter(0)


def render(families: Iterable[Family], now: float) -> str:
    """The text of all families that have a series, sorted by name."""
    lines: list[str] = []
    for family in sorted(families, key=lambda family: family.name):
        if family.series:
            lines.append(f"# HELP {family.name} {_escape_help(family.help)}")
            lines.append(f"# TYPE {family.name} {family.type}")
            for _, series in sorted(family.series.items(), key=_LABELS):
                lines += _series_lines(family, series, now)
    return "".join(f"{line}\n" for line in lines)


def _series_lines(family: Family, series: Series, now: float) -> list[str]:
    labels = _label_text(series.labels)
    if isinstance(series, Histogram):
        return _histogram_lines(family.name, labels, series)
    if isinstance(series, Summary):
        return _summary_lines(family.name, labels, series, now)
    value = series.value if isinstance(series, Scalar) else float("nan")
    return [f"{family.name}{_braces(labels)} {_number(value)}"]


def _histogram_lines(name: str, labels: str, series: Histogram) -> list[str]:
    lines = []
    total = 0
    for bound, count in zip((*series.bounds, float("inf")), list(series.counts), strict=True):
        total += count
        bucket = _braces(labels, f'le="{_bound(bound)}"')
        lines.append(f"{name}_bucket{bucket} {total}")
    return [
        *lines,
        f"{name}_sum{_braces(labels)} {_number(series.sum)}",
        f"{name}_count{_braces(labels)} {total}",
    ]


def _summary_lines(name: str, labels: str, series: Summary, now: float) -> list[str]:
    return [
        *(
            f"{name}{_braces(labels, _quantile(quantile))} {_number(value)}"
            for quantile, value in series.quantiles(now)
        ),
        f"{name}_sum{_braces(labels)} {_number(series.sum)}",
        f"{name}_count{_braces(labels)} {series.count}",
    ]


def _quantile(quantile: float) -> str:
    return f'quantile="{_bound(quantile)}"'


def _number(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _bound(bound: float) -> str:
    """A bucket's bound as Go writes it: ``1``, not ``1.0``."""
    return "+Inf" if bound == float("inf") else f"{bound:g}" if bound == float(f"{bound:g}") else repr(bound)


def _label_text(labels: Labels) -> str:
    return ",".join(f'{name}="{_escape_value(value)}"' for name, value in labels)


def _braces(*parts: str) -> str:
    text = ",".join(part for part in parts if part)
    return f"{{{text}}}" if text else ""


def _escape_value(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
