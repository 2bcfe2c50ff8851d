"""What of a /metrics page prom/statsd_exporter and the bridge must have in common: every line, but for these."""

from __future__ import annotations

import re

from tests.statsd_conformance import REASONS_OF_THE_BRIDGE

OF_THE_PROCESS = ("go_", "process_", "promhttp_", "python_")
"""Each tells of its own runtime."""
OWN_INSIDES = (
    "statsd_exporter_build_info",  # who built it
    "statsd_exporter_event_queue_flushed_total",  # one flushes each 200 ms, the other when lines came
    "statsd_metric_mapper_cache_",  # each one has its own cache
)
ONLY_THE_BRIDGES = (
    "statsd_exporter_series",
    "statsd_exporter_series_limit",
    "statsd_exporter_unixstream_",  # statsd_exporter has no such socket
)
_LEFT_OUT = re.compile("|".join(map(re.escape, (*OF_THE_PROCESS, *OWN_INSIDES, *ONLY_THE_BRIDGES))))
_SHARED = "statsd_exporter_events_error_total"
_COUNTED_MORE = re.compile(rf'{_SHARED}{{reason="(?:{"|".join(REASONS_OF_THE_BRIDGE)})"}}')
_OWN_HELP = re.compile(r"# HELP statsd_exporter_")  # each in its own words
_NAME = re.compile(r"(?:# (?:HELP|TYPE) )?(.*)")


def comparable(page: str) -> list[str]:
    """The lines that both must show, in one order: that of lines means nothing in this format."""
    lines = [line for line in page.splitlines() if not _OWN_HELP.match(line) and not _COUNTED_MORE.match(line)]
    if not any(line.startswith(_SHARED) for line in lines):
        lines = [line for line in lines if line != f"# TYPE {_SHARED} counter"]
    return sorted(line for line in lines if not _LEFT_OUT.match(_NAME.match(line)[1]))
