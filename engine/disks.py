"""Whether a disk takes more."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_FULL_BELOW: Final = 65_536  # bytes free; SQLite's shared memory grows by half of that


def is_full(folder: Path) -> bool:
    """Whether so little is free there that the next write may fail; not of a folder that is not there."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _FULL_BELOW


def full_ones(folders: Iterable[Path]) -> list[Path]:
    """Those of `folders` whose disk is full, one of each disk."""
    return list({folder.stat().st_dev: folder for folder in folders if is_full(folder)}.values())
