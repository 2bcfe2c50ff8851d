"""Under which name a program that listens here is reached: by other programs, and by people."""

from __future__ import annotations

from typing import Final

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "[::1]"}  # noqa: S104


def reachable(host: str) -> str:
    """The address under which a program on this machine reaches one that listens at `host`."""
    return _EVERYWHERE.get(host, host)


def shown(host: str) -> str:
    """The host in an address that a person opens on this machine."""
    return "localhost" if reachable(host) in ("127.0.0.1", "::1") else host
