"""Which log folder is which: a mark in the folder itself, which outlives host names, containers and reboots.

Machines that share a folder share its mark, so each of them may ship what lies there.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import Final

_MARK: Final = ".log-folder-id"


def place_of(base: Path) -> str:
    """The mark of the log folder `base`, made where there is none. Raises OSError."""
    path = base / _MARK
    with contextlib.suppress(FileNotFoundError):
        return path.read_text("ascii").strip()
    own = base / f"{_MARK}.{uuid.uuid4()}"
    own.write_text(f"{uuid.uuid4()}\n", "ascii")
    try:
        with contextlib.suppress(FileExistsError):  # somebody else was faster: theirs counts
            os.link(own, path)
    finally:
        own.unlink()
    return path.read_text("ascii").strip()
