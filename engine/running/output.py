"""The log file of one attempt: lines from its pipe, stamped, redacted and written by the supervisor."""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_CHUNK: Final = 65_536
_LONGEST_LINE: Final = 65_536  # a line without an end is written in pieces


class AttemptLog:
    """Reads an attempt's pipe and writes its log. Losing log lines never fails the attempt: they are counted.

    A line is ``[2026-11-23T13:44:30.123Z] text``; the supervisor's own remarks are ``[…] windsock: text``.
    """

    def __init__(self, path: Path, pipe: int, redact: Callable[[str], str]) -> None:
        self._file = _open(path)
        self._pipe = pipe
        self._path = path
        self._redact = redact
        self._rest = b""
        self.last_line = ""
        self.lost_bytes = 0
        os.set_blocking(pipe, False)

    def fileno(self) -> int:
        """The pipe's read end."""
        return self._pipe

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
        if len(rest) > _LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._rest = rest
        self._write_lines(lines)
        return True

    def _write_lines(self, lines: list[bytes]) -> None:
        if not lines:
            return
        stamp = _stamp()
        texts = [self._redact(line.decode(errors="backslashreplace").rstrip("\r")) for line in lines]
        self.last_line = next((text for text in reversed(texts) if text.strip()), self.last_line)
        self._write("".join(f"{stamp}{text}\n" for text in texts).encode())

    def _end_line(self) -> None:
        if self._rest:
            rest, self._rest = self._rest, b""
            self._write_lines([rest])

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self.lost_bytes += len(data)
            return
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            self.lost_bytes += len(data)

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
        if self.lost_bytes:
            log.error("%d bytes of %s could not be written", self.lost_bytes, self._path)
            self.remark(f"{self.lost_bytes} bytes of log could not be written")
        if self._file is not None:
            os.close(self._file)


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
    now = datetime.now(UTC)
    return f"[{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z] "
