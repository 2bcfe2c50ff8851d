"""Shipping one log: upload, make sure, and only then forget the local file.

Each step may be the last one that happens. A log that was uploaded is uploaded again, to the same place; one that was
uploaded and deleted here is found there.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from engine.logs.reading import MissingLog, NoLog, open_log
from engine.logs.remote import Reason, RemoteError, RemoteFolder

QUIET_SECONDS: Final = 60.0
"""How long a log of a lost attempt must not have grown: its supervisor may be cut off, and still be writing."""


def ship(base: Path, path: str, remote: RemoteFolder, *, delete_local: bool, lost: bool = False) -> int:
    """Bring the log at `path` below `base` to `remote`; returns its bytes. Raises RemoteError."""
    try:
        file = open_log(base, path)
    except MissingLog as error:
        if (size := remote.size(path)) is not None:
            return size  # whoever deleted it here had made sure
        raise RemoteError(Reason.MISSING, str(error)) from error
    except NoLog as error:
        raise RemoteError(Reason.UNREADABLE, str(error)) from error
    with file:
        before = os.fstat(file.fileno())
        if lost and time.time() - before.st_mtime < QUIET_SECONDS:
            raise RemoteError(Reason.UNSETTLED, f"its supervisor was lost; waiting for {QUIET_SECONDS:g} s of quiet")
        remote.upload(path, file, before.st_size)
        if os.fstat(file.fileno()).st_size != before.st_size:
            raise RemoteError(Reason.UNSETTLED, "it grew while it was shipped")
        if _was_replaced(base / path, before):
            raise RemoteError(Reason.REFUSED, "the remote folder is the log folder itself; ship logs elsewhere")
        if delete_local:
            _delete(base / path)
    return before.st_size


def _was_replaced(path: Path, before: os.stat_result) -> bool:
    """Whether another file stands where the log was: by a link or a mount the upload came back to it."""
    try:
        return not os.path.samestat(path.stat(), before)
    except FileNotFoundError:  # another shipper was faster, and had made sure
        return False


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        message = f"it was shipped and cannot be deleted here: {error.strerror}"
        raise RemoteError(Reason.UNREADABLE, message) from error
