"""How many files a process may have open: ours as many as the system allows, a task's what it would be without us."""

from __future__ import annotations

import contextlib
import resource

_usual = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def usual() -> int:
    """The soft limit that tasks get: ours at the start, or what :func:`know` was told."""
    return _usual


def know(limit: int) -> None:
    """The usual limit, from the parent: this process was born with a raised one."""
    global _usual
    _usual = limit


def lift() -> None:
    """Raise the soft limit to the hard one."""
    _set(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def restore() -> None:
    """Put the usual limit back: programs exist that walk through every possible file, or trust select()."""
    _set(_usual)


def _set(soft: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):  # less than we could have will do
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
