"""A remote folder that is mounted: NFS, SMB, or any other folder."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

from engine.logs.reading import MissingLog, NoLog, open_log
from engine.logs.remote import LogFile, Reason, RemoteError

_BLOCK: Final = 1 << 20
_PART_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_REASONS: Final = {
    errno.ENOSPC: Reason.FULL,
    errno.EDQUOT: Reason.FULL,
    errno.EFBIG: Reason.FULL,
    errno.EACCES: Reason.REFUSED,
    errno.EPERM: Reason.REFUSED,
    errno.EROFS: Reason.REFUSED,
}


class ShareFolder:
    """Writes beside the log (``.attempt=1.log.part``), reads it back, and moves it to its place."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def from_url(cls, url: str) -> ShareFolder:
        """From ``file:///path``, in which a percent sign begins an escape."""
        return cls(Path(unquote(urlsplit(url).path)))

    def upload(self, path: str, file: BinaryIO, size: int) -> None:
        target = self._root / path
        with self._told(), _part(self._folder(target.parent), target.name) as (part, descriptor):
            sent = _copy(file, descriptor, size)
            os.fsync(descriptor)
            if (found := _digest(descriptor)) != (size, sent):
                raise RemoteError(Reason.DAMAGED, f"{part} has {found[0]} bytes that differ from the {size} sent")
            part.replace(target)
            _sync(target.parent)

    def size(self, path: str) -> int | None:
        self._must_exist()
        with self._told():
            try:
                return (self._root / path).stat().st_size
            except FileNotFoundError:
                return None

    def open(self, path: str) -> LogFile | None:
        self._must_exist()
        try:
            file = open_log(self._root, path)
        except MissingLog:
            return None
        except NoLog as error:
            raise RemoteError(Reason.UNREACHABLE, str(error)) from error
        status = os.fstat(file.fileno())
        return LogFile(file, status.st_size, (status.st_dev, status.st_ino))

    def _must_exist(self) -> None:
        if not self._root.is_dir():
            raise RemoteError(
                Reason.UNREACHABLE, f"there is no folder {self._root}; mount it or make it, since Windsock does not"
            )

    def _folder(self, folder: Path) -> Path:
        self._must_exist()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = _REASONS.get(error.errno or 0, Reason.UNREACHABLE)
            raise RemoteError(reason, f"{self._root}: {error.strerror or error}") from error


@contextmanager
def _part(folder: Path, name: str) -> Iterator[tuple[Path, int]]:
    """An empty file to write to, held against other writers. The next writer goes on with one that a dead one left."""
    path = folder / f".{name}.part"
    descriptor = os.open(path, _PART_FLAGS, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RemoteError(Reason.UNSETTLED, f"somebody else is writing {path}") from error
        if not _is_at(descriptor, path):
            raise RemoteError(Reason.UNSETTLED, f"somebody else has just written {path}")
        os.ftruncate(descriptor, 0)
        yield path, descriptor
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _copy(file: BinaryIO, descriptor: int, size: int) -> bytes:
    """Copy `size` bytes; returns their SHA-256."""
    digest = hashlib.sha256()
    file.seek(0)
    while size and (block := file.read(min(_BLOCK, size))):
        digest.update(block)
        size -= len(block)
        while block:
            block = block[os.write(descriptor, block) :]
    return digest.digest()


def _digest(descriptor: int) -> tuple[int, bytes]:
    """How many bytes there are, and their SHA-256."""
    digest, size = hashlib.sha256(), 0
    while block := os.pread(descriptor, _BLOCK, size):
        digest.update(block)
        size += len(block)
    return size, digest.digest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
