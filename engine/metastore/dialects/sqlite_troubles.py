"""What is wrong with SQLite's file, where that is neither a missing folder nor a missing right: and what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from engine.disks import Lack, lack_of
from engine.metastore.errors import Damaged, MetastoreError, Unreachable

_REPLACE: Final = (
    "Stop Windsock; then restore it from a copy, or move it away, together with its -wal and -shm, and make a new one: "
    "windsock db init"
)


def trouble(code: str, file: Path) -> MetastoreError | None:
    """The error for SQLite's extended error code, with what to do; None where the code tells nothing of the file."""
    match code.split("_"):
        case ["SQLITE", "FULL"]:
            return Unreachable(_full(file, lack_of(file.parent) or Lack.SPACE))
        case ["SQLITE", "IOERR" | "CANTOPEN", *_] if lack := lack_of(file.parent):
            return Unreachable(_full(file, lack))
        case ["SQLITE", "CANTOPEN", *_] if _is_mounted_read_only(file.parent):
            return Unreachable(_read_only(file))
        case ["SQLITE", "NOTADB"]:
            return Damaged(f"{file} is not a SQLite database. {_REPLACE}")
        case ["SQLITE", "CORRUPT", *_]:
            return Damaged(f"the SQLite database {file} is damaged. {_REPLACE}")
        case ["SQLITE", "READONLY", "DBMOVED"]:
            return Unreachable(
                f"{file} was moved or replaced while it was in use. To use what is there now: windsock restart"
            )
        case ["SQLITE", "READONLY", *_]:
            return Unreachable(_read_only(file))
    return None


def _full(file: Path, lack: Lack) -> str:
    return (
        f"there is no {lack} left for {file}. {lack.remedy} on the disk of {file.parent}; what it holds is safe, and "
        "Windsock goes on by itself"
    )


def _is_mounted_read_only(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _read_only(file: Path) -> str:
    if _is_mounted_read_only(file.parent):
        return f"{file} cannot be written: the file system of {file.parent} is read-only. Mount it for writing"
    return (
        f"{file} cannot be written by this user. Let it write to the file, to its -wal and -shm, and to {file.parent}"
    )
