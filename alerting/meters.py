"""Where this package's metrics go. Names and tags are in the exporters' catalogue."""

from __future__ import annotations

from typing import Protocol


class Meter(Protocol):
    """Takes counts, timings and gauges; must neither raise nor block."""

    def incr(self, name: str, n: int = 1, /, **tags: str) -> None: ...

    def timing(self, name: str, seconds: float, /, **tags: str) -> None: ...

    def gauge(self, name: str, value: float, /, **tags: str) -> None: ...


class NoMeter:
    """Measures nothing."""

    def incr(self, name: str, n: int = 1, /, **tags: str) -> None:
        pass

    def timing(self, name: str, seconds: float, /, **tags: str) -> None:
        pass

    def gauge(self, name: str, value: float, /, **tags: str) -> None:
        pass
