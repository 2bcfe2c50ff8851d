"""Starting the supervisor, waiting until all is well, stopping it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import msgspec

from engine.linux import start_mark
from engine.stack.component import Component, Plan
from engine.stack.health import Health, ReadBeats, Report, all_core_healthy, examine
from engine.stack.inventory import import_path, python
from engine.stack.ports import taken_ports
from engine.stack.state import read_state, remove_state, running_pid, take_lock
from engine.stack.supervise import log_path, open_log

HEALTHY_WITHIN_SECONDS = 60.0
_EXTRAS_PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.1  # a look costs CPU that the starting components need
_HOPELESS_AFTER_RESTARTS = 3
_STOP_SLACK_SECONDS = 30.0  # beyond the graces of all components
_LEFTOVER_SECONDS = 5.0
_MOVE_ALL = "to move all ports at once: docs/configuration.md, Other ports"


class StackError(Exception):
    """The stack cannot be started or stopped; the text says why and what to do."""


class Ended(Enum):
    """How the wait for health ended."""

    HEALTHY = "healthy"
    SUPERVISOR_DIED = "the supervisor died"
    HOPELESS = "a component dies again and again"
    TOO_SLOW = "not healthy in time"


class Outcome(NamedTuple):
    """The end of the wait, with the last look at each component."""

    ended: Ended
    reports: Sequence[Report]


def block_taken(components: Sequence[Component]) -> tuple[Component, ...]:
    """Mark the extras whose port is taken, so that they are not started; raise StackError where it hits the core."""
    taken = taken_ports(components)
    if problems := [text for component, _, text in taken if component.core]:
        raise StackError("\n".join([*problems, *([_MOVE_ALL] if len(problems) > 1 else [])]))
    blocked = {component.name: text for component, _, text in taken}
    return tuple(msgspec.structs.replace(c, blocked_by=blocked.get(c.name, "")) for c in components)


def call_supervisor(home: Path, logs: Path, lock: int, *, foreground: bool) -> subprocess.Popen[bytes]:
    """Start the supervisor in a session of its own, with the lock (closed here). It imports until it gets its plan."""
    log = open_log(log_path(logs, "stack"))
    try:
        return subprocess.Popen(
            (*python("engine.stack.supervise"), str(lock)),
            env=os.environ | import_path(),
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=None if foreground else log,
            pass_fds=(lock,),
            start_new_session=True,
        )
    finally:
        os.close(log)
        os.close(lock)


@contextlib.contextmanager
def sent_away_on_failure(supervisor: subprocess.Popen[bytes]) -> Iterator[None]:
    """Until it has its plan, a supervisor has nothing to put in order: where that cannot be made, it is ended."""
    try:
        yield
    except BaseException:
        supervisor.kill()
        supervisor.communicate()
        raise


def hand_over(plan: Plan, supervisor: subprocess.Popen[bytes]) -> None:
    """Give the supervisor its plan. Where it has died, the wait for health says so."""
    if supervisor.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            supervisor.stdin.write(msgspec.json.encode(plan) + b"\n")
            supervisor.stdin.flush()
            if not plan.foreground:
                supervisor.stdin.close()


def wait_until_healthy(
    home: Path, supervisor: subprocess.Popen[bytes], read_beats: ReadBeats, within: float = HEALTHY_WITHIN_SECONDS
) -> Outcome:
    """Wait for the core to be healthy, and a little longer for the rest."""
    began = time.monotonic()
    healthy_since: float | None = None
    reports: Sequence[Report] = ()
    while True:
        if supervisor.poll() is not None:
            return Outcome(Ended.SUPERVISOR_DIED, reports)
        state = read_state(home)
        if state is not None and state.pid == supervisor.pid:
            reports = examine(state, read_beats)
            now = time.monotonic()
            if all_core_healthy(reports):
                healthy_since = healthy_since or now
                if not _still_starting(reports) or now - healthy_since > _EXTRAS_PATIENCE_SECONDS:
                    return Outcome(Ended.HEALTHY, reports)
            elif any(report.is_core and _is_hopeless(report) for report in reports):
                return Outcome(Ended.HOPELESS, reports)
        if time.monotonic() - began > within:
            return Outcome(Ended.TOO_SLOW, reports)
        time.sleep(_POLL_SECONDS)


def _still_starting(reports: Sequence[Report]) -> bool:
    coming = (Health.STARTING, Health.RESTARTING)
    return any(report.health in coming and not _is_hopeless(report) for report in reports)


def _is_hopeless(report: Report) -> bool:
    return report.state.restarts >= _HOPELESS_AFTER_RESTARTS


def stop(home: Path) -> bool:
    """Stop the stack and wait for its end. Return False where none was running; StackError where it does not end."""
    pid = running_pid(home)
    if pid is None:
        return False
    within = _longest_stop(home)
    try:
        handle = os.pidfd_open(pid)
        signal.pidfd_send_signal(handle, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except PermissionError as error:
        raise StackError(f"the stack (pid {pid}) belongs to another user; stop it as that user") from error
    try:
        if not select.select([handle], [], [], within)[0]:
            raise StackError(f"the stack (pid {pid}) did not stop in {within:g} s; see what holds it: windsock status")
    finally:
        os.close(handle)
    return True


def _longest_stop(home: Path) -> float:
    """Components are stopped one after the other, each given its grace."""
    state = read_state(home)
    graces = [found.component.stop_grace_seconds for found in (state.components if state else ()) if found.pid]
    return sum(graces) + _STOP_SLACK_SECONDS


def end_leftovers(home: Path) -> list[str]:
    """End components that outlived a killed supervisor; return their names. Only call this with the lock held.

    A process is only touched when its start time is the recorded one, so that a reused pid is never hit.
    """
    state = read_state(home)
    left = {
        component.pid: component.component.name
        for component in (state.components if state else ())
        if component.pid is not None and start_mark(component.pid) == component.pid_mark is not None
    }
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
        if _all_gone(left, within=_LEFTOVER_SECONDS):
            break
    return list(left.values())


def _all_gone(pids: Sequence[int] | dict[int, str], within: float) -> bool:
    deadline = time.monotonic() + within
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return False
        finally:
            os.close(handle)
    return True


def take_stack(home: Path) -> int | None:
    """Take the stack's lock and clear what a killed supervisor left; None where one runs or is being started."""
    lock = take_lock(home)
    if lock is not None:
        end_leftovers(home)
        remove_state(home)  # until the new supervisor writes one, there is none
    return lock
