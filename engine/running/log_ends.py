"""The end of a log that the disk did not take: cut to whole lines, and with a remark in the place that it has already.

On a full disk a file cannot grow, but what it holds can be written over.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

_WINDOW: Final = 262_144  # bytes before the end in which a line's end is looked for; no line is as long


def cut_torn_line(file: int, written: bytes) -> int:
    """Take the line away of which only a part was `written`, at the end of `file`; returns how many bytes that were.

    Where that would leave nothing, it stays: a file without a byte has no place for a remark.
    """
    torn = len(written) - (written.rfind(b"\n") + 1)
    with contextlib.suppress(OSError):
        size = os.fstat(file).st_size
        if 0 < torn < size:
            os.ftruncate(file, size - torn)
            return torn
    return 0


def write_over_the_end(path: Path, remark: bytes) -> bool:
    """Put `remark`, a line, over the last lines of the file; False where it is shorter than that.

    The file needs no more room for it than it has: the remark is written first, and what is left behind it cut off.
    """
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            latest = os.fstat(file).st_size - len(remark)
            if latest < 0:
                return False
            start = max(0, latest - _WINDOW)
            place = start + os.pread(file, latest - start, start).rfind(b"\n") + 1
            os.pwrite(file, remark, place)
            os.ftruncate(file, place + len(remark))
            return True
        finally:
            os.close(file)
    return False
