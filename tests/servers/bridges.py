"""The StatsD bridge in a thread, on free ports, with a mapping file of choice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporters.bridge import Bridge, BridgeConfig
from exporters.listener import Endpoints


@contextmanager
def bridge_serving(mapping: Path) -> Iterator[tuple[int, int]]:
    """Its StatsD port and its web port."""
    bridge = Bridge(BridgeConfig(statsd=Endpoints(port=0), web_port=0, mapping=mapping))
    thread = threading.Thread(target=bridge.serve, name="bridge")
    thread.start()
    try:
        yield bridge.statsd_port, bridge.web_port
    finally:
        bridge.stop()
        thread.join(10)
        assert not thread.is_alive()
