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

ALERTS: Final[tuple[Alert, ...]] = tuple(
    alert for groups in AREAS.values() for group in groups for alert in group.alerts
)
RECORDINGS: Final[tuple[Recording, ...]] = tuple(
    recording for groups in AREAS.values() for group in groups for recording in group.recordings
)
