"""The rules, by what they watch. Each area becomes one rule file and one file of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus.rules_by_area import (
    backends,
    boards,
    delivery,
    golden_signals,
    logs,
    machines,
    monitoring,
    parsing,
    services,
    slo,
    work,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus.spec import Alert, Group, Recording

AREAS: Final[Mapping[str, tuple[Group, ...]]] = {
    "golden_signals": golden_signals.GROUPS,
    "monitoring": monitoring.GROUPS,
    "services": services.GROUPS,
    "work": work.GROUPS,
    "parsing": parsing.GROUPS,
    "delivery": delivery.GROUPS,
    "logs": logs.GROUPS,
    "slo": slo.GROUPS,
    "machines": machines.GROUPS,
    "backends": backends.GROUPS,
    "boards": boards.GROUPS,
}

TITLES: Final[Mapping[str, str]] = {
    "monitoring": "The monitoring itself",
    "services": "Processes",
    "work": "Runs, tasks, queues, SLAs",
    "parsing": "DAG files",
    "delivery": "Delivery of alerts and callbacks",
    "logs": "Shipping of logs",
    "slo": "Error budgets",
    "machines": "Machines",
    "backends": "Databases, workers, probes",
}
"""The areas that have alerts, in the order in which people read them."""

ALERTS: Final[tuple[Alert, ...]] = tuple(
    alert for groups in AREAS.values() for group in groups for alert in group.alerts
)
RECORDINGS: Final[tuple[Recording, ...]] = tuple(
    recording for groups in AREAS.values() for group in groups for recording in group.recordings
)
