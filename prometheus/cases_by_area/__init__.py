"""What each alert must do: fire, not yet fire, stay silent, and what it does when the series is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus.cases_by_area import backends, delivery, logs, machines, monitoring, parsing, services, slo, work

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus.case import Case

CASES_BY_AREA: Final[Mapping[str, tuple[Case, ...]]] = {
    "monitoring": monitoring.CASES,
    "services": services.CASES,
    "work": work.CASES,
    "parsing": parsing.CASES,
    "delivery": delivery.CASES,
    "logs": logs.CASES,
    "slo": slo.CASES,
    "machines": machines.CASES,
    "backends": backends.CASES,
}
