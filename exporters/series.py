"""Series: the state behind /metrics. Families, their series, expiry, conflicts and the cap.

A family belongs to the first type that used its name, until restart. A series is forgotten when nothing
touched it for its time to live. Above the cap no new series begins; existing ones go on.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporters.mapping_rules import Observation

TEXT_PER_SERIES: Final = 1024
"""Characters of names and labels that the cap grants each series on average: a few long ones may be longer."""
MOST_ADDITIONS: Final = 1000
BELOW_INTEGERS_END: Final = 2.0**64


class FamilyType(StrEnum):
    """The word behind ``# TYPE``."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


class Refused(StrEnum):
    """Why a sample gets no series."""

    CONFLICT = "conflict"  # its name is another type's
    RESERVED_LABEL = "reserved_label"  # __x, le on a histogram, quantile on a summary: no page may carry them
    SERIES_LIMIT = "series_limit"


class Series:
    """One label set of a family. ``touched`` is the clock of its last sample."""

    __slots__ = ("family", "keys", "labels", "touched", "ttl_seconds")

    def __init__(self, family: Family, labels: Labels, ttl_seconds: float, now: float) -> None:
        self.family = family
        self.labels = labels
        self.ttl_seconds = ttl_seconds
        self.touched = now
        self.keys: list[tuple[bytes, bytes]] = []  # what the bridge cached for it, to be dropped with it

    @property
    def text_size(self) -> int:
        return len(self.family.name) + sum(len(name) + len(value) for name, value in self.labels)


class CounterSeries(Series):
    """A sum, whole numbers apart from fractions, so that it rounds as Prometheus' own clients do."""

    __slots__ = ("part", "whole")

    def __init__(self, family: Family, labels: Labels, ttl_seconds: float, now: float) -> None:
        super().__init__(family, labels, ttl_seconds, now)
        self.whole = 0
        self.part = 0.0

    def add(self, value: float) -> None:
        if value.is_integer() and value < BELOW_INTEGERS_END:
            self.whole += int(value)
        else:
            self.part += value

    @property
    def value(self) -> float:
        return self.part + float(self.whole)


class GaugeSeries(Series):
    """A value that is set, or moved."""

    __slots__ = ("value",)

    def __init__(self, family: Family, labels: Labels, ttl_seconds: float, now: float) -> None:
        super().__init__(family, labels, ttl_seconds, now)
        self.value = 0.0

    def add(self, value: float) -> None:
        self.value += value


class Histogram(Series):
    """Counts per bucket, not cumulated, the last one beyond every bound; and the sum of the values."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, family: Family, labels: Labels, ttl_seconds: float, now: float) -> None:
        super().__init__(family, labels, ttl_seconds, now)
        self.bounds = family.observation_of(labels).buckets
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int, now: float) -> None:  # noqa: ARG002
        place = len(self.bounds) if math.isnan(value) else bisect_left(self.bounds, value)
        self.counts[place] += times
        self.sum = _summed(self.sum, value, times)


class Summary(Series):
    """Quantiles over a sliding window, exact up to `SLICE_SIZE` values in each slice of it.

    The window moves by whole slices, counted from the series' beginning, as in Prometheus' Go client. Beyond the size
    a slice keeps a random sample.
    """

    __slots__ = ("begun", "count", "observation", "slices", "sum")

    SLICE_SIZE: Final = 500

    def __init__(self, family: Family, labels: Labels, ttl_seconds: float, now: float) -> None:
        super().__init__(family, labels, ttl_seconds, now)
        self.observation = family.observation_of(labels)
        self.begun = now
        self.slices: deque[_Slice] = deque(maxlen=self.observation.age_buckets)
        self.sum = 0.0
        self.count = 0

    def observe(self, value: float, times: int, now: float) -> None:
        number = self._slice_number(now)
        if not self.slices or self.slices[-1].number < number:
            self.slices.append(_Slice(number))
        self.slices[-1].add(value, times, self.SLICE_SIZE)
        self.sum = _summed(self.sum, value, times)
        self.count += times

    def quantiles(self, now: float) -> list[tuple[float, float]]:
        """Quantile → value, rising; NaN where the window is empty."""
        oldest = self._slice_number(now) - self.observation.age_buckets
        values = sorted(value for one in list(self.slices) if one.number > oldest for value in list(one.values))
        wanted = sorted({each.quantile for each in self.observation.quantiles})
        return [(quantile, _nearest(values, quantile)) for quantile in wanted]

    def _slice_number(self, now: float) -> int:
        return int((now - self.begun) / (self.observation.max_age_seconds / self.observation.age_buckets))


@dataclass(slots=True)
class _Slice:
    number: int
    seen: int = 0
    values: list[float] = field(default_factory=list)

    def add(self, value: float, times: int, size: int) -> None:
        """Keep every value with equal chance (Vitter's algorithm R)."""
        for _ in range(min(times, size)):
            self.seen += 1
            if len(self.values) < size:
                self.values.append(value)
            elif (place := random.randrange(self.seen)) < size:  # noqa: S311
                self.values[place] = value


def _summed(total: float, value: float, times: int) -> float:
    """One addition after the other, so that it rounds as statsd_exporter's does; many at once where it would hang."""
    if times > MOST_ADDITIONS:
        return total + value * times
    for _ in range(times):
        total += value
    return total


def _nearest(ordered: list[float], quantile: float) -> float:
    return ordered[max(math.ceil(len(ordered) * quantile) - 1, 0)] if ordered else float("nan")


Labels = tuple[tuple[str, str], ...]
"""Sorted by name."""


@dataclass(slots=True)
class Family:
    """All series of one name. Series with the same label names share the observer's options of the first of them."""

    name: str
    type: FamilyType
    help: str
    observations: dict[tuple[str, ...], Observation] = field(default_factory=dict)
    series: dict[Labels, Series] = field(default_factory=dict)

    def observation_of(self, labels: Labels) -> Observation:
        return self.observations[_names(labels)]


_MADE_BY: Final[dict[FamilyType, type[Series]]] = {
    FamilyType.COUNTER: CounterSeries,
    FamilyType.GAUGE: GaugeSeries,
    FamilyType.HISTOGRAM: Histogram,
    FamilyType.SUMMARY: Summary,
}
_LINES_OF: Final[dict[FamilyType, tuple[str, ...]]] = {
    FamilyType.COUNTER: (),
    FamilyType.GAUGE: (),
    FamilyType.HISTOGRAM: ("_bucket", "_count", "_sum"),
    FamilyType.SUMMARY: ("_count", "_sum"),
}
_SUFFIXES: Final = ("_bucket", "_count", "_sum")
_OWN_LABEL: Final = {FamilyType.HISTOGRAM: "le", FamilyType.SUMMARY: "quantile"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How the store departs from statsd_exporter. Only the cap does so by default."""

    max_series: int = 100_000  # 0: no cap
    merge_empty_labels: bool = False  # a label without a value is none, as it is to Prometheus
    ttl_on_reload: bool = False  # a changed time to live holds for series that exist
    reserved_names: frozenset[str] = frozenset()  # families of the exporter itself


class SeriesStore:
    """Every family. One thread writes; another may read, for every look at a dict here is one atomic copy."""

    def __init__(self, clock: Callable[[], float], options: StoreOptions) -> None:
        self.families: dict[str, Family] = {}
        self.clock = clock
        self.options = options
        self.size = 0
        self.text_size = 0
        self.vectors: Counter[FamilyType] = Counter()  # label name sets ever seen, by their family's type

    def series(
        self,
        name: str,
        family_type: FamilyType,
        labels: dict[str, str],
        *,
        help_text: str,
        ttl_seconds: float,
        observation: Observation,
    ) -> Series | Refused:
        """The series, begun if need be."""
        family = self.families.get(name)
        pairs = labels.items()
        if self.options.merge_empty_labels:
            pairs = {label: value for label, value in pairs if value}.items()
        key = tuple(sorted(pairs))
        found = family.series.get(key) if family and family.type is family_type else None
        if found is None:
            refused = self._refusal(name, family_type, key)
            if refused is not None:
                return refused
            return self._begin(family or Family(name, family_type, help_text), key, ttl_seconds, observation)
        if self.options.ttl_on_reload:
            found.ttl_seconds = ttl_seconds
        return found

    def conflicts(self, name: str, family_type: FamilyType) -> bool:
        """Whether the name is taken: by another type, or by lines that another family writes or would write."""
        family = self.families.get(name)
        if family is not None:
            return family.type is not family_type
        if name in self.options.reserved_names:
            return True
        if any(name + suffix in self.families for suffix in _LINES_OF[family_type]):
            return True
        return any(self._claims(name.removesuffix(end), end, family_type) for end in _SUFFIXES if name.endswith(end))

    def expire(self) -> list[Series]:
        """Forget, and return, the series whose time to live is over."""
        now = self.clock()
        gone = [series for series in self if series.ttl_seconds and series.touched + series.ttl_seconds < now]
        for series in gone:
            del series.family.series[series.labels]
            self.text_size -= series.text_size
        self.size -= len(gone)
        return gone

    def __iter__(self) -> Iterator[Series]:
        for family in list(self.families.values()):
            yield from list(family.series.values())

    def _claims(self, base: str, suffix: str, family_type: FamilyType) -> bool:
        """Whether the family ``base`` keeps this name from a family of this type.

        To statsd_exporter every base but a counter keeps counters and gauges away, also a gauge, that writes no such
        lines. An observer's lines keep everything away: there, statsd_exporter's page breaks.
        """
        owner = self.families.get(base)
        if owner is None:
            return False
        if family_type in (FamilyType.COUNTER, FamilyType.GAUGE):
            return owner.type is not FamilyType.COUNTER
        return suffix in _LINES_OF[owner.type]

    def _refusal(self, name: str, family_type: FamilyType, labels: Labels) -> Refused | None:
        if self.conflicts(name, family_type):
            return Refused.CONFLICT
        own = _OWN_LABEL.get(family_type)
        if any(label == own or label.startswith("__") for label, _ in labels):
            return Refused.RESERVED_LABEL
        return Refused.SERIES_LIMIT if self._is_full() else None

    def _is_full(self) -> bool:
        most = self.options.max_series
        return bool(most) and (self.size >= most or self.text_size >= most * TEXT_PER_SERIES)

    def _begin(self, family: Family, labels: Labels, ttl_seconds: float, observation: Observation) -> Series:
        if family.name not in self.families:
            self._make_room()
            self.families[family.name] = family
        if _names(labels) not in family.observations:
            family.observations[_names(labels)] = observation
            self.vectors[family.type] += 1
        series = _MADE_BY[family.type](family, labels, ttl_seconds, self.clock())
        family.series[labels] = series
        self.size += 1
        self.text_size += series.text_size
        return series

    def _make_room(self) -> None:
        """Names live until restart, unless there are as many as series may be: then those without a series go."""
        if self.options.max_series and len(self.families) >= self.options.max_series:
            for name in [name for name, family in self.families.items() if not family.series]:
                del self.families[name]


def _names(labels: Labels) -> tuple[str, ...]:
    return tuple(name for name, _ in labels)
