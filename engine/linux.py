"""The few Linux process calls that Python's standard library does not offer."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_EXPENDABLE = 500  # of 1000, which the kernel adds to a process's share of memory in thousandths
_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}): {os.strerror(error)}")


def die_with_parent(parent_pid: int, how: int = signal.SIGKILL) -> None:
    """Have the kernel send `how` when the parent dies; exits at once where the parent is gone already."""
    _prctl(_PR_SET_PDEATHSIG, how)
    if os.getppid() != parent_pid:
        os._exit(1)


def retitle(words: Sequence[str]) -> None:
    """Show `words` as this process's command line, as far as the place of its first one suffices.

    That place is the process's own memory; /proc tells where, in the 48th and 49th field of ``stat``.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    if start < end:
        title = b"\0".join(map(os.fsencode, words))[: end - start - 1]
        ctypes.memmove(start, title.ljust(end - start, b"\0"), end - start)


def adopt_orphans() -> None:
    """Make this process the reaper of its descendants: what their parents leave behind becomes its child."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def be_killed_first(pid: int | str = "self") -> None:
    """When memory runs out, have the kernel rather end this process and what it starts than whoever watches it."""
    with suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "r+b", buffering=0) as file:  # noqa: PTH123 - as light as can be
        if int(file.read()) < _EXPENDABLE:
            file.write(b"%d" % _EXPENDABLE)


def own_children() -> list[int]:
    """Pids of the direct children of this single-threaded process."""
    try:
        with open("/proc/thread-self/children", "rb", buffering=0) as file:  # noqa: PTH123 - asked at each end of a task
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def children_of(pid: int) -> list[int]:
    """Pids of the direct children of `pid`, from /proc; empty when the process is gone."""
    pids: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            pids += [int(word) for word in task.read_text().split()]
        except OSError:
            continue
    return pids


def start_mark(pid: int) -> str | None:
    """Boot id and start tick of a process: unlike a pid never used twice. None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the command name may hold blanks and parentheses
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{boot_id}:{ticks}"
