"""How a length of time is written in alerting.yml, and so in what is said of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def span(length: timedelta) -> str:
    """``90s`` is ``1m30s``; below a second it is ``0s``."""
    rest = int(length.total_seconds())
    parts: list[str] = []
    for unit, seconds in _UNITS:
        count, rest = divmod(rest, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def rough_span(length: timedelta) -> str:
    """What has passed, as people say it: ``9h 4m 7s`` is ``9h4m``, and a clock that was set back makes it ``0s``."""
    seconds = max(0, int(length.total_seconds()))
    return span(timedelta(seconds=seconds - seconds % 60 if seconds >= 60 else seconds))
