"""The stack's state while its file cannot be written: in the supervisor's memory, under a name that readers know.

A disk that is full must not make ``status`` tell the state of before. Each state is a memory file of its own, complete
before the one before it is closed; who may look into the supervisor (its user, and root) finds it below ``/proc``.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

_NAME: Final = "windsock-stack-state"


def put_aside(data: bytes, before: int | None) -> int | None:
    """Hold `data` instead of what `before` holds; returns what holds it now: `before` where that is not possible."""
    try:
        descriptor = os.memfd_create(_NAME)
    except OSError:  # no file can be opened any more, or a sandbox has no such files
        return before
    try:
        os.write(descriptor, data)
    except OSError:
        os.close(descriptor)
        return before
    drop_aside(before)
    return descriptor


def drop_aside(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def read_aside(pid: int) -> bytes | None:
    """What the supervisor `pid` holds in memory; None where it wrote its file, or is somebody else's."""
    with contextlib.suppress(OSError):  # gone meanwhile, or not ours to look into
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(entry.readlink()).startswith(f"/memfd:{_NAME}"):
                    return entry.read_bytes()
    return None
