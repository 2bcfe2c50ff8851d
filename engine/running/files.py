"""File zygotes: one second-level zygote per DAG file, which holds the file's imports so that they are paid once.

A file's zygote is made when an attempt first needs it, replaced when the file or what it imported from beside it has
changed, and let go after some idle minutes. While it imports, the attempts that need it wait here.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, Literal

from engine.running import messages
from engine.running.messages import AttemptOrder, FromAttempt, Imported, ImportOrder
from engine.running.wire import Hangup, Stream
from engine.running.zygote import ZygoteClient

_IDLE_SECONDS: Final = 300.0
_MOST: Final = 64
_CLOCK_TICK: Final = 10_000_000  # ns by which a file's time may lag behind the clock
_NEVER: Final = (-1, -1)  # a mark that no file has

Waiting = tuple[str, int, int]  # token, and the files for its fork: log pipe and channel


@dataclass(slots=True, eq=False)
class FileZygote:
    """One DAG file's zygote."""

    fileloc: str
    client: ZygoteClient
    channel: Stream
    job_id: int  # its own, in the first-level zygote
    deadline: float
    began: int  # ns since the epoch: files that changed since then may have been imported old or new
    ready: bool = False
    threads: bool = False
    hung_up: bool = False
    silent: bool = False
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    used: float = 0.0


class FileZygotes:
    """The file zygotes of one supervisor."""

    def __init__(self, import_timeout: float) -> None:
        self._timeout = import_timeout
        self._zygotes: dict[str, FileZygote] = {}
        self._retired: list[FileZygote] = []  # replaced, but some attempt of theirs may still run

    def ready(self, fileloc: str) -> ZygoteClient | Literal["threads"] | None:
        """The zygote to fork from; "threads" where that is not safe; None while there is none or it imports."""
        zygote = self._zygotes.get(fileloc)
        if zygote is None or not zygote.ready:
            return None
        if _marks(zygote.marks) != zygote.marks:
            self._retired.append(self._zygotes.pop(fileloc))
            return None
        zygote.used = time.monotonic()
        return "threads" if zygote.threads else zygote.client

    def wait(self, order: AttemptOrder, log_fd: int, channel_fd: int, base: ZygoteClient, jobs: Iterator[int]) -> None:
        """Have an attempt wait for its file's zygote, which the first one starts. Keeps copies of the two files.

        Raises OSError, and keeps nothing, where this process cannot open more files.
        """
        if order.fileloc not in self._zygotes:
            importing = ImportOrder(order.fileloc, order.dags_folder)
            self._zygotes[order.fileloc] = self._start(importing, log_fd, base, next(jobs))
        log_copy = os.dup(log_fd)
        try:
            channel_copy = os.dup(channel_fd)
        except OSError:
            os.close(log_copy)
            raise
        self._zygotes[order.fileloc].waiting.append((order.token, log_copy, channel_copy))

    def _start(self, order: ImportOrder, log_fd: int, base: ZygoteClient, job_id: int) -> FileZygote:
        began = time.time_ns()
        with ExitStack() as ours, ExitStack() as theirs:
            zygote_ours, zygote_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.enter_context(zygote_ours)
            theirs.enter_context(zygote_theirs)
            channel_ours, channel_theirs = socket.socketpair()
            ours.enter_context(channel_ours)
            theirs.enter_context(channel_theirs)
            fds = [log_fd, channel_theirs.fileno(), zygote_theirs.fileno()]
            base.fork(job_id, messages.encode(order), fds, serves=True)
            ours.pop_all()  # ours stay open
        deadline = time.monotonic() + self._timeout
        return FileZygote(order.fileloc, ZygoteClient(zygote_ours), Stream(channel_ours), job_id, deadline, began)

    def hear(self, fileloc: str) -> list[FromAttempt]:
        """What the importing process says; an end without a word is told by its exit."""
        zygote = self._zygotes.get(fileloc)
        if zygote is None:
            return []
        try:
            heard = [messages.from_attempt.decode(body) for body in zygote.channel.receive()]
        except Hangup:
            zygote.silent = True
            return []
        for message in heard:
            if isinstance(message, Imported):
                zygote.ready, zygote.threads = True, message.threads
                zygote.marks = _certain(_marks(dict.fromkeys(message.sources, _NEVER)), zygote.began)
                zygote.used = time.monotonic()
        return heard

    def client(self, fileloc: str) -> ZygoteClient:
        """The zygote of a file that has just been imported, for those who waited for it."""
        return self._zygotes[fileloc].client

    def waiting(self, fileloc: str) -> list[Waiting]:
        """Take out the attempts that wait for a file; the caller owns their files."""
        zygote = self._zygotes.get(fileloc)
        if zygote is None:
            return []
        taken, zygote.waiting = zygote.waiting, []
        return taken

    def __bool__(self) -> bool:
        """Whether there is any: they are children of the first-level zygote."""
        return bool(self._zygotes or self._retired)

    def names(self) -> list[str]:
        """The files that have a zygote."""
        return list(self._zygotes)

    def clients(self) -> list[ZygoteClient]:
        """Every zygote that may speak."""
        return [zygote.client for zygote in self._all() if not zygote.hung_up]

    def channels(self) -> list[tuple[Stream, str]]:
        """Channels of files that are being imported."""
        return [(z.channel, z.fileloc) for z in self._zygotes.values() if not z.ready and not z.silent]

    def deadlines(self) -> list[float]:
        """When imports in progress must be over."""
        return [zygote.deadline for zygote in self._zygotes.values() if not zygote.ready]

    def overdue(self, now: float) -> list[FileZygote]:
        """Those that take too long to import."""
        return [zygote for zygote in self._zygotes.values() if not zygote.ready and now >= zygote.deadline]

    def owner_of(self, job_id: int) -> FileZygote | None:
        """The file zygote that the first-level zygote made for this job; None when it was dropped already."""
        return next((zygote for zygote in self._all() if zygote.job_id == job_id), None)

    def hang_up(self, client: ZygoteClient) -> None:
        """A zygote has closed its socket: do not listen to it any more."""
        for zygote in self._all():
            if zygote.client is client:
                zygote.hung_up = True

    def drop(self, zygote: FileZygote) -> None:
        """Let one go."""
        if zygote in self._retired:
            self._retired.remove(zygote)
        elif self._zygotes.get(zygote.fileloc) is zygote:
            del self._zygotes[zygote.fileloc]
        _close(zygote)

    def evict_idle(self, now: float) -> None:
        """Let go of zygotes that nobody has used for a while, and of the oldest beyond a number."""
        idle = [z for z in self._zygotes.values() if z.ready and not z.waiting]
        idle.sort(key=lambda z: z.used)
        surplus = max(0, len(self._zygotes) - _MOST)
        for number, zygote in enumerate(idle):
            if number < surplus or now - zygote.used > _IDLE_SECONDS:
                # Not closed: attempts that it forked may run on. It leaves when the last of them has ended.
                self._retired.append(self._zygotes.pop(zygote.fileloc))

    def release_retired(self, busy: set[ZygoteClient]) -> None:
        """Close retired zygotes that have no attempt left."""
        for zygote in [zygote for zygote in self._retired if zygote.client not in busy]:
            self._retired.remove(zygote)
            _close(zygote)

    def close(self) -> None:
        """Let all go."""
        for zygote in self._all():
            _close(zygote)
        self._zygotes.clear()
        self._retired.clear()

    def _all(self) -> list[FileZygote]:
        return [*self._zygotes.values(), *self._retired]


def _close(zygote: FileZygote) -> None:
    zygote.client.close()
    zygote.channel.close()


def _certain(marks: dict[str, tuple[int, int]], began: int) -> dict[str, tuple[int, int]]:
    """Marks of what was surely imported as it is now; a file that changed meanwhile makes the zygote stale at once."""
    return {file: mark if mark[0] < began - _CLOCK_TICK else _NEVER for file, mark in marks.items()}


def _marks(files: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Change time (of the inode: tools that keep modification times cannot hide behind them) and size of files."""
    marks = {}
    for file in files:
        try:
            status = os.stat(file)  # noqa: PTH116 - on the way to every attempt
            marks[file] = (status.st_ctime_ns, status.st_size)
        except OSError:
            marks[file] = (0, 0)
    return marks
