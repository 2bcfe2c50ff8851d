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
from typing import Final, NamedTuple

from exporters.line import DEFAULT_DIALECT, Dialect, Kind, Sample, parse_line
from exporters.mapping_rules import DEFAULT_HELP, MappingRules, Match, Observation
from exporters.naming import escape_metric_name
from exporters.series import (
    BELOW_INTEGERS_END,
    CounterSeries,
    FamilyType,
    GaugeSeries,
    Histogram,
    Refused,
    Series,
    SeriesStore,
    Summary,
)
from exporters.telemetry import EventError, Tally, Telemetry

Apply = Callable[[float, float], None]
"""Takes the number on the line and the clock."""

MAX_REMEMBERED: Final = 200_000
"""Heads and suffixes kept. Beyond it all are forgotten and learnt anew: slower, never wrong."""
LONGEST_REMEMBERED: Final = 1024
"""Bytes of head and suffix above which a line takes the whole way each time, so that what is kept stays bounded."""

LARGEST_FACTOR: Final = 1e250
"""What may stand between a number on the wire and its value, for that to be neither negative nor infinite."""

_LINES: Final = re.compile(
    rb"([^:\n]+):([0-9]{1,30}(?:\.[0-9]{1,30})?)\|((?:ms|c|g|h|d)(?:\|@[0-9.]+)?(?:\|#[^|\n]*)?)(?=\n|\Z)|([^\n]+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """How lines are read, and what does better than statsd_exporter; the defaults do as it does."""

    dialect: Dialect = DEFAULT_DIALECT
    up_down_counters: frozenset[str] = frozenset()  # families whose counts may be negative: kept as gauges
    refuse_non_finite: bool = False  # NaN and Inf reach no counter, histogram or summary


class _Route(NamedTuple):
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

    def __init__(
        self, rules: MappingRules, store: SeriesStore, telemetry: Telemetry, options: IngestOptions | None = None
    ) -> None:
        self._rules = rules
        self._store = store
        self._told = telemetry
        self._options = options or IngestOptions()
        self._known: dict[tuple[bytes, bytes], Apply] = {}
        telemetry.loaded_mappings = len(rules.rules)

    def feed(self, data: bytes) -> None:
        """Take in lines, separated by newlines; the last one needs none."""
        now = self._store.clock()
        known = self._known
        fast = 0
        for head, number, suffix, other in _LINES.findall(data):
            apply = known.get((head, suffix))
            if apply is not None:
                apply(float(number), now)
                fast += 1
            elif other:
                self._take(other, now)
            else:
                self._take_regular(head, number, suffix, now)
        self._told.samples += fast
        self._told.cache_hits += fast
        self._told.lines += data.count(b"\n") + (data[-1:] not in (b"\n", b""))
        self._told.batches += 1

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
        self._told.cache_length = len(self._known)

    def _take_regular(self, head: bytes, number: bytes, suffix: bytes, now: float) -> None:
        """The whole way; what such lines do is remembered where it depends on nothing but their number."""
        sample = self._take(b"%b:%b|%b" % (head, number, suffix), now)
        if sample is None or len(head) + len(suffix) > LONGEST_REMEMBERED:
            return
        apply, series = sample
        if len(self._known) >= MAX_REMEMBERED:
            self._forget_all()
        self._known[head, suffix] = apply
        if series is not None:
            series.keys.append((head, suffix))

    def _forget_all(self) -> None:
        self._known.clear()
        for series in self._store:
            series.keys.clear()

    def _take(self, line: bytes, now: float) -> tuple[Apply, Series | None] | None:
        """The whole way for one line, every loss counted.

        Returns how to repeat it with another number: None where that takes the whole way again.
        """
        parsed = parse_line(line, self._options.dialect)
        told = self._told
        told.samples += parsed.sent
        told.cache_misses += len(parsed.samples)
        told.tagged += parsed.tagged
        told.tag_errors += parsed.tag_errors
        if parsed.refusals:
            told.refusals.update(parsed.refusals)
        if parsed.sampled_away:
            told.event_errors[EventError.SAMPLED_AWAY] += parsed.sampled_away
        plain = parsed.sent == len(parsed.samples) == 1 and not parsed.refusals and not parsed.tag_errors
        again = None
        for sample in parsed.samples:
            again = self._deliver(sample, now)
        return again if plain else None

    def _deliver(self, sample: Sample, now: float) -> tuple[Apply, Series | None] | None:
        tagged = bool(sample.labels)
        match = self._rules.find(sample.name, sample.kind)
        if match is not None and match.rule.drop:
            self._told.dropped += sample.times
            return self._dropper(sample.times, tagged), None
        route = self._route(sample, match)
        if not route.name:
            self._told.event_errors[EventError.EMPTY_METRIC_NAME] += sample.times
            return None
        fault = self._fault(sample, route)
        if fault is not None:
            self._count_loss(route, sample)
            self._told.event_errors[fault] += sample.times
            return None
        series = self._open(route)
        if isinstance(series, Refused):
            self._count_refusal(series, route, sample)
            return None
        _applier(series, sample, route.scale, self._told.tallies[sample.kind, route.mapped, False])(sample.value, now)
        if not 0 <= route.scale / sample.divisor <= LARGEST_FACTOR:
            return None
        return _applier(series, sample, route.scale, self._told.tallies[sample.kind, route.mapped, tagged]), series

    def _route(self, sample: Sample, match: Match | None) -> _Route:
        """Family and labels; the name is empty where the mapping's came out so.

        The labels of a rule go into the line's own dict, as in statsd_exporter, where a later sample of another type
        on the same line sees them.
        """
        if match is None:
            observation, ttl = self._rules.unmapped, self._rules.default_ttl_seconds
            name = escape_metric_name(sample.name)
            family_type = self._family_type(name, sample.kind, observation)
            return _Route(name, family_type, sample.labels, DEFAULT_HELP, ttl, 1.0, observation, mapped=False)
        rule = match.rule
        if match.name:
            own = sample.labels if rule.honor_labels else {}
            sample.labels.update({label: text for label, text in match.labels.items() if label not in own})
        scale = 1.0 if rule.scale is None else rule.scale
        family_type = self._family_type(match.name, sample.kind, rule.observation)
        return _Route(
            match.name, family_type, sample.labels, rule.help, rule.ttl_seconds, scale, rule.observation, mapped=True
        )

    def _family_type(self, name: str, kind: Kind, observation: Observation) -> FamilyType:
        match kind:
            case Kind.COUNTER:
                return FamilyType.GAUGE if name in self._options.up_down_counters else FamilyType.COUNTER
            case Kind.GAUGE:
                return FamilyType.GAUGE
            case Kind.OBSERVER:
                return FamilyType.HISTOGRAM if observation.histogram else FamilyType.SUMMARY

    def _fault(self, sample: Sample, route: _Route) -> EventError | None:
        """Why this number must not reach its series."""
        value = sample.value / sample.divisor * route.scale
        if route.type is not FamilyType.GAUGE and self._options.refuse_non_finite and not math.isfinite(value):
            return EventError.NOT_FINITE
        if route.type is FamilyType.COUNTER and value < 0:
            return EventError.ILLEGAL_NEGATIVE_COUNTER
        return None

    def _open(self, route: _Route) -> Series | Refused:
        return self._store.series(
            route.name,
            route.type,
            route.labels,
            help_text=route.help,
            ttl_seconds=route.ttl_seconds,
            observation=route.observation,
        )

    def _count_refusal(self, refused: Refused, route: _Route, sample: Sample) -> None:
        self._count_loss(route, sample)
        match refused:
            case Refused.CONFLICT:
                self._told.count_conflict(sample.kind, route.name, sample.times)
            case Refused.RESERVED_LABEL:
                self._told.event_errors[EventError.RESERVED_LABEL] += sample.times
            case Refused.SERIES_LIMIT:
                self._told.event_errors[EventError.SERIES_LIMIT] += sample.times

    def _count_loss(self, route: _Route, sample: Sample) -> None:
        if route.mapped:
            self._told.mapped += sample.times
        else:
            self._told.unmapped += sample.times

    def _dropper(self, times: int, tagged: bool) -> Apply:
        told = self._told

        def drop(number: float, now: float) -> None:  # noqa: ARG001
            told.dropped += times
            told.tagged += tagged

        return drop


def _applier(series: Series, sample: Sample, scale: float, tally: Tally) -> Apply:
    """The function that brings a number as sent into the series; division first, so 5 ms are 0.005 s."""
    match series:
        case CounterSeries():
            return _adder(series, sample.divisor, scale, tally)
        case GaugeSeries() if sample.kind is Kind.COUNTER or sample.relative:
            return _mover(series, sample.divisor, scale, tally)
        case GaugeSeries():
            return _setter(series, scale, tally)
        case Histogram() | Summary():
            return _observer(series, sample.divisor, scale, sample.times, tally)
    raise TypeError(f"no series: {series!r}")


def _adder(series: CounterSeries, divisor: float, scale: float, tally: Tally) -> Apply:
    """As `CounterSeries.add` does, without the call."""

    def add(number: float, now: float) -> None:
        value = number / divisor * scale
        if value.is_integer() and value < BELOW_INTEGERS_END:
            series.whole += int(value)
        else:
            series.part += value
        series.touched = now
        tally.samples += 1

    return add


def _mover(series: GaugeSeries, divisor: float, scale: float, tally: Tally) -> Apply:
    def move(number: float, now: float) -> None:
        series.value += number / divisor * scale
        series.touched = now
        tally.samples += 1

    return move


def _setter(series: GaugeSeries, scale: float, tally: Tally) -> Apply:
    def put(number: float, now: float) -> None:
        series.value = number * scale
        series.touched = now
        tally.samples += 1

    return put


def _observer(series: Histogram | Summary, divisor: float, scale: float, times: int, tally: Tally) -> Apply:
    observe = series.observe

    def note(number: float, now: float) -> None:
        observe(number / divisor * scale, times, now)
        series.touched = now
        tally.samples += 1
        tally.repeats += times - 1

    return note
