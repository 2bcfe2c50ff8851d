"""Lines → series. The hot path.

What a line does, but for its number, depends on what stands around the number: the head before the colon
and the suffix behind the bar. So the first line of each (head, suffix) is parsed and mapped, and the
function that applies a number to its series is kept; later lines cost one regular expression, one
look-up and one call. Signed numbers, several samples per line and everything odd take the whole way each
time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from exporters.line import Kind, Sample, parse_line
from exporters.mapping_rules import DEFAULT_HELP, MappingRules, Match, Observation
from exporters.naming import escape_metric_name
from exporters.series import (
    FamilyType,
    Histogram,
    Scalar,
    Series,
    SeriesStore,
    Summary,
)
from exporters.telemetry import EventError, Telemetry

Apply = Callable[[float, float], None]
"""Takes the number on the line and the clock."""

MAX_REMEMBERED: Final = 200_000
"""Heads and suffixes kept. Beyond it all are forgotten and learnt anew: slower, never wrong."""

_LINES: Final = re.compile(
    rb"([^:\n]+):([0-9]{1,30}(?:\.[0-9]{1,30})?)\|((?:ms|c|g|h|d)(?:\|@[0-9.]+)?(?:\|#[^|\n]*)?)(?=\n|\Z)|([^\n]+)"
)


@dataclass(frozen=True, slots=True)
class _Route:
    """Where a sample goes, before anything is begun for it."""

    name: str
    type: FamilyType
    labels: dict[str, str]
    help: str
    ttl_seconds: float
    scale: float
    observation: Observation
    mapped: bool


class Ingest:
    """Takes bytes, keeps the store and the telemetry. For one thread."""

    def __init__(self, rules: MappingRules, store: SeriesStore, telemetry: Telemetry) -> None:
        self._rules = rules
        self._store = store
        self._told = telemetry
        self._known: dict[tuple[bytes, bytes], Apply] = {}
        telemetry.loaded_mappings = len(rules.rules)

    def feed(self, data: bytes) -> None:
        """Take in lines, separated by newlines; the last one needs none."""
        now = self._store.clock()
        known = self._known
        fast = 0
        lines = _LINES.findall(data)
        self._told.lines += len(lines)
        for head, number, suffix, other in lines:
            if other:
                self._take(other, now)
                continue
            apply = known.get((head, suffix)) or self._learn(head, suffix)
            if apply is None:
                self._take(b"%b:%b|%b" % (head, number, suffix), now)
            else:
                apply(float(number), now)
                fast += 1
        self._told.samples += fast

    def use(self, rules: MappingRules) -> None:
        """Go on with other rules. Series that exist stay until their time to live is over."""
        self._rules = rules
        self._told.loaded_mappings = len(rules.rules)
        self._forget_all()

    def sweep(self) -> None:
        """Forget the series whose time to live is over."""
        for series in self._store.expire():
            for key in series.keys:
                self._known.pop(key, None)

    def _learn(self, head: bytes, suffix: bytes) -> Apply | None:
        """What such lines do to which series, remembered; None where each line needs the whole way."""
        parsed = parse_line(b"%b:1|%b" % (head, suffix))
        if parsed.refusals or parsed.tag_errors or len(parsed.samples) != 1:
            return None
        sample = parsed.samples[0]
        match = self._rules.find(sample.name, sample.kind)
        if match is not None and match.rule.drop:
            return self._remember((head, suffix), self._drop, None)
        route = self._route(sample, match)
        if route is None or _fault(sample, route.scale) is not None:
            return None
        series = self._open(route)
        if series is None:
            return None
        return self._remember((head, suffix), self._applier(route, series, sample), series)

    def _remember(self, key: tuple[bytes, bytes], apply: Apply, series: Series | None) -> Apply:
        if len(self._known) >= MAX_REMEMBERED:
            self._forget_all()
        self._known[key] = apply
        if series is not None:
            series.keys.append(key)
        return apply

    def _forget_all(self) -> None:
        self._known.clear()
        for series in self._store:
            series.keys.clear()

    def _take(self, line: bytes, now: float) -> None:
        """The whole way for one line, every loss counted."""
        parsed = parse_line(line)
        self._told.samples += parsed.sent
        self._told.tag_errors += parsed.tag_errors
        self._told.refusals.update(parsed.refusals)
        for sample in parsed.samples:
            self._deliver(sample, now)

    def _deliver(self, sample: Sample, now: float) -> None:
        match = self._rules.find(sample.name, sample.kind)
        if match is not None and match.rule.drop:
            self._drop(sample.value, now)
            return
        route = self._route(sample, match)
        fault = _fault(sample, route.scale) if route else EventError.EMPTY_METRIC_NAME
        if route is None or fault is not None:
            self._told.event_errors[str(fault)] += 1
            return
        series = self._open(route)
        if series is None:
            self._count_refusal(route, sample)
        else:
            self._applier(route, series, sample)(sample.value, now)

    def _route(self, sample: Sample, match: Match | None) -> _Route | None:
        """Family and labels; None where the mapping's name came out empty."""
        if match is None:
            observation, ttl = self._rules.unmapped, self._rules.default_ttl_seconds
            name = escape_metric_name(sample.name)
            kind = _family_type(sample.kind, observation)
            return _Route(name, kind, sample.labels, DEFAULT_HELP, ttl, 1.0, observation, mapped=False)
        rule = match.rule
        labels = match.labels | sample.labels if rule.honor_labels else sample.labels | match.labels
        scale = 1.0 if rule.scale is None else rule.scale
        kind = _family_type(sample.kind, rule.observation)
        route = _Route(match.name, kind, labels, rule.help, rule.ttl_seconds, scale, rule.observation, mapped=True)
        return route if match.name else None

    def _open(self, route: _Route) -> Series | None:
        """The series; None where its name is another's or the cap is reached."""
        return self._store.series(
            route.name,
            route.type,
            route.labels,
            help_text=route.help,
            ttl_seconds=route.ttl_seconds,
            observation=route.observation,
        )

    def _count_refusal(self, route: _Route, sample: Sample) -> None:
        if self._store.conflicts(route.name, route.type):
            self._told.conflicts[sample.kind, route.name] += 1
        else:
            self._told.event_errors[EventError.SERIES_LIMIT] += 1

    def _applier(self, route: _Route, series: Series, sample: Sample) -> Apply:
        apply = _applier(series, sample, route.scale)
        return apply if route.mapped else self._counting_unmapped(apply)

    def _counting_unmapped(self, apply: Apply) -> Apply:
        told = self._told

        def count_and_apply(number: float, now: float) -> None:
            told.unmapped += 1
            apply(number, now)

        return count_and_apply

    def _drop(self, number: float, now: float) -> None:  # noqa: ARG002
        self._told.dropped += 1


def _family_type(kind: Kind, observation: Observation) -> FamilyType:
    match kind:
        case Kind.COUNTER:
            return FamilyType.COUNTER
        case Kind.GAUGE:
            return FamilyType.GAUGE
        case Kind.OBSERVER:
            return FamilyType.HISTOGRAM if observation.histogram else FamilyType.SUMMARY


def _fault(sample: Sample, scale: float) -> EventError | None:
    """Why this number must not reach its series."""
    value = sample.value / sample.divisor * scale
    if sample.kind is not Kind.GAUGE and not math.isfinite(value):
        return EventError.NOT_FINITE
    if sample.kind is Kind.COUNTER and value < 0:
        return EventError.ILLEGAL_NEGATIVE_COUNTER
    return None


def _applier(series: Series, sample: Sample, scale: float) -> Apply:
    """The function that brings a number as sent into the series; division first, so 5 ms are 0.005 s."""
    if isinstance(series, Scalar):
        adds = sample.kind is Kind.COUNTER or sample.relative
        return _adder(series, sample.divisor, scale) if adds else _setter(series, scale)
    assert isinstance(series, Histogram | Summary)  # noqa: S101
    return _observer(series, sample.divisor, scale, sample.times)


def _adder(series: Scalar, divisor: float, scale: float) -> Apply:
    def add(number: float, now: float) -> None:
        series.value += number / divisor * scale
        series.touched = now
        series.samples += 1

    return add


def _setter(series: Scalar, scale: float) -> Apply:
    def put(number: float, now: float) -> None:
        series.value = number * scale
        series.touched = now
        series.samples += 1

    return put


def _observer(series: Histogram | Summary, divisor: float, scale: float, times: int) -> Apply:
    observe = series.observe

    def note(number: float, now: float) -> None:
        observe(number / divisor * scale, times, now)
        series.touched = now
        series.samples += times

    return note
