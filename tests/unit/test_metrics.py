"""The engine's StatsD emitter."""

from __future__ import annotations

import math
import socket
from pathlib import Path

from engine import config
from engine.metrics import Metrics


def test_a_value_that_cannot_be_sent_is_counted_and_ends_no_measuring(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        environ = {
            "WINDSOCK_HOME": str(tmp_path),
            "WINDSOCK__METRICS__STATSD_HOST": "127.0.0.1",
            "WINDSOCK__METRICS__STATSD_PORT": str(receiver.getsockname()[1]),
        }
        metrics = Metrics(config.load(environ).metrics)
        metrics.gauge("dagbag_size", math.nan)
        received = ""
        while "reason=unsendable:1|c" not in received:
            received += receiver.recv(65_536).decode()
        metrics.gauge("dagbag_size", 7)
        while "dagbag_size:7|g" not in received:
            received += receiver.recv(65_536).decode()
        metrics.close()
