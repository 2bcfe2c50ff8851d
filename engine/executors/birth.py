"""The supervisor's process: a fork of its scheduler while that has neither threads nor connections, else a program.

A fork shares what both have imported: 14 MB of its own become 6. In all else it is as if it had been started: in a
session of its own, without any file but its socket and where the log goes, and it outlives its scheduler. The first one
is born this way; the one that replaces it, should it die, is started.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import traceback
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol

from engine.executors import supervise
from engine.linux import retitle

if TYPE_CHECKING:
    from engine.config import Settings

_MODULE = "engine.executors.supervise"


class Child(Protocol):
    """A child process, as subprocess.Popen has it."""

    @property
    def pid(self) -> int:
        """Its number."""

    def wait(self) -> int:
        """Wait for its end; returns the exit code, or less than 0 where a signal ended it."""

    def kill(self) -> None:
        """End it, if it has not ended."""


class Newborn(NamedTuple):
    """A supervisor that waits for its scheduler's first word, and our end of what connects us."""

    process: Child
    sock: socket.socket


class Fork:
    """A forked child."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def wait(self) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def kill(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)


def fork(settings: Settings) -> Newborn | None:
    """None where this process has threads, of which a fork would hold the locks. To be called before connecting."""
    if threading.active_count() > 1:
        return None
    ours, theirs = socket.socketpair()
    with theirs:
        pid = os.fork()
        if pid == 0:
            _become(settings, theirs)
    return Newborn(Fork(pid), ours)


def start() -> Newborn:
    """Start the program."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", _MODULE, str(theirs.fileno())]
        # Its own session: a Ctrl-C in the terminal is for the scheduler, which lets attempts end properly.
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
    return Newborn(process, ours)


def _become(settings: Settings, sock: socket.socket) -> NoReturn:
    code = 1
    try:
        os.setsid()
        _let_go_of_files(sock.fileno())
        retitle((_MODULE,))  # there is room for that whatever started the scheduler
        random.seed()
        gc.freeze()  # a collection must not touch, and so copy, the pages it shares
        code = supervise.serve(settings, sock)
    except BaseException:  # a supervisor must never fall back into the scheduler's start
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _let_go_of_files(kept: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
