"""Finding a log: here first, then where logs are shipped to, with a limit to how long anybody waits."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from engine.logs.reading import LogPage, MissingLog, NoLog, open_log, page_of, tail_of
from engine.logs.remote import READ_SECONDS, LogFile, RemoteError, RemoteFolder, connect

if TYPE_CHECKING:
    from engine.config.sections import Logging

_MOST_HUNG: Final = 4


class LogFinder:
    """Reads logs by their path below the log folder. Safe to share between threads; cheap to make."""

    def __init__(self, base: Path, remote: Callable[[], RemoteFolder] | None = None) -> None:
        self._base = base
        self._remote = remote
        self._hung = threading.BoundedSemaphore(_MOST_HUNG)

    @classmethod
    def from_settings(cls, settings: Logging) -> LogFinder:
        """For the folders that the settings name."""
        if not settings.remote_logging:
            return cls(settings.base_log_folder)
        return cls(settings.base_log_folder, lambda: connect(settings, timeout_seconds=READ_SECONDS / 2))

    def tail(self, path: PurePosixPath | str, lines: int) -> list[str]:
        """See :func:`engine.logs.reading.tail_of`. Raises NoLog."""
        with _words(), self.open(path) as log:
            return tail_of(log.file, log.size, lines)

    def page(self, path: PurePosixPath | str, *, before: int | None = None, after: int | None = None) -> LogPage:
        """See :func:`engine.logs.reading.page_of`. Raises NoLog."""
        with _words(), self.open(path) as log:
            return page_of(log.file, log.size, log.key, before=before, after=after)

    @contextmanager
    def open(self, path: PurePosixPath | str) -> Iterator[LogFile]:
        """The log, closed at the end. Raises NoLog."""
        log = self.find(path)
        with log.file:
            yield log

    def find(self, path: PurePosixPath | str) -> LogFile:
        """The log; the caller closes its file. Raises NoLog."""
        try:
            file = open_log(self._base, path)
        except MissingLog as missing:
            if self._remote is None:
                raise
            return self._find_shipped(str(path), self._remote, missing)
        status = os.fstat(file.fileno())
        return LogFile(file, status.st_size, (status.st_dev, status.st_ino))

    def _find_shipped(self, path: str, remote: Callable[[], RemoteFolder], missing: MissingLog) -> LogFile:
        try:
            found = self._within(lambda: remote().open(path))
        except RemoteError as error:
            raise NoLog(
                f"the log is not on this machine, and the remote log folder does not give it: {error}"
            ) from error
        if found is None:
            raise MissingLog(f"{missing}; nor is it in the remote log folder: it may wait on another machine") from None
        return found

    def _within(self, work: Callable[[], LogFile | None]) -> LogFile | None:
        """Do `work` in a thread that is left behind when it hangs, as a dead NFS server makes it."""
        if not self._hung.acquire(blocking=False):
            raise NoLog("the remote log folder does not answer; others are waiting for it already")
        answer: list[LogFile | None] = []
        errors: list[Exception] = []

        def run() -> None:
            try:
                answer.append(work())
            except Exception as error:
                errors.append(error)
            finally:
                self._hung.release()

        thread = threading.Thread(target=run, name="remote-log", daemon=True)
        thread.start()
        thread.join(READ_SECONDS)
        if errors:
            raise errors[0]
        if not answer:
            raise NoLog(f"the remote log folder did not answer within {READ_SECONDS:g} s; try again later")
        return answer[0]


@contextmanager
def _words() -> Iterator[None]:
    try:
        yield
    except RemoteError as error:
        raise NoLog(f"the remote log folder stopped giving the log: {error}") from error
