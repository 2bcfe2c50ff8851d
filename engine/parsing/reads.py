"""What a DAG file is made of besides itself and what it imports from beside it: the interpreter's audit events tell.

A file that reads nothing, or only what is as it was, has no reason to give other DAGs than the last time. One that asks
the network, a database or another process may give others at any time.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

Stamp = tuple[int, int]  # modification time in ns, size
GONE: Final[Stamp] = (0, 0)
"""Of what is not there."""

MOST: Final = 200  # files; one that reads more is taken for one that asks others
_ASKING: Final = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.system",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.sendto",
        "sqlite3.connect",
        "subprocess.Popen",
    }
)
_LISTING: Final = frozenset({"os.listdir", "os.scandir"})
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# Drivers of databases that are there before a DAG file is imported, and of which it is not heard when they ask.
_THERE_ALREADY: Final = (b"psycopg", b"sqlalchemy")
_COMPILED: Final = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_STANDARD: Final = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib"))
_ADDED: Final = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("purelib", "platlib"))
_MACHINERY: Final = "<frozen importlib"  # modules are told by sys.modules
_PACKAGE: Final = Path(__file__).parent.parent
# What does not change under a process that runs, or is no file.
_FIXED: Final = tuple(
    f"{folder}{os.sep}"
    for given in (
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        str(_PACKAGE),
        str(_PACKAGE.parent / "alerting"),
        "/usr/share/zoneinfo",
        "/proc",
        "/sys",
        "/dev",
    )
    for folder in sorted({given, os.path.realpath(given)})
)


def stamp(path: str) -> Stamp:
    """What changes when a file or the list of a folder does."""
    try:
        status = os.stat(path)  # noqa: PTH116 - of many files at every look
    except (OSError, ValueError):
        return GONE
    return status.st_mtime_ns, status.st_size


class Reads:
    """Hears what is read from :meth:`listen` on, until the process ends: an audit hook cannot be taken away."""

    def __init__(self) -> None:
        self.asks = False  # somebody whose answer may be another the next time
        self._seen: dict[str, Stamp] = {}
        self._written: set[str] = set()

    def listen(self) -> None:
        """Begin."""
        sys.addaudithook(self._hear)

    def of(self, modules: Iterable[str], left_out: Iterable[str]) -> dict[str, Stamp]:
        """Path → how it was before it was read; `modules` are files that were imported.

        What the process wrote itself says nothing, nor do the paths `left_out`.
        """
        for path in modules:
            self._note(path)
        unsaid = self._written.union(left_out)
        return {path: found for path, found in self._seen.items() if path not in unsaid}

    def may_ask_unheard(self, modules: Iterable[str], sources: Iterable[str]) -> bool:
        """Whether it imported compiled code, of which nothing is heard, or names a driver that was imported before."""
        if any(path.endswith(_COMPILED) and not _is_standard(path) for path in modules):
            return True
        return any(word in _text(path) for path in sources for word in _THERE_ALREADY)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _ASKING:
            self.asks = True
        elif (event == "open" or event in _LISTING) and not _is_import(sys._getframe(1).f_code.co_filename):
            with contextlib.suppress(OSError, ValueError):  # the user's code must not fail for our sake
                self._read(event, arguments)

    def _read(self, event: str, arguments: tuple[Any, ...]) -> None:
        path = "." if arguments[0] is None else arguments[0]
        if not isinstance(path, str | bytes):  # an open file's number: it was heard when it was opened
            return
        path = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        if event == "open" and _writes(arguments[1], arguments[2]):
            self._written.add(path)
        else:
            self._note(path)

    def _note(self, path: str) -> None:
        if path in self._seen or path.startswith(_FIXED):
            return
        if len(self._seen) < MOST and path.isprintable():
            self._seen[path] = stamp(path)
        else:
            self.asks = True


def _is_standard(path: str) -> bool:
    return path.startswith(_STANDARD) and not path.startswith(_ADDED)


def _text(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _is_import(caller: str) -> bool:
    return caller.startswith(_MACHINERY)


def _writes(mode: str | None, flags: int | None) -> bool:
    return bool((flags or 0) & _WRITING) or bool(set(mode or "") & set("wax+"))
