"""What one read found: for each signal of the catalogue its values by label values."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exporters.catalogue import METASTORE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

LabelValues = tuple[str, ...]

DROPPED: Final = "metastore.series_dropped"


@dataclass(frozen=True)
class Samples:
    """Collects values. Names are the catalogue's, label values stand in the order of the catalogue's labels."""

    now: datetime  # by the database's clock
    values: dict[str, dict[LabelValues, float]] = field(default_factory=lambda: defaultdict(dict))

    def set(self, name: str, value: float, *labels: str) -> None:
        self.values[name][labels] = value

    def add(self, name: str, value: float, *labels: str) -> None:
        series = self.values[name]
        series[labels] = series.get(labels, 0) + value

    def raise_to(self, name: str, value: float, *labels: str) -> None:
        """Keep the larger one of `value` and what is there."""
        series = self.values[name]
        series[labels] = max(series.get(labels, value), value)

    def age(self, since: datetime) -> float:
        """Seconds from `since` until the read; never negative."""
        return max(0.0, (self.now - since).total_seconds())

    def capped(self, limit: int) -> Mapping[str, Mapping[LabelValues, float]]:
        """The first `limit` series of each family by their labels, so that the same ones stay; the rest is counted."""
        kept = {name: dict(sorted(series.items())[:limit]) for name, series in self.values.items()}
        dropped = sum(len(series) for series in self.values.values()) - sum(len(series) for series in kept.values())
        return {**kept, DROPPED: {(): dropped}}


def label_count(name: str) -> int:
    return len(METASTORE[name].labels)
