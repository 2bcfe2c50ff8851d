"""Reading logs back: tail first, a page at a time, in memory that does not grow with the file.

A log is only ever opened below its folder: each part of the path is opened relative to the one before it and never
through a symbolic link, so neither an id nor a link that a task left behind leads elsewhere. Pages are cut at line
ends and addressed by byte offset, since a log that is still written to keeps its offsets.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from engine.logs.cleaning import clean

PAGE_BYTES: Final = 256 * 1024
PAGE_LINES: Final = 2_000
_TAIL_BYTES: Final = 256 * 1024
_LONGEST_LINE: Final = 16_384
_BLOCK: Final = 1 << 20
_MARK_EVERY: Final = 16 * _BLOCK
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not block us

# A supervisor begins each log with a line of its own.
EMPTY_LOG: Final = "the log is empty: not even its first line could be written, as on a disk that is full"
_STAMPED: Final = re.compile(r"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)\] ?(windsock: )?")


class NoLog(Exception):
    """There is no log to read at that path; the message says why."""


class MissingLog(NoLog):
    """There is no file at that path."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line. ``time`` is the supervisor's stamp; ``remark`` marks what the supervisor itself said."""

    number: int
    time: str | None
    remark: bool
    text: str


@dataclass(frozen=True, slots=True)
class LogPage:
    """Bytes ``start`` to ``end`` of a log of ``size`` bytes, as lines."""

    lines: tuple[LogLine, ...]
    start: int
    end: int
    size: int

    @property
    def is_first(self) -> bool:
        return self.start == 0

    @property
    def is_last(self) -> bool:
        return self.end >= self.size


def read_tail(base: Path, path: PurePosixPath | str, lines: int) -> list[str]:
    """The last `lines` lines of the log at `path` below `base`: see :func:`tail_of`. Raises NoLog."""
    with open_log(base, path) as file:
        return tail_of(file, os.fstat(file.fileno()).st_size, lines)


def tail_of(file: BinaryIO, size: int, lines: int) -> list[str]:
    """The last `lines` lines of a log of `size` bytes, stamps included.

    Looks at the last 256 KiB at most and cuts lines of more than 16 384 characters.
    """
    start = max(0, size - _TAIL_BYTES)
    rows = _split(_read(file, start, size))
    if start > 0 and len(rows) > 1:
        rows = rows[1:]  # its beginning lies before what was read
    return [_clean(row) for row in rows[-lines:]] if lines > 0 else []


def read_page(base: Path, path: PurePosixPath | str, *, before: int | None = None, after: int | None = None) -> LogPage:
    """One page of the log at `path` below `base`: see :func:`page_of`. Raises NoLog."""
    with open_log(base, path) as file:
        status = os.fstat(file.fileno())
        return page_of(file, status.st_size, (status.st_dev, status.st_ino), before=before, after=after)


def page_of(
    file: BinaryIO, size: int, key: tuple[object, ...], *, before: int | None = None, after: int | None = None
) -> LogPage:
    """One page of a log of `size` bytes, of which `key` tells whether it is the same as another time.

    The page that ends at byte `before`, or that begins at byte `after`; the last one where neither is given. A page
    holds 256 KiB and 2 000 lines at most. A line longer than a page is cut into several.
    """
    if after is not None:
        start, data = _forward(file, _clamp(after, size), size)
    else:
        start, data = _backward(file, size if before is None else _clamp(before, size))
    first = _numbers.lines_before(file, size, key, start) + 1
    rows = enumerate(_split(data), first)
    return LogPage(tuple(_line(number, row) for number, row in rows), start, start + len(data), size)


def open_log(base: Path, path: PurePosixPath | str) -> BinaryIO:
    """The log at `path` below `base`, open for reading in binary. Raises NoLog; the caller closes it."""
    parts = PurePosixPath(path).parts
    if not parts or any(part in ("..", "/") or "\0" in part for part in parts):
        raise NoLog("this is not a path of a log")
    try:
        descriptor = _descend(base, parts)
    except FileNotFoundError:
        raise MissingLog("there is no log file: the attempt has not written one, or it was removed") from None
    except OSError as error:
        raise NoLog(f"the log cannot be opened: {error.strerror or error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoLog("the log is not a plain file")
    return os.fdopen(descriptor, "rb", buffering=0)


def _clamp(offset: int, size: int) -> int:
    return max(0, min(offset, size))


def _forward(file: BinaryIO, start: int, size: int) -> tuple[int, bytes]:
    data = _read(file, start, min(size, start + PAGE_BYTES))
    if start + len(data) < size:
        data = data[: data.rfind(b"\n") + 1] or data
    ends = _nth_newline(data, PAGE_LINES)
    return start, data[:ends]


def _backward(file: BinaryIO, end: int) -> tuple[int, bytes]:
    start = max(0, end - PAGE_BYTES)
    data = _read(file, start, end)
    # 1. begin at a line's beginning, where the page holds one
    if start > 0 and 0 <= (cut := data.find(b"\n")) < len(data) - 1:
        start, data = start + cut + 1, data[cut + 1 :]
    # 2. keep the last lines only
    surplus = data.count(b"\n") - PAGE_LINES
    if surplus > 0:
        cut = _nth_newline(data, surplus)
        start, data = start + cut, data[cut:]
    return start, data


def _nth_newline(data: bytes, count: int) -> int:
    """Offset behind the `count`-th newline; the length of `data` where it has fewer."""
    offset = 0
    for _ in range(count):
        found = data.find(b"\n", offset)
        if found < 0:
            return len(data)
        offset = found + 1
    return offset


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _split(data: bytes) -> list[str]:
    rows = data.decode("utf-8", "replace").split("\n")
    return rows[:-1] if rows[-1] == "" else rows


def _clean(row: str) -> str:
    """Drop terminal colours and control characters, and what a progress bar wrote over."""
    if len(row) > _LONGEST_LINE:
        row = f"{row[:_LONGEST_LINE]} … {len(row) - _LONGEST_LINE} more characters"
    stamp = _STAMPED.match(row)
    head, body = (stamp.group(), row[stamp.end() :]) if stamp else ("", row)
    return head + clean(body.rstrip("\r").rpartition("\r")[2])


def _line(number: int, row: str) -> LogLine:
    text = _clean(row)
    if (stamp := _STAMPED.match(text)) is None:
        return LogLine(number, None, False, text)
    return LogLine(number, stamp[1], stamp[2] is not None, text[stamp.end() :])


def _descend(base: Path, parts: tuple[str, ...]) -> int:
    """Open `parts` one below the other, refusing symbolic links; the folder `base` itself may be one."""
    folder = os.open(base, _FOLDER_FLAGS & ~os.O_NOFOLLOW)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return os.open(parts[-1], _FILE_FLAGS, dir_fd=folder)
    finally:
        os.close(folder)


class _LineNumbers:
    """How many lines lie before an offset. Remembers a mark each 16 MiB, so that paging does not count anew."""

    def __init__(self, files: int = 32) -> None:
        self._files = files
        self._marks: OrderedDict[tuple[object, ...], list[tuple[int, int]]] = OrderedDict()
        self._lock = threading.Lock()

    def lines_before(self, file: BinaryIO, size: int, key: tuple[object, ...], offset: int) -> int:
        marks = self._marks_of(key, size)
        with self._lock:
            position, lines = marks[bisect_right(marks, (offset, 1 << 62)) - 1]
        file.seek(position)
        while position < offset and (block := file.read(min(_BLOCK, offset - position))):
            position, lines = position + len(block), lines + block.count(b"\n")
            with self._lock:
                if position - marks[-1][0] >= _MARK_EVERY:
                    marks.append((position, lines))
        return lines

    def _marks_of(self, key: tuple[object, ...], size: int) -> list[tuple[int, int]]:
        with self._lock:
            marks = self._marks.pop(key, None)
            if marks is None or marks[-1][0] > size:  # new to us, or begun anew
                marks = [(0, 0)]
            self._marks[key] = marks
            while len(self._marks) > self._files:
                self._marks.popitem(last=False)
            return marks


_numbers = _LineNumbers()
