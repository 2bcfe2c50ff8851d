"""Whether a disk takes more."""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final

_FULL_BELOW: Final = 65_536  # bytes free; SQLite's shared memory grows by half of that


class Lack(StrEnum):
    """What a disk has none left of."""

    SPACE = "space"
    INODE = "inode"  # one for each file, however small

    @property
    def remedy(self) -> str:
        return "Free some space" if self is Lack.SPACE else "Remove files"

    @property
    def refused(self) -> str:
        return "nothing can be written to it" if self is Lack.SPACE else "no file can be made on it"


def lack_of(folder: Path) -> Lack | None:
    """What there is so little of that this user's next write may fail; None of a folder that is not there.

    File systems that hold nothing of their own, and some others, count no blocks or no inodes: those lack none.
    """
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail  # some is kept for root
    if disk.f_blocks and free * disk.f_frsize < _FULL_BELOW:
        return Lack.SPACE
    return Lack.INODE if disk.f_files and not disk.f_favail else None


def full_ones(folders: Iterable[Path]) -> dict[Path, Lack]:
    """Those of `folders` whose disk is full, one of each disk, and what it lacks."""
    return dict({folder.stat().st_dev: (folder, lack) for folder in folders if (lack := lack_of(folder))}.values())
