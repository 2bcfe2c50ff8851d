"""What a rule is. Frozen data; `prometheus.generate` writes it as YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class Severity(StrEnum):
    """What is expected of a person."""

    CRITICAL = "critical"  # act now: work stands still, or alerts are lost
    WARNING = "warning"  # act today
    INFO = "info"  # nothing to do


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A query kept as a series. ``record`` is named level:metric:operation."""

    record: str
    expr: str


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A condition that a person should hear of. Each has a page ``docs/runbooks/<name>.md``."""

    name: str
    expr: str
    hold: timedelta  # how long the condition must last
    severity: Severity
    summary: str  # the same for every alert of the name
    description: str  # what, where, how much; Prometheus' templates
    labels: dict[str, str] = field(default_factory=dict)


def duration(span: timedelta) -> str:
    """As Prometheus writes it: ``90s``, ``10m``, ``2h``."""
    seconds = int(span.total_seconds())
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
