from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from typing import TYPE_CHECKING

from statsd_wire import ROOT, configured, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporters.bridge import Bridge


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with serving(configured()) as running:
        yield running


@pytest.fixture(scope="session")
def statsd_exporter() -> Path:
    """prom/statsd_exporter 0.30; its absence fails the run in CI and skips it elsewhere."""
    places = (ROOT / ".tools/bin/statsd_exporter", Path.home() / "go/bin/statsd_exporter")
    found = next((str(place) for place in places if place.exists()), None)
    binary = shutil.which("statsd_exporter") or found
    if binary is None:
        message = "statsd_exporter is missing: go install github.com/prometheus/statsd_exporter@v0.30.0"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return Path(binary)
