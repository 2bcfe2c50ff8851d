"""A fork server: one slim, single-threaded, pre-imported process that forks others on request.

Who does what. A client starts a zygote and sends it *jobs*: a number, a payload and open files. The zygote forks a
child for each, says so (:class:`Forked` or :class:`Refused`), reaps it and says how it ended (:class:`Exited`). A
job may also name a program: that is spawned without a fork (:mod:`engine.running.launcher`). The zygote
passes signals on, and says when the system forbids that (:class:`Untouchable`). The child runs the zygote's *handler*
in a session of its own, so that a whole process group can be signalled, and its exit code is the handler's return
value. A handler may itself call :func:`serve` and so become a zygote of the second level.

What a child has started ends with it, also what has left its session: each child is the reaper of its descendants, and
the zygote that of its children, so that whatever a dead child leaves behind becomes the zygote's own child.

When somebody dies. The kernel tells a zygote of its client's death, and kills a child with its zygote, whatever they
are doing (PR_SET_PDEATHSIG). A zygote that loses its client, or is told to end, first kills the process groups of its
children, since what a child has started is not tied to anybody's life; then it exits. The client learns of its zygote's
death by :class:`ZygoteDied`; no child survives that, but after a SIGKILL what the children had started does: the client
ends their groups (:func:`end_group`), whose numbers it knows from :class:`Forked`.

The wire is a SOCK_SEQPACKET pair: one msgpack packet a message, files as SCM_RIGHTS. A payload too large for a packet
travels in a memfd. This module is imported by every task process: keep it slim.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from engine.linux import adopt_orphans, be_killed_first, die_with_parent, own_children
from engine.running import file_limit
from engine.running.launcher import Launcher

Handler = Callable[[bytes, list[int]], int]

_MAX_FDS = 16
_MAX_PACKET = 65_536
_INLINE_PAYLOAD = 32_768
_TRY_AGAIN = (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)  # the kernel has too much in flight
_FAREWELL_SECONDS = 5.0
_STRAY_SECONDS = 0.01
_LAST_STRAYS = 100  # looks of a zygote that leaves
_LEAVE = signal.SIGUSR2  # tells a zygote to end its children and exit
_RESET = (signal.SIGTERM, signal.SIGINT, _LEAVE)  # what a child does not inherit the handling of


class ForkJob(msgspec.Struct, frozen=True, tag="fork"):
    """Fork a child; `payload` is None where it travels in the first of the files.

    A child that `serves` becomes a zygote itself: when it has to go it is asked to, so that it ends its own children.
    """

    job_id: int
    payload: bytes | None
    serves: bool = False


class SpawnJob(msgspec.Struct, frozen=True, tag="spawn"):
    """Start a program in `folder`, made if missing. `env` is added to the zygote's own; its file takes the output."""

    job_id: int
    program: str
    argv: list[str]
    env: dict[str, str]
    folder: str


class KillJob(msgspec.Struct, frozen=True, tag="kill"):
    """Send a signal to a child's process group; nothing happens once it has been reaped."""

    job_id: int
    signal: int


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    """The child runs."""

    job_id: int
    pid: int


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """The child was reaped. `status` is a wait status (os.waitstatus_to_exitcode); seconds and bytes.

    `alone` says that all that it had started is gone. Otherwise some of it may live for a moment, or go on as another
    user.
    """

    job_id: int
    status: int
    user_seconds: float
    system_seconds: float
    max_rss_bytes: int
    alone: bool = False

    @property
    def exit_code(self) -> int | None:
        code = os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else None

    @property
    def signal(self) -> int | None:
        code = os.waitstatus_to_exitcode(self.status)
        return -code if code < 0 else None


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The system made no child: too many processes, too many open files, or no memory."""

    job_id: int
    error: str


class Untouchable(msgspec.Struct, frozen=True, tag="untouchable"):
    """The system forbids us to signal the child: it has become another user. It ends when it ends."""

    job_id: int


_requests = msgspec.msgpack.Decoder(ForkJob | SpawnJob | KillJob)
Event = Forked | Exited | Refused | Untouchable

_events = msgspec.msgpack.Decoder(Event)
_encoder = msgspec.msgpack.Encoder()


class ZygoteDied(Exception):
    """The zygote is gone, and with it all its children."""


class ZygoteClient:
    """The owner's end of one zygote: register :meth:`fileno` for reading and call :meth:`read_events`."""

    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes] | None = None) -> None:
        self._sock = sock
        self._process = process
        self._outgoing: deque[tuple[bytes, tuple[int, ...]]] = deque()
        sock.setblocking(False)

    @classmethod
    def start(cls, entry: str) -> ZygoteClient:
        """Start a first-level zygote in a fresh interpreter. `entry` is ``module:function``, a :data:`Handler`.

        Raises OSError where none can be started.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [
                sys.executable,
                "-m",
                "engine.running.zygote",
                str(theirs.fileno()),
                str(os.getpid()),
                str(file_limit.usual()),
                entry,
            ]
            try:
                process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
            except OSError:
                ours.close()
                raise
        return cls(ours, process)

    @property
    def pid(self) -> int | None:
        """Process id of a first-level zygote."""
        return self._process.pid if self._process else None

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def wants_to_write(self) -> bool:
        """Requests wait for room in the socket; call :meth:`flush` when it is writable."""
        return bool(self._outgoing)

    def fork(self, job_id: int, payload: bytes, fds: Sequence[int] = (), *, serves: bool = False) -> None:
        """Ask for a child. The files are duplicated into it; the caller may close its own copies on return.

        Raises OSError, and asks for nothing, where this process cannot open more files.
        """
        inline = len(payload) <= _INLINE_PAYLOAD
        duplicates: list[int] = []
        try:
            if not inline:
                duplicates.append(_memory_file(payload))
            for fd in fds:
                duplicates.append(os.dup(fd))
        except OSError:
            _close_all(duplicates)
            raise
        self._queue(_encoder.encode(ForkJob(job_id, payload if inline else None, serves)), tuple(duplicates))

    def spawn(self, job: SpawnJob, output: int) -> None:
        """Ask for a program, whose output goes to a duplicate of the file `output`.

        Raises OSError, and asks for nothing, where this process cannot open more files.
        """
        self._queue(_encoder.encode(job), (os.dup(output),))

    def kill(self, job_id: int, signal_number: int) -> None:
        """Signal the process group of a child."""
        self._queue(_encoder.encode(KillJob(job_id, signal_number)), ())

    def _queue(self, packet: bytes, fds: tuple[int, ...]) -> None:
        self._outgoing.append((packet, fds))
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes. A dead zygote is told by :meth:`read_events`, not here."""
        while self._outgoing:
            packet, fds = self._outgoing[0]
            try:
                socket.send_fds(self._sock, [packet], fds)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _TRY_AGAIN:
                    return
            self._outgoing.popleft()
            _close_all(fds)

    def read_events(self) -> list[Event]:
        """What has happened since the last call, oldest first, without waiting. Raises :class:`ZygoteDied`."""
        events: list[Event] = []
        while True:
            try:
                packet = self._sock.recv(_MAX_PACKET)
            except BlockingIOError:
                return events
            except OSError:
                packet = b""
            if not packet:
                if events:
                    return events  # the next call finds the end of the stream again
                raise ZygoteDied
            events.append(_events.decode(packet))

    def close(self) -> None:
        """Let the zygote go, and its children with all that they started; waits for a first-level one."""
        self._sock.close()
        for _, fds in self._outgoing:
            _close_all(fds)
        self._outgoing.clear()
        if self._process:
            try:
                self._process.wait(_FAREWELL_SECONDS)  # it sees the end of the socket
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _memory_file(payload: bytes) -> int:
    fd = os.memfd_create("job", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(payload)
    return fd


def _read_memory_file(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read()


def serve(sock: socket.socket, handler: Handler) -> None:
    """Serve one client until it closes its end. Returns in the zygote only; children leave through ``os._exit``."""
    _Server(sock, handler).run()


class _Server:
    def __init__(self, sock: socket.socket, handler: Handler) -> None:
        self._sock = sock
        self._handler = handler
        self._poller = select.epoll()
        self._pid = os.getpid()
        self._pids: dict[int, int] = {}  # job → pid
        self._servants: set[int] = set()  # jobs that are zygotes themselves
        self._jobs: dict[int, int] = {}  # pidfd → job
        self._outgoing: deque[bytes] = deque()
        self._launcher: Launcher | None = None  # until it is needed
        self._spared: set[int] = set()  # children that are neither jobs nor strays
        self._straying = False  # strays were told to end and are not reaped yet
        sock.setblocking(False)
        self._poller.register(sock.fileno(), select.EPOLLIN)

    def run(self) -> None:
        file_limit.lift()  # one file a child
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # service managers send it to everybody; the owner decides
        signal.signal(_LEAVE, self._on_leave)
        die_with_parent(os.getppid(), _LEAVE)
        gc.collect()
        gc.freeze()  # collections in children must not touch, and so copy, the pages they share
        adopt_orphans()
        self._spared.update(own_children())  # started by a DAG file's import, which lives as long as this process
        self._serve()
        self._end_children()

    def _on_leave(self, *_: object) -> None:
        if os.getpid() == self._pid:  # else a child that has not yet put the signal back
            self._end_children()
        os._exit(0)

    def _end_children(self) -> None:
        for job_id, pid in self._pids.items():
            end_group(pid, _LEAVE if job_id in self._servants else signal.SIGKILL)
        self._end_last_strays()
        if os.getpgrp() == self._pid:
            os.killpg(self._pid, signal.SIGKILL)  # what the imports of a second-level zygote started, and itself

    def _end_last_strays(self) -> None:
        """Wait for the children that were just ended, and end what they leave behind."""
        for _ in range(_LAST_STRAYS):
            while _reaped():
                pass
            self._pids = {job: pid for job, pid in self._pids.items() if pid in own_children()}
            self._end_strays()
            if not (self._pids or self._straying):
                return
            time.sleep(_STRAY_SECONDS)

    def _serve(self) -> None:
        while True:
            for fd, mask in self._poller.poll(_STRAY_SECONDS if self._straying else None):
                if fd != self._sock.fileno():
                    self._reap(fd)
                    continue
                if mask & select.EPOLLOUT:
                    self._flush()
                if mask & ~select.EPOLLOUT and not self._read_requests():
                    return
            if self._straying:
                self._end_strays()

    def _read_requests(self) -> bool:
        while True:
            try:
                packet, fds, flags, _ = socket.recv_fds(self._sock, _MAX_PACKET, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not packet:
                return False
            request = _requests.decode(packet)
            if isinstance(request, KillJob):
                self._kill(request)
            elif flags & socket.MSG_CTRUNC:  # its files did not all fit into our table
                _close_all(fds)
                self._send(Refused(request.job_id, os.strerror(errno.EMFILE)))
            elif isinstance(request, SpawnJob):
                self._spawn(request, fds)
            else:
                self._fork(request, fds)

    def _fork(self, job: ForkJob, fds: list[int]) -> None:
        parent = os.getpid()
        # A signal that comes before the child has put its handlers back must wait: here they say "ignore".
        signal.pthread_sigmask(signal.SIG_BLOCK, _RESET)
        try:
            reserved = os.dup(self._sock.fileno())  # the place for its pidfd: without one it must not begin
            try:
                pid = os.fork()
            finally:
                os.close(reserved)
        except OSError as error:
            self._send(Refused(job.job_id, error.strerror or str(error)))
            return
        finally:
            if os.getpid() == parent:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _RESET)
                _close_all(fds)
        if pid == 0:
            self._become_child(job, fds, parent)
        self._watch(job, pid)

    def _spawn(self, job: SpawnJob, fds: list[int]) -> None:
        try:
            self._launcher = self._launcher or Launcher()
            reserved = os.dup(self._sock.fileno())  # as for a fork
            try:
                env = {**os.environ, **job.env}
                pid = self._launcher.spawn(job.program, job.argv, env, job.folder, fds[0])
                be_killed_first(pid)
            finally:
                os.close(reserved)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the command
            self._send(Refused(job.job_id, str(error)))
            return
        finally:
            _close_all(fds)
        self._watch(job, pid)

    def _watch(self, job: ForkJob | SpawnJob, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
            self._poller.register(pidfd, select.EPOLLIN)
        except OSError as error:  # no memory, or the whole system is out of files: its end could not be seen
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._send(Refused(job.job_id, error.strerror or str(error)))
            return
        self._pids[job.job_id], self._jobs[pidfd] = pid, job.job_id
        if isinstance(job, ForkJob) and job.serves:
            self._servants.add(job.job_id)
        self._send(Forked(job.job_id, pid))

    def _become_child(self, job: ForkJob, fds: list[int], parent: int) -> None:
        code = 1
        try:
            os.setsid()
            die_with_parent(parent)
            self._poller.close()
            self._sock.close()
            for pidfd in self._jobs:
                os.close(pidfd)
            for number in _RESET:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            file_limit.restore()
            random.seed()
            if not job.serves:
                adopt_orphans()
                be_killed_first()
            payload = _read_memory_file(fds.pop(0)) if job.payload is None else job.payload
            code = self._handler(payload, fds)
            sys.stdout.flush()
            sys.stderr.flush()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:  # a child must never fall back into the server's loop
            traceback.print_exc()
        finally:
            os._exit(code)

    def _kill(self, request: KillJob) -> None:
        if pid := self._pids.get(request.job_id):
            try:
                self._signal(pid, request.signal)
            except PermissionError:
                self._send(Untouchable(request.job_id))

    def _signal(self, pid: int, number: int) -> None:
        try:
            os.killpg(pid, number)
        except ProcessLookupError:  # forked, but its setsid() has not run yet
            os.kill(pid, number)

    def _reap(self, pidfd: int) -> None:
        job_id = self._jobs.pop(pidfd)
        pid = self._pids.pop(job_id)
        self._servants.discard(job_id)
        end_group(pid)  # before wait4 frees the number: daemons of the task end with it
        _, status, usage = os.wait4(pid, 0)
        self._poller.unregister(pidfd)
        os.close(pidfd)
        straying = self._straying  # what was found when another one ended may be this one's
        alone = not self._end_strays() and not straying
        self._send(_exited(job_id, status, usage, alone=alone))

    def _end_strays(self) -> bool:
        """End what dead children have left behind; what that leaves behind in turn is found a moment later.

        Returns whether there was any.
        """
        self._straying = False
        children = set(own_children())
        self._spared &= children
        strays = children - self._spared.union(self._pids.values())
        for pid in strays:
            try:
                os.kill(pid, signal.SIGKILL)
                self._straying = True
                os.waitpid(pid, os.WNOHANG)
            except (ProcessLookupError, ChildProcessError):
                continue
            except PermissionError:
                self._spared.add(pid)  # it has become another user
        return bool(strays)

    def _send(self, event: Event) -> None:
        self._outgoing.append(_encoder.encode(event))
        self._flush()

    def _flush(self) -> None:
        while self._outgoing:
            try:
                self._sock.send(self._outgoing[0])
            except BlockingIOError:
                self._poller.modify(self._sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
                return
            except OSError:
                return  # the client is gone; reading says so next
            self._outgoing.popleft()
        self._poller.modify(self._sock.fileno(), select.EPOLLIN)


def end_group(pid: int, how: int = signal.SIGKILL) -> None:
    """Signal the process group of a child, if it is there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, how)


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


def _exited(job_id: int, status: int, usage: resource.struct_rusage, *, alone: bool) -> Exited:
    return Exited(job_id, status, usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024, alone)


def main(argv: list[str]) -> None:
    """``python -m engine.running.zygote FD CLIENT_PID FILE_LIMIT MODULE:FUNCTION``."""
    fd, client_pid, usual_limit, entry = argv
    file_limit.know(int(usual_limit))
    die_with_parent(int(client_pid))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the owner's to handle
    module, _, name = entry.partition(":")
    handler: Handler = getattr(importlib.import_module(module), name)
    with socket.socket(fileno=int(fd)) as sock:
        sock.set_inheritable(False)
        serve(sock, handler)
    os._exit(0)  # its owner waits, and to take an interpreter down takes longer than anything that it leaves


if __name__ == "__main__":
    main(sys.argv[1:])
