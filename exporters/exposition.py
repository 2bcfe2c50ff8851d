"""Series → Prometheus' text format, under their exact names, with numbers as Go writes them.

`prometheus_client.generate_latest` would write ``airflow_ti_failures_total``; a StatsD exporter must
keep the name.
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from exporters.series import CounterSeries, Family, GaugeSeries, Histogram, Labels, Series, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_LABELS: Final = itemgetter(0)
_LONGEST_PLAIN: Final = 6
"""Digits before the point above which Go writes an exponent."""


class Reading(NamedTuple):
    """A family of plain values, read once."""

    name: str
    type: str
    help: str
    values: Sequence[tuple[Labels, float]]


def render(families: Iterable[Family], now: float) -> str:
    """The text of all families that have a series, sorted by name."""
    lines: list[str] = []
    for family in sorted(families, key=lambda family: family.name):
        series = sorted(family.series.items(), key=_LABELS)  # a copy, made at once
        if series:
            lines += _head(family.name, family.type, family.help)
            for _, one in series:
                lines += _series_lines(family.name, one, now)
    return "".join(f"{line}\n" for line in lines)


def render_readings(found: Iterable[Reading]) -> str:
    """The text of families read once; those without a value are left out."""
    lines: list[str] = []
    for reading in found:
        if reading.values:
            lines += _head(reading.name, reading.type, reading.help)
            lines += [
                f"{reading.name}{_braces(_label_text(labels))} {go_number(value)}" for labels, value in reading.values
            ]
    return "".join(f"{line}\n" for line in lines)


def go_number(value: float) -> str:
    """The shortest text of a number as Go's ``%g`` writes it: ``1``, ``0.5``, ``1e+06``, ``+Inf``, ``NaN``."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    text = repr(float(value)).removesuffix(".0")
    mantissa, exponent, power = text.partition("e")
    if exponent:
        return f"{mantissa.removesuffix('.0')}e{power}"
    sign = "-" if text.startswith("-") else ""
    whole, _, fraction = text.removeprefix("-").partition(".")
    if len(whole) <= _LONGEST_PLAIN:
        return text
    digits = (whole[1:] + fraction).rstrip("0")
    return f"{sign}{whole[0]}{'.' if digits else ''}{digits}e+{len(whole) - 1:02d}"


def _head(name: str, family_type: str, help_text: str) -> tuple[str, str]:
    return f"# HELP {name} {_escape_help(help_text)}", f"# TYPE {name} {family_type}"


def _series_lines(name: str, series: Series, now: float) -> Iterator[str]:
    labels = _label_text(series.labels)
    match series:
        case CounterSeries() | GaugeSeries():
            yield f"{name}{_braces(labels)} {go_number(series.value)}"
        case Histogram():
            yield from _histogram_lines(name, labels, series)
        case Summary():
            yield from _summary_lines(name, labels, series, now)


def _histogram_lines(name: str, labels: str, series: Histogram) -> Iterator[str]:
    total = 0
    for bound, count in zip((*series.bounds, math.inf), list(series.counts), strict=True):
        total += count
        bucket = _braces(labels, f'le="{go_number(bound)}"')
        yield f"{name}_bucket{bucket} {go_number(total)}"
    yield f"{name}_sum{_braces(labels)} {go_number(series.sum)}"
    yield f"{name}_count{_braces(labels)} {go_number(total)}"


def _summary_lines(name: str, labels: str, series: Summary, now: float) -> Iterator[str]:
    for quantile, value in series.quantiles(now):
        yield f"{name}{_braces(labels, _quantile(quantile))} {go_number(value)}"
    yield f"{name}_sum{_braces(labels)} {go_number(series.sum)}"
    yield f"{name}_count{_braces(labels)} {go_number(series.count)}"


def _quantile(quantile: float) -> str:
    return f'quantile="{go_number(quantile)}"'


def _label_text(labels: Labels) -> str:
    return ",".join(f'{name}="{_escape_value(value)}"' for name, value in labels)


def _braces(*parts: str) -> str:
    text = ",".join(part for part in parts if part)
    return f"{{{text}}}" if text else ""


def _escape_value(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
