from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from typing import TYPE_CHECKING

from statsd_wire import configured, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporters.bridge import Bridge


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with serving(configured()) as running:
        yield running
