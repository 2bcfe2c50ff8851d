"""Whether the kernel has lately killed for want of memory: what a SIGKILL from nowhere most often is.

The kernel counts its kills, those within a control group included, and does not say whom. So an attempt that was killed
while the count moved was probably one of them; the words say no more than that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_COUNTERS: Final = Path("/proc/vmstat")
_NAME: Final = b"oom_kill "


class OomWatch:
    """Remembers the count as it was one and two looks ago; look less often than it takes to hear of a death."""

    def __init__(self, counters: Path = _COUNTERS) -> None:
        self._counters = counters
        self._before = self._last = self._count()

    def look(self) -> None:
        """From time to time."""
        self._before, self._last = self._last, self._count()

    def has_struck(self) -> bool:
        """Whether the kernel has killed since the look before the last."""
        return self._count() > self._before

    def _count(self) -> int:
        """0 where the system does not tell."""
        try:
            with self._counters.open("rb") as file:
                return next((int(line[len(_NAME) :]) for line in file if line.startswith(_NAME)), 0)
        except (OSError, ValueError):
            return 0
