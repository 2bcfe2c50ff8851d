"""Series: the state behind /metrics. Families, their series, expiry, conflicts and the cap.

A family belongs to the first type that used its name, until restart. A series is forgotten when nothing
touched it for its time to live. Above the cap no new series begins; existing ones go on.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporters.mapping_rules import Observation


class FamilyType(StrEnum):
    """The word behind ``# TYPE``."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


class Series:
    """One label set of a family. ``touched`` is the clock of its last sample, ``samples`` how many it had."""

    __slots__ = ("family", "keys", "labels", "samples", "touched", "ttl_seconds")

    def __init__(self, family: Family, labels: Labels, ttl_seconds: float, now: float) -> None:
        self.family = family
        self.labels = labels
        self.ttl_seconds = ttl_seconds
        self.touched = now
        self.samples = 0
        self.keys: list[tuple[bytes, bytes]] = []  # what the bridge cached for it, to be dropped with it


class Scalar(Series):
    """A counter or a gauge."""

    __slots__ = ("value",)

    def __init__(self, family: Family, labels: Labels, ttl_seconds: float, now: float) -> None:
        super().__init__(family, labels, ttl_seconds, now)
        self.value = 0.0


class Histogram(Series):
    """Counts per bucket, not cumulated, the last one beyond every bound; and the sum of the values."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, family: Family, labels: Labels, ttl_seconds: float, now: float) -> None:
        super().__init__(family, labels, ttl_seconds, now)
        self.bounds = family.observation.buckets
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int, now: float) -> None:  # noqa: ARG002
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


class Summary(Series):
    """Quantiles over a sliding window, kept as one bounded random sample per slice of the window."""

    __slots__ = ("count", "slices", "sum")

    SLICE_SIZE: Final = 500

    def __init__(self, family: Family, labels: Labels, ttl_seconds: float, now: float) -> None:
        super().__init__(family, labels, ttl_seconds, now)
        self.slices: deque[_Slice] = deque(maxlen=family.observation.age_buckets)
        self.sum = 0.0
        self.count = 0

    def observe(self, value: float, times: int, now: float) -> None:
        length = self.family.observation.max_age_seconds / self.family.observation.age_buckets
        if not self.slices or now - self.slices[-1].begun >= length:
            self.slices.append(_Slice(now))
        self.slices[-1].add(value, self.SLICE_SIZE)
        self.sum += value * times
        self.count += times

    def quantiles(self, now: float) -> list[tuple[float, float]]:
        """Quantile → value; NaN where the window is empty."""
        oldest = now - self.family.observation.max_age_seconds
        values = sorted(value for one in self.slices if one.begun >= oldest for value in one.values)
        return [(each.quantile, _nearest(values, each.quantile)) for each in self.family.observation.quantiles]


@dataclass(slots=True)
class _Slice:
    begun: float
    seen: int = 0
    values: list[float] = field(default_factory=list)

    def add(self, value: float, size: int) -> None:
        """Keep every value with equal chance (Vitter's algorithm R)."""
        self.seen += 1
        if len(self.values) < size:
            self.values.append(value)
        elif (place := random.randrange(self.seen)) < size:  # noqa: S311
            self.values[place] = value


def _nearest(ordered: list[float], quantile: float) -> float:
    return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


Labels = tuple[tuple[str, str], ...]
"""Sorted by name, without empty values: to Prometheus an empty label is none."""


@dataclass(slots=True)
class Family:
    """All series of one name."""

    name: str
    type: FamilyType
    help: str
    observation: Observation
    series: dict[Labels, Series] = field(default_factory=dict)


_MADE_BY: Final[dict[FamilyType, type[Series]]] = {
    FamilyType.COUNTER: Scalar,
    FamilyType.GAUGE: Scalar,
    FamilyType.HISTOGRAM: Histogram,
    FamilyType.SUMMARY: Summary,
}
_SUFFIXES: Final = ("_bucket", "_count", "_sum")
_OBSERVED: Final = (FamilyType.HISTOGRAM, FamilyType.SUMMARY)


class SeriesStore:
    """Every family. One thread writes; another may read, for every look at a dict here is one atomic copy."""

    def __init__(self, clock: Callable[[], float], max_series: int) -> None:
        self.families: dict[str, Family] = {}
        self.clock = clock
        self.max_series = max_series
        self.size = 0
        self.expired_samples: dict[FamilyType, int] = dict.fromkeys(FamilyType, 0)

    def series(
        self,
        name: str,
        family_type: FamilyType,
        labels: dict[str, str],
        *,
        help_text: str,
        ttl_seconds: float,
        observation: Observation,
    ) -> Series | None:
        """The series, begun if need be; None where the name is another's or the cap is reached.

        A new time to live holds at once, also after a reload.
        """
        if self.conflicts(name, family_type):
            return None
        family = self.families.get(name) or Family(name, family_type, help_text, observation)
        key = tuple(sorted((label, value) for label, value in labels.items() if value))
        found = family.series.get(key) or self._begin(family, key, ttl_seconds)
        if found is not None:
            found.ttl_seconds = ttl_seconds
        return found

    def conflicts(self, name: str, family_type: FamilyType) -> bool:
        """Whether the name is taken: by another type, or by lines that a histogram or summary writes too."""
        family = self.families.get(name)
        if family is not None:
            return family.type is not family_type
        if family_type in _OBSERVED and any(name + suffix in self.families for suffix in _SUFFIXES):
            return True
        owners = (self.families.get(name.removesuffix(end)) for end in _SUFFIXES if name.endswith(end))
        return any(owner.type in _OBSERVED for owner in owners if owner)

    def expire(self) -> list[Series]:
        """Forget, and return, the series whose time to live is over."""
        now = self.clock()
        gone = [series for series in self if series.ttl_seconds and series.touched + series.ttl_seconds < now]
        for series in gone:
            del series.family.series[series.labels]
            self.expired_samples[series.family.type] += series.samples
        self.size -= len(gone)
        return gone

    def samples(self) -> dict[FamilyType, int]:
        """How many samples the families of each type ever took."""
        taken = dict(self.expired_samples)
        for series in self:
            taken[series.family.type] += series.samples
        return taken

    def __iter__(self) -> Iterator[Series]:
        for family in list(self.families.values()):
            yield from list(family.series.values())

    def _begin(self, family: Family, labels: Labels, ttl_seconds: float) -> Series | None:
        if self.size >= self.max_series:
            return None
        series = _MADE_BY[family.type](family, labels, ttl_seconds, self.clock())
        self.families[family.name] = family
        family.series[labels] = series
        self.size += 1
        return series
