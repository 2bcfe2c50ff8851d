"""The programs of this machine's stack: whether one was started, under which name programs and people reach it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "[::1]"}  # noqa: S104


def reachable(host: str) -> str:
    """The address under which a program on this machine reaches one that listens at `host`."""
    return _EVERYWHERE.get(host, host)


def shown(host: str) -> str:
    """The host in an address that a person opens on this machine."""
    return "localhost" if reachable(host) in ("127.0.0.1", "::1") else host


def was_started(home: Path, program: str) -> bool:
    """Whether `windsock up` has started this program here, as far as we may look: it has written into its folder."""
    folder = home / "data" / program
    try:
        return folder.is_dir() and any(folder.iterdir())
    except OSError:  # another user's folder
        return False
