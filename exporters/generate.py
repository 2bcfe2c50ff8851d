"""The package's generated files, as text by path."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from exporters.mapping import Flavour, statsd_mapping
from exporters.reference import metrics_page

PACKAGE_DIR: Final = Path(__file__).parent
STATSD_MAPPING: Final = PACKAGE_DIR / Flavour.SINGLE
"""The mapping that the bridge uses unless it is given another, for prom/statsd_exporter too."""


def documents() -> dict[str, str]:
    """Path relative to the repository's root → content."""
    mappings = {f"exporters/{flavour.value}": statsd_mapping(flavour) for flavour in Flavour}
    return {**mappings, "docs/metrics.md": metrics_page()}
