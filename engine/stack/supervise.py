"""The supervisor: one thread, one loop, started as ``python -m engine.stack.supervise`` with a plan on its stdin.

Each turn: read which signals came, reap who ended, start who is due, kill who outstayed its grace, write the state.
Where a file changes of which a component's configuration is made, a process of its own makes it anew.
It adopts what its components leave behind and ends that too when the stack goes down.
Windsock's own components are forks of it, and share what it has imported for them (:mod:`engine.stack.forked`).
By itself it uses the standard library and msgspec only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from engine.linux import adopt_orphans, children_of, die_with_parent, start_mark
from engine.stack import forked
from engine.stack.aside import drop_aside, put_aside
from engine.stack.child import Child
from engine.stack.component import Component, Plan, Watched
from engine.stack.state import Phase, StackState, encode_state, remove_state, write_pid, write_state
from engine.stack.watching import LOOK_SECONDS, Watcher

_LOG_TAIL_LINES = 5
_LOG_TAIL_BYTES = 8192
_LOG_ROTATE_BYTES = 10_000_000
_LEFTOVER_GRACE_SECONDS = 5.0
_PUBLISH_RETRY_SECONDS = 1.0


class Supervisor:
    """Owns the components of one plan from start to stop."""

    def __init__(self, plan: Plan, log_fd: int) -> None:
        self.plan = plan
        self.home = Path(plan.home)
        self.log_fd = log_fd
        self.started_at = time.time()
        self.children = [Child(component, plan) for component in plan.components]
        self.log_starts: dict[str, int] = {}  # size of each log when its component was last started
        self.stopping = False
        self.can_fork = any(component.words for component in plan.components) and forked.prepare(plan.imports)
        self.unpublished = False  # the state file does not hold the latest
        self.aside: int | None = None  # holds it meanwhile
        self.watcher = Watcher(plan.watched)
        self.look_at = time.time() + LOOK_SECONDS
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    # -- life ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start everything, then turn until told to stop and nothing is left."""
        self._listen()
        adopt_orphans()
        for child in self.children:
            self._begin(child)
        self._publish()
        while not (self.stopping and self._stop_next()):
            self._turn()
        self._end_leftovers()
        self._say("the stack is down")
        with contextlib.suppress(OSError):
            remove_state(self.home)

    def _turn(self) -> None:
        self._wait()
        changed = self._reap()
        now = time.time()
        for child in self.children:
            if child.is_due(now) and not self.stopping:
                child.restarts += 1
                self._spawn(child)
                changed = True
            if child.must_be_killed(now):
                child.outstayed()
                grace = child.component.stop_grace_seconds
                self._say(f"{child.component.name} did not stop in {grace:g} s: killing it", loud=True)
                _kill_group(child.pid, signal.SIGKILL)
        if self.plan.watched and now >= self.look_at and not self.stopping:
            self.look_at = now + LOOK_SECONDS
            for watched in self.watcher.changed():
                self._make_anew(watched)
        if changed or self.unpublished:
            self._publish()

    def _make_anew(self, watched: Watched) -> None:
        """Start what makes a configuration anew; its end is reaped like that of any other child."""
        child = next((child for child in self.children if child.component.name == watched.component), None)
        running = child is not None and child.pid is not None
        whom = (str(child.pid), child.pid_mark or "") if child is not None and running else ("0", "")
        maker = Component(name=f"configuration of {watched.component}", argv=(*watched.argv, *whom), env=watched.env)
        self._say(f"{watched.path} has changed")
        try:
            _start(maker, self.log_fd)
        except OSError as error:
            self._say(f"the {maker.name} cannot be made anew: {error.strerror}: {error.filename}", loud=True)

    def _listen(self) -> None:
        """Signals only wake the loop; SIGCHLD so that a death is seen at once."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_stop(self, *_: object) -> None:
        self.stopping = True

    def _wait(self) -> None:
        due = [moment for child in self.children for moment in (child.retry_at, child.kill_at) if moment is not None]
        if self.plan.watched:
            due.append(self.look_at)
        if self.unpublished:
            due.append(time.time() + _PUBLISH_RETRY_SECONDS)
        timeout = max(0.0, min(due) - time.time()) if due else None
        owner = [sys.stdin.fileno()] if self.plan.foreground and not self.stopping else []
        readable, _, _ = select.select([self._wake_read, *owner], [], [], timeout)
        if any(descriptor in readable for descriptor in owner):
            self._say("who started the stack in the foreground is gone: stopping")
            self.stopping = True
        self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    # -- starting --------------------------------------------------------------------------------------------------

    def _begin(self, child: Child) -> None:
        if not child.component.is_installed:
            child.phase = Phase.NOT_INSTALLED
        elif child.component.blocked_by:
            child.phase, child.note = Phase.BLOCKED, child.component.blocked_by
        else:
            self._spawn(child)

    def _spawn(self, child: Child) -> None:
        component = child.component
        path = log_path(self.plan.logs, component.name)
        try:
            self.log_starts[component.name] = path.stat().st_size if path.exists() else 0
            pid = self._start(component, path)
        except OSError as error:
            child.started_at = time.time()
            self._died(child, f"could not be started: {error.strerror}: {error.filename}")
            return
        child.started(pid, start_mark(pid), time.time())
        again = " again" if child.restarts else ""
        self._say(f"{component.name} started{again} (pid {pid})", loud=child.restarts > 0)

    def _start(self, component: Component, log: Path) -> int:
        descriptor = open_log(log)
        try:
            if component.words and self.can_fork:
                return forked.fork(component, descriptor)
            return _start(component, descriptor)
        finally:
            os.close(descriptor)

    # -- dying -----------------------------------------------------------------------------------------------------

    def _reap(self) -> bool:
        changed = False
        for pid, status in _ended():
            child = next((child for child in self.children if child.pid == pid), None)
            if child is not None:  # else an adopted grandchild: reaping it is all it needs
                self._died(child, child.describe_exit(status))
                changed = True
        return changed

    def _died(self, child: Child, how: str) -> None:
        now = time.time()
        lived = now - (child.started_at or now)
        delay = child.ended(how, now)
        name = child.component.name
        if delay is None:
            self._say(f"{name} stopped ({how})")
            return
        path = log_path(self.plan.logs, name)
        self._say(f"{name} died after {lived:.1f} s: {how}; starting it again in {delay:g} s. Log: {path}", loud=True)
        for line in last_lines(path, since=self.log_starts.get(name, 0)):
            self._say(f"    {line}", loud=True)

    # -- stopping --------------------------------------------------------------------------------------------------

    def _stop_next(self) -> bool:
        """Stop in the reverse order of the start, each when its successor is gone. Return whether all are gone."""
        for child in reversed(self.children):
            if child.phase is Phase.STOPPING:
                return False
            if child.stop(time.time()):
                _signal(child.pid, signal.SIGTERM)
                self._publish()
                return False
        return True

    def _end_leftovers(self) -> None:
        """What components left behind was adopted by this process: TERM, and KILL after the grace."""
        for number, grace in ((signal.SIGTERM, _LEFTOVER_GRACE_SECONDS), (signal.SIGKILL, _LEFTOVER_GRACE_SECONDS)):
            deadline = time.time() + grace
            for pid in children_of(os.getpid()):
                self._say(f"ending process {pid}, left by a component ({number.name})")
                _signal(pid, number)
            while children_of(os.getpid()) and (left := deadline - time.time()) > 0:
                select.select([self._wake_read], [], [], left)
                self._drain()
                self._reap()

    # -- telling ---------------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        """Write the state; on a disk that is full, again a little later, and into memory: nobody must die of that."""
        snapshots = tuple(child.snapshot() for child in self.children)
        state = StackState(
            pid=os.getpid(), started_at=self.started_at, components=snapshots, settings=self.plan.settings
        )
        try:
            write_state(self.home, state)
        except OSError as error:
            if not self.unpublished:
                self._say(f"the state cannot be written, so it is tried again: {error}", loud=True)
            self.unpublished = True
            self.aside = put_aside(encode_state(state), self.aside)
        else:
            self.unpublished = False
            drop_aside(self.aside)
            self.aside = None

    def _say(self, sentence: str, *, loud: bool = False) -> None:
        """Write to the supervisor's log; what is loud, in the foreground, also to the terminal.

        Either may take no more, the disk being full or the terminal gone.
        """
        line = f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {sentence}\n"
        with contextlib.suppress(OSError):
            os.write(self.log_fd, line.encode(errors="backslashreplace"))
        if loud and self.plan.foreground:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"{sentence}\n")
                sys.stderr.flush()


def log_path(logs: Path | str, name: str) -> Path:
    """The log of one component, below the log folder."""
    return Path(logs) / name / f"{name}.log"


def last_lines(path: Path, count: int = _LOG_TAIL_LINES, since: int = 0) -> list[str]:
    """Return the last lines of a log that are not blank, none from before the offset `since`."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        size = path.stat().st_size
        file.seek(max(since if since <= size else 0, size - _LOG_TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
        return [line for line in lines if line.strip()][-count:]
    return []


def open_log(path: Path) -> int:
    """Open a component's log for appending; a log beyond 10 MB is first put aside as ``.1``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_ROTATE_BYTES:
            path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def _start(component: Component, log: int) -> int:
    """Start the component in a process group of its own; the kernel kills it should the supervisor die."""
    process = subprocess.Popen(
        component.argv,
        env=os.environ | component.env,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        process_group=0,
        preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509  (this process has one thread)
    )
    process.returncode = 0  # waitpid(-1) reaps it, not subprocess
    return process.pid


def _ended() -> Iterator[tuple[int, int]]:
    """Reap everybody who has ended: (pid, wait status)."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def _signal(pid: int | None, number: int) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _kill_group(pid: int | None, number: int) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)


def _is_told() -> bool:
    return bool(select.select([sys.stdin.fileno()], [], [], 0)[0])


def main() -> None:
    """Read the plan, one line, from stdin and supervise it until TERM; in the foreground also until stdin ends.

    The only argument is the number of the locked pid file. Until the plan comes, this imports; without one, it ends.
    """
    if len(sys.argv) > 1:
        lock = int(sys.argv[1])
        os.set_inheritable(lock, False)
        write_pid(lock, os.getpid())  # before the plan, so that it can be stopped while it waits for that
    forked.import_ahead(enough=_is_told)
    told = sys.stdin.buffer.readline()
    if not told:
        return
    plan = msgspec.json.decode(told, type=Plan)
    Supervisor(plan, open_log(log_path(plan.logs, "stack"))).run()


if __name__ == "__main__":
    main()
