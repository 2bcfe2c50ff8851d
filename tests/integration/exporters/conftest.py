from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from typing import TYPE_CHECKING

from statsd_wire import serving

from exporters.bridge import Bridge, BridgeConfig

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with serving(BridgeConfig(statsd_port=0, web_port=0)) as running:
        yield running
