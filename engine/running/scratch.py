"""Scratch folders: where Bash attempts start, each in an empty one that nobody else has.

A folder that an attempt leaves as it was lent, and leaves alone, is lent again. One for each attempt would be an inode
made and an inode deleted, which file systems are slow at (ext4 without a journal passes over each inode that was
deleted in the last minutes, whenever it makes a file). Any other folder is removed, beside the supervisor's loop, by a
process of its own, and its name is not used again.

Below ``TMPDIR/windsock-UID`` each supervisor has a folder, and in it those of its attempts. A supervisor holds a lock
on its folder for as long as it lives (flock: the kernel gives it back, in whatever container the supervisor ran), so
whoever gets the lock of another folder may remove it: its supervisor is gone, and with it all its attempts. Programs
that clear temporary folders, such as systemd-tmpfiles, respect the lock too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path

from engine.running.launcher import FOLDER_MODE

log = logging.getLogger(__name__)

_NAME = f"windsock-{os.getuid()}"
_PREFIX = "supervisor-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


class Scratch:
    """The scratch folders of one supervisor."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._empty: list[str] = []  # to be lent again: never more than have been in use at once
        self._left: list[str] = []
        self._littered: list[str] = []
        self._lock: int | None = None
        self._refusal = ""
        try:
            self.folder, self._lock = _claim(_house())
        except OSError as error:  # other attempts need none
            self.folder = Path(os.environ.get("TMPDIR", "/tmp")) / _NAME / "none"  # noqa: S108 - not there
            self._refusal = f"no scratch folder can be made: {error}"
            log.error("no scratch folder for Bash tasks can be made: %s", error)
        self._prefix = f"{self.folder}/"

    def lend(self) -> str:
        """Where an attempt may start; whoever starts it makes it if it is missing (`engine.running.launcher.enter`).

        Raises OSError where there is no folder of ours to make it in: in any other it might be somebody else's.
        """
        if self._refusal:
            raise OSError(errno.ENOENT, self._refusal)
        return self._empty.pop() if self._empty else f"{self._prefix}{next(self._numbers)}"

    def leave(self, folder: str, *, alone: bool) -> None:
        """An attempt has ended; `alone` says that nothing that it had started may still be in the folder."""
        (self._left if alone else self._littered).append(folder)

    def tidy(self) -> None:
        """Sort the folders of attempts that have ended: into those that can be lent again, and litter.

        To be called when the ends are reported: a busy disk takes longer for it than a scheduler for what is next.
        """
        left, self._left = self._left, []
        for folder in left:
            try:
                (self._empty if _is_untouched(folder) else self._littered).append(folder)
            except FileNotFoundError:
                continue
            except OSError:  # no folder any more, or none that we may look into
                self._littered.append(folder)

    def litter(self) -> list[str]:
        """Take what is to be removed."""
        taken, self._littered = self._littered, []
        return taken

    def close(self) -> None:
        """Let the folder go. What is still in it, the next supervisor removes."""
        self.tidy()
        if self._lock is not None:
            with contextlib.suppress(OSError):
                for empty in self._empty:
                    os.rmdir(empty)  # noqa: PTH106 - the same kind of path as everywhere here
                self.folder.rmdir()
            os.close(self._lock)


def _is_untouched(folder: str) -> bool:
    """Whether it is as it was made. Raises FileNotFoundError where it is gone, OSError where it is no folder now."""
    fd = os.open(folder, _FOLDER)
    try:
        found = os.fstat(fd)
        kept = stat.S_IMODE(found.st_mode) & ~stat.S_ISGID == FOLDER_MODE and found.st_uid == os.getuid()
        return kept and not os.listdir(fd) and not _has_acl(fd)  # noqa: PTH208
    finally:
        os.close(fd)


def _has_acl(fd: int) -> bool:
    """Whether others may get rights to what is made in a folder, whatever its mode says."""
    try:
        return any(name.startswith("system.") for name in os.listxattr(fd))
    except OSError:  # a file system that has none
        return False


def remove(paths: list[str], own: str) -> None:
    """Remove folders, and those of supervisors that are gone (`own` is ours). For a process that may take its time."""
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
    for folder in Path(own).parent.glob(f"{_PREFIX}*"):
        if str(folder) != own:
            _remove_unowned(folder)


def _remove_unowned(folder: Path) -> None:
    try:
        lock = _open(folder)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # its supervisor lives, or the file system knows no locks: then nobody removes it
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _house() -> Path:
    """This user's folder for scratch folders; another one where somebody else has taken its name."""
    temporary = Path(tempfile.gettempdir())
    house = temporary / _NAME
    with contextlib.suppress(FileExistsError):
        house.mkdir(mode=0o700)
    found = house.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return house
    return Path(tempfile.mkdtemp(prefix=f"{_NAME}-", dir=temporary))


def _claim(house: Path) -> tuple[Path, int]:
    """A new folder and its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=house))
        lock = _open(folder)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():  # else somebody found it before it was locked
            return folder, lock
        os.close(lock)


def _open(folder: Path) -> int:
    return os.open(folder, _FOLDER)
