"""``run/stack.json`` and ``run/stack.pid``: what the supervisor tells everybody else.

The pid file is locked by the supervisor for as long as it lives (flock belongs to the open file, so it ends with the
process even on kill -9). Who gets the lock may start a supervisor; the number in the file is only for reading.
"""

from __future__ import annotations

import fcntl
import os
import time
from enum import StrEnum
from pathlib import Path

import msgspec

from engine.stack.aside import read_aside
from engine.stack.component import Component

_LOCK_ATTEMPTS = 5  # a reader (running_pid) holds it shared for an instant


class Phase(StrEnum):
    """Where a component stands, as its supervisor sees it."""

    RUNNING = "running"
    BACKOFF = "backoff"  # it died; it is started again at retry_at
    STOPPING = "stopping"
    STOPPED = "stopped"
    NOT_INSTALLED = "not_installed"
    BLOCKED = "blocked"  # its port was taken when the stack started


class ComponentState(msgspec.Struct, frozen=True, kw_only=True):
    """One component now. Times are seconds since the epoch; ``pid_mark`` (engine.linux) guards against a reused pid."""

    component: Component
    phase: Phase
    pid: int | None = None
    pid_mark: str | None = None
    started_at: float | None = None
    retry_at: float | None = None
    restarts: int = 0
    last_exit: str = ""  # one sentence: how it ended last
    note: str = ""  # why it is blocked


class StackState(msgspec.Struct, frozen=True, kw_only=True):
    """The whole stack now."""

    pid: int
    started_at: float
    components: tuple[ComponentState, ...]
    settings: str = ""  # fingerprint of those it was started with


def run_folder(home: Path) -> Path:
    return home / "run"


def write_state(home: Path, state: StackState) -> None:
    """Replace ``run/stack.json`` in one step, readable by its owner only."""
    target = run_folder(home) / "stack.json"
    draft = target.with_suffix(".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(encode_state(state))
    draft.replace(target)


def encode_state(state: StackState) -> bytes:
    return msgspec.json.format(msgspec.json.encode(state))


def read_state(home: Path) -> StackState | None:
    """Return the last state written, or None where there is none or it cannot be understood.

    What the supervisor could not write it holds in memory (:mod:`engine.stack.aside`), and that is newer.
    """
    pid = running_pid(home)
    aside = read_aside(pid) if pid is not None else None
    try:
        return msgspec.json.decode(aside or (run_folder(home) / "stack.json").read_bytes(), type=StackState)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def remove_state(home: Path) -> None:
    (run_folder(home) / "stack.json").unlink(missing_ok=True)


def take_lock(home: Path) -> int | None:
    """Open and lock the pid file; return its descriptor, or None while a supervisor holds it."""
    run_folder(home).mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run_folder(home) / "stack.pid", os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            os.ftruncate(descriptor, 0)  # whom it names is gone, and the number may be another process's by now
            return descriptor
    os.close(descriptor)
    return None


def write_pid(descriptor: int, pid: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{pid}\n".encode(), 0)


def running_pid(home: Path) -> int | None:
    """Return the pid of the supervisor, or None when none runs (also where a stale pid file is left).

    None also for the moment from taking the lock until the supervisor that is called has said which process it is.
    """
    path = run_folder(home) / "stack.pid"
    if not path.exists():
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).decode().strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None
