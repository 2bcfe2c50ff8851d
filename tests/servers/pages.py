"""Pages that servers show, such as an exporter's /metrics."""

from __future__ import annotations

import contextlib
import urllib.request


def page(url: str) -> str:
    """What is there; raises OSError."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def answers(url: str) -> bool:
    """Whether anything is there."""
    with contextlib.suppress(OSError):
        return bool(page(url))
    return False
