"""The log file of one attempt: lines from its pipe, stamped, redacted and written by the supervisor."""

from __future__ import annotations

import errno
import logging
import os
import select
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

from engine.running.log_ends import cut_torn_line, write_over_the_end

log = logging.getLogger(__name__)

_CHUNK: Final = 65_536
LONGEST_LINE: Final = 65_536  # bytes; a longer one is written in pieces, and is no XCom
_KEPT: Final = 4_096  # bytes of a line that is too long which stay for its next piece: a secret may go on there
# Places at which it may be cut, counted from its end, and how much on either side is looked at. Steps are odd, since
# what repeats itself mostly does so in even ones; the last places are next to each other, for secrets without a gap.
_FAR_CUTS: Final = tuple((_KEPT + 509 * step, _KEPT) for step in range(8))
_CUTS: Final = (*_FAR_CUTS, *((2 * _KEPT + step, 512) for step in range(48)))

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

LARGEST_LOG: Final = 100_000_000  # bytes, unless the settings say otherwise


class AttemptLog:
    """Reads an attempt's pipe and writes its log. Losing log lines never fails the attempt: they are counted.

    Beyond `limit` bytes nothing more is kept, which the log says; the pipe is emptied all the same.

    A line is ``[2026-11-23T13:44:30.123Z] text``; the supervisor's own remarks are ``[…] windsock: text``.
    """

    def __init__(self, path: Path, pipe: int, redact: Callable[[str], str], limit: int = LARGEST_LOG) -> None:
        self._file = _open(path)
        self._pipe = pipe
        self._path = path
        self._redact = redact
        self._rest = b""
        self._cut = False  # the beginning of the line that `_rest` goes on with has been written already
        self.last_line = ""  # as it was printed, not redacted; a part of it when it is too long
        self.last_line_is_whole = True
        self.lost_bytes = 0
        self.left_out_bytes = 0  # beyond the limit
        self._reason = "the file could not be opened"  # for what is lost
        self._disk_is_full = False
        self._limit = limit
        self._room = limit
        os.set_blocking(pipe, False)

    def fileno(self) -> int:
        """The pipe's read end."""
        return self._pipe

    @property
    def last_printed_line(self) -> str:
        """The last line as the log shows it."""
        return self._redact(self.last_line)

    def remark(self, text: str) -> None:
        """Write a line of the supervisor's own."""
        self._write(f"{_stamp()}windsock: {self._redact(text)}\n".encode())

    def pump(self) -> bool:
        """Write what one read of the pipe gives; False once every writer has closed it."""
        try:
            data = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return True
        if not data:
            self._end_line()
            return False
        *lines, rest = (self._rest + data).split(b"\n")
        self._write_lines(lines)
        if len(rest) > LONGEST_LINE:
            end = self._place_to_cut(rest) if self._room else len(rest)
            self._write_lines([rest[:end]], is_piece=True)
            self._cut, rest = True, rest[end:]
        self._rest = rest
        return True

    def _place_to_cut(self, line: bytes) -> int:
        """Where a line that is too long is cut: not inside of a secret, which nobody would recognise in halves.

        Where the text around is masked alike in two parts and as a whole, none lies across. Between secrets without a
        gap, each longer than the places that are tried, there is no such place: then it is cut at its end.
        """
        for from_end, around in _CUTS:
            end = _begin_of_character(line, len(line) - from_end)
            before, behind = _text(line[end - around : end]), _text(line[end : end + around])
            if self._redact(before) + self._redact(behind) == self._redact(before + behind):
                return end
        return len(line)

    def _write_lines(self, lines: list[bytes], *, is_piece: bool = False) -> None:
        """Write lines, of which the first may be the rest of one that was too long; or a piece of one."""
        if not lines:
            return
        self._remember_last(lines, is_piece=is_piece)
        self._cut = False
        size = sum(map(len, lines)) + len(lines)
        if size > self._room:
            self._leave_out(size)
            return
        self._room -= size
        stamp = _stamp()
        self._write("".join(f"{stamp}{self._redact(_text(line))}\n" for line in lines).encode())

    def _remember_last(self, lines: list[bytes], *, is_piece: bool) -> None:
        for number in range(len(lines) - 1, -1, -1):
            is_rest = number == 0 and self._cut
            text = _text(lines[number])
            if text.strip():
                self.last_line = text
                self.last_line_is_whole = len(lines[number]) <= LONGEST_LINE and not is_rest and not is_piece
            if text.strip() or is_rest:
                break

    def _leave_out(self, size: int) -> None:
        if not self.left_out_bytes:
            self._room = 0
            key = "logging.max_task_log_bytes"
            self.remark(f"it has printed {self._limit:,} bytes ({key}); what follows is not kept")
        self.left_out_bytes += size

    def _end_line(self) -> None:
        if self._rest:
            rest, self._rest = self._rest, b""
            self._write_lines([rest])

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self.lost_bytes += len(data)
            return
        rest = data
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self._reason = error.strerror or str(error)
            self._disk_is_full = error.errno in _FULL
            self.lost_bytes += len(rest) + cut_torn_line(self._file, data[: len(data) - len(rest)])

    def close_pipe(self) -> None:
        """Take in what is left in the pipe, without waiting for daemons that still hold it, and close it."""
        for _ in range(1024):  # at most 64 MiB: a survivor that prints for ever must not hold us
            before = self._rest
            if not self.pump() or (self._rest == before and not _readable(self._pipe)):
                break
        self._end_line()
        os.close(self._pipe)

    def close(self) -> None:
        """Close the file; :meth:`close_pipe` comes before."""
        if self.left_out_bytes:
            self.remark(f"{self.left_out_bytes:,} bytes more were printed and are not kept")
        if self.lost_bytes:
            log.error("%d bytes of %s could not be written", self.lost_bytes, self._path)
            self._remark_what_is_missing()
        if self._file is not None:
            os.close(self._file)

    def _remark_what_is_missing(self) -> None:
        """At the end, where it can grow by that; on a full disk in the place of its last lines.

        A file that could not be opened before may be now: what earlier parts of the attempt left in it stays.
        """
        if self._file is None:
            self._file = _open(self._path)
        lost = self.lost_bytes
        self.remark(f"{lost:,} bytes of this log could not be written and are missing ({self._reason})")
        if self.lost_bytes > lost and self._disk_is_full:
            text = f"the end of this log is missing: {lost:,} bytes or more could not be written ({self._reason})"
            write_over_the_end(self._path, f"{_stamp()}windsock: {text}\n".encode())


def _begin_of_character(line: bytes, place: int) -> int:
    """`place`, or up to three bytes before it: UTF-8 is not cut inside of a character."""
    back = next((back for back in range(4) if line[place - back] & 0xC0 != 0x80), 0)
    return place - back


def _text(line: bytes) -> str:
    return line.decode(errors="backslashreplace").rstrip("\r")


def _open(path: Path) -> int | None:
    """The file, or None where it cannot be opened: a full disk must not stop the tasks."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)
    except OSError as error:
        log.error("the log %s cannot be opened (%s); what is printed is lost", path, error.strerror)
        return None


def _readable(fd: int) -> bool:
    poller = select.poll()  # select() refuses numbers over 1023
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


def _stamp() -> str:
    milliseconds = time.time_ns() // 1_000_000
    return f"[{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z] "


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
