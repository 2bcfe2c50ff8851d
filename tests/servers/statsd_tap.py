"""A listener on the way of StatsD lines: it keeps them, and passes them on."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from dataclasses import dataclass

from tests.servers.processes import free_port


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: the series (name and tags as sent, without the prefix), the value, the type (c, g or ms)."""

    name: str
    series: str
    value: float
    kind: str


class StatsdTap:
    """Listens on UDP 127.0.0.1:`port` and forwards to `target`; it can be stopped and started again."""

    def __init__(self, prefix: str = "airflow.") -> None:
        self.port = free_port()
        self.target = 0
        self.samples: list[Sample] = []
        self._prefix = prefix
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        self._socket.bind(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._read, args=(self._socket,), name="statsd tap")
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; the samples stay. Stopping twice does nothing."""
        if self._socket is not None and self._thread is not None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"", ("127.0.0.1", self.port))
            self._thread.join()
            self._socket.close()
            self._socket = None

    def names(self) -> set[str]:
        """Every name that was sent."""
        return {sample.name for sample in list(self.samples)}

    def moved(self) -> set[str]:
        """The names that moved: a counter that counted, a gauge with two values in one series, a timer that timed."""
        gauges: dict[str, set[float]] = defaultdict(set)
        moved = set()
        for sample in list(self.samples):
            if sample.kind == "g":
                gauges[sample.series].add(sample.value)
            if sample.kind == "ms" or (sample.kind == "c" and sample.value > 0) or len(gauges[sample.series]) > 1:
                moved.add(sample.name)
        return moved

    def _read(self, listening: socket.socket) -> None:
        while data := listening.recv(65_536):
            self.samples += [self._sample(line) for line in data.decode().splitlines()]
            if self.target:
                listening.sendto(data, ("127.0.0.1", self.target))

    def _sample(self, line: str) -> Sample:
        series, _, rest = line.removeprefix(self._prefix).rpartition(":")
        value, kind = rest.split("|")[:2]
        return Sample(series.partition(",")[0], series, float(value), kind)
