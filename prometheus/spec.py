"""What a rule is. Frozen data; `prometheus.generate` writes it as YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Severity(StrEnum):
    """What is expected of a person."""

    CRITICAL = "critical"  # act now: work stands still, or alerts are lost
    WARNING = "warning"  # act today
    INFO = "info"  # nothing to do


class Board(StrEnum):
    """The board on which an alert is looked into; the value is its uid in Grafana."""

    OVERVIEW = "windsock-overview"
    SCHEDULER = "windsock-scheduler"
    DAG_PROCESSING = "windsock-dag-processing"
    DAG = "windsock-dag"
    POOLS = "windsock-pools"
    ALERTS = "windsock-alerts"
    SLO = "windsock-slo"
    WORKERS = "windsock-workers"
    INFRASTRUCTURE = "windsock-infrastructure"
    LOGS = "windsock-logs"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A query kept as a series. ``record`` is named level:metric:operation."""

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A condition that a person should hear of. Each has a page ``docs/runbooks/<name>.md``.

    ``expr`` is PromQL in which ``seconds(5m)`` stands for the number 300: see `prometheus.pace`.
    """

    name: str
    expr: str
    hold: timedelta = timedelta(0)  # how long the condition must last
    severity: Severity
    board: Board
    summary: str  # the same for every alert of the name
    description: str  # what, where, how much; Prometheus' templates


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rules that are evaluated one after the other, recordings before what asks for them."""

    name: str
    rules: tuple[Recording | Alert, ...]
    interval: timedelta | None = None  # None: Prometheus' own

    @property
    def alerts(self) -> tuple[Alert, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, Alert))

    @property
    def recordings(self) -> tuple[Recording, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, Recording))


def duration(span: timedelta) -> str:
    """As Prometheus writes it: ``500ms``, ``90s``, ``10m``, ``2h``."""
    milliseconds = round(span.total_seconds() * 1000)
    for size, unit in ((3_600_000, "h"), (60_000, "m"), (1000, "s")):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"
