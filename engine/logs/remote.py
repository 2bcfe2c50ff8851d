"""Where logs are shipped to: a folder on a share or a bucket, behind one protocol.

A remote folder has the same paths as the log folder. It is never made here, so that a share that is not mounted is an
error and not a folder on the wrong disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

if TYPE_CHECKING:
    from engine.config.sections import Logging

READ_SECONDS: Final = 10.0
"""How long somebody who looks at a log waits for the remote folder."""


class Reason(StrEnum):
    """Why a log could not be shipped."""

    UNREACHABLE = "unreachable"  # nobody answers, or the folder or bucket is not there
    REFUSED = "refused"  # credentials, permissions, a read-only share
    FULL = "full"
    DAMAGED = "damaged"  # what arrived is not what was sent
    UNSETTLED = "unsettled"  # the log is still written to
    MISSING = "missing"  # there is no log, here or there
    UNREADABLE = "unreadable"  # the log itself cannot be read


class RemoteError(Exception):
    """The remote folder did not do what it was asked; the message says why."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason = reason
        super().__init__(message)

    @property
    def holds_up_all(self) -> bool:
        """Whether the next log would fare no better."""
        return self.reason in (Reason.UNREACHABLE, Reason.REFUSED, Reason.FULL)


@dataclass(frozen=True, slots=True)
class LogFile:
    """An open log: where to read, how long it is, and a key that only the same bytes of the same log have."""

    file: BinaryIO
    size: int
    key: tuple[object, ...]


class RemoteFolder(Protocol):
    """A remote folder. Safe to share between threads."""

    def upload(self, path: str, file: BinaryIO, size: int) -> None:
        """Store the first `size` bytes of `file` at `path`, and make sure that they arrived. Raises RemoteError.

        It may be repeated: it replaces what is there, and nobody ever sees half a log at `path`.
        """

    def size(self, path: str) -> int | None:
        """Bytes at `path`; None where there is nothing. Raises RemoteError."""

    def open(self, path: str) -> LogFile | None:
        """The log at `path` for reading; None where there is none. Raises RemoteError."""


def connect(settings: Logging, *, timeout_seconds: float) -> RemoteFolder:
    """The remote folder that the settings name. `timeout_seconds` is for one request to a bucket.

    Raises RemoteError where the library for it is missing. Nothing is asked yet.
    """
    url = settings.remote_base_log_folder
    return _OPENERS[url.partition("://")[0]](settings, timeout_seconds)


def _file(settings: Logging, _timeout_seconds: float) -> RemoteFolder:
    from engine.logs.remote_share import ShareFolder

    return ShareFolder.from_url(settings.remote_base_log_folder)


def _bucket(settings: Logging, timeout_seconds: float) -> RemoteFolder:
    from engine.logs.remote_bucket import BucketFolder

    return BucketFolder(settings.remote_base_log_folder, timeout_seconds, encrypt=settings.encrypt_s3_logs)


_OPENERS: Final[Mapping[str, Callable[[Logging, float], RemoteFolder]]] = {
    "file": _file,
    "s3": _bucket,
    "gs": _bucket,
    "az": _bucket,
}
