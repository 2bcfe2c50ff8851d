"""The table of what prom/statsd_exporter 0.30 makes of lines, read from `tests/data/statsd_conformance.yml`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).parent / "data/statsd_conformance.yml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
CASES = [(group, case) for group in GROUPS for case in group["cases"]]
REASONS_OF_THE_BRIDGE = ("sampled_away", "reserved_label", "series_limit", "not_finite")
"""What statsd_exporter loses in silence, or breaks at, the bridge counts in a family that both have."""
_FAMILIES = "sample_errors|tag_errors|tags|events_error|events_conflict|events_actions"
_COUNTED = re.compile(rf"^statsd_exporter_((?:{_FAMILIES})_total(?:{{.*}})?) (\S+)$", re.MULTILINE)


def seen(page: str) -> list[str]:
    """The senders' lines on a page, sorted."""
    own = re.compile("#|statsd_|go_|process_|promhttp_|python_")
    return sorted(line for line in page.splitlines() if not own.match(line))


def counted(page: str) -> dict[str, float]:
    """What a page counts beside events, by ``<name>{<labels>}``, zeros left out."""
    found = {name.replace("_total", "", 1): float(value) for name, value in _COUNTED.findall(page)}
    own = tuple(f'events_error{{reason="{reason}"}}' for reason in REASONS_OF_THE_BRIDGE)
    return {
        name: value
        for name, value in found.items()
        if value and name not in own and name != 'events_actions{action="map"}'
    }
