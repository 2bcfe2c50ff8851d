"""Recordings for boards: what rules make, with the labels ``job`` and ``instance``.

Every query of a board narrows by both, so that its variables choose; an alert or an SLO has them only by chance. What
has none gets those of the rules themselves. An alert's value is since when (Unix time) its condition has held.
"""

from __future__ import annotations

from typing import Final

from prometheus.promql import EXPORTER_JOB, increased
from prometheus.spec import Group, Recording

INSTANCE: Final = "rules"
"""The instance of what no target gave."""

_SLOS: Final = "windsock:slo_(objective|errors|burn_rate|error_budget_remaining):.+"


_LOSSES: Final = {
    "line": "statsd_exporter_sample_errors_total",
    "event": "statsd_exporter_events_error_total",
    "packet": "statsd_exporter_udp_packet_drops_total",
}
"""What was lost → the counter of the StatsD exporter that tells of it."""


def _lost(what: str, family: str) -> str:
    by_target = increased(family, "10m", ("job", "instance", "reason"))
    return f'label_replace({by_target}, "lost", "{what}", "", "")'


def _with_target(expr: str) -> str:
    job = f'label_replace({expr}, "job", "{EXPORTER_JOB}", "job", "")'
    return f'label_replace({job}, "instance", "{INSTANCE}", "instance", "")'


SHOWN: Final = (
    Recording(
        record="windsock:alerts:shown",
        expr=_with_target("ALERTS * ignoring (alertstate) group_left () ALERTS_FOR_STATE"),
    ),
    Recording(
        record="windsock:slos:shown",
        expr=_with_target(f'label_replace({{__name__=~"{_SLOS}"}}, "measure", "$1", "__name__", "windsock:(slo_.+)")'),
    ),
    Recording(
        record="windsock:samples_lost:increase10m",
        expr=" or ".join(_lost(what, family) for what, family in _LOSSES.items()),
    ),
)

GROUPS: Final = (Group(name="windsock-boards", rules=SHOWN),)
