"""One component as its supervisor sees it: a small state machine without processes, clocks or files of its own."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field

from engine.stack.component import Component, Plan
from engine.stack.state import ComponentState, Phase


@dataclass
class Child:
    """RUNNING → BACKOFF → RUNNING …, and STOPPING → STOPPED once the stack goes down. Times are epoch seconds."""

    component: Component
    plan: Plan
    phase: Phase = Phase.STOPPED
    pid: int | None = None
    pid_mark: str | None = None
    started_at: float | None = None
    retry_at: float | None = None
    kill_at: float | None = None
    restarts: int = 0
    deaths_in_a_row: int = 0
    last_exit: str = ""
    note: str = field(default="")
    was_killed: bool = False  # by us, having outstayed its grace

    def started(self, pid: int, pid_mark: str | None, now: float) -> None:
        self.phase, self.pid, self.pid_mark = Phase.RUNNING, pid, pid_mark
        self.started_at, self.retry_at, self.was_killed = now, None, False

    def ended(self, how: str, now: float) -> float | None:
        """The process is gone. Return the seconds until it is started again, or None when it was told to stop."""
        self.pid = self.pid_mark = self.kill_at = None
        self.last_exit = how
        if self.phase is Phase.STOPPING:
            self.phase = Phase.STOPPED
            return None
        if now - (self.started_at or now) >= self.plan.stable_after_seconds:
            self.deaths_in_a_row = 0
        delay = self.next_delay()
        self.deaths_in_a_row += 1
        self.phase, self.retry_at = Phase.BACKOFF, now + delay
        return delay

    def next_delay(self) -> float:
        doubled = self.plan.backoff_seconds * 2.0 ** min(self.deaths_in_a_row, 30)
        return min(doubled, self.plan.max_backoff_seconds)

    def stop(self, now: float) -> bool:
        """The stack goes down. Return whether there is a process to be told."""
        if self.phase is Phase.RUNNING:
            self.phase, self.kill_at = Phase.STOPPING, now + self.component.stop_grace_seconds
            return True
        if self.phase is Phase.BACKOFF:
            self.phase, self.retry_at = Phase.STOPPED, None
        return False

    def is_due(self, now: float) -> bool:
        return self.phase is Phase.BACKOFF and self.retry_at is not None and now >= self.retry_at

    def must_be_killed(self, now: float) -> bool:
        return self.kill_at is not None and now >= self.kill_at

    def outstayed(self) -> None:
        """It is being killed: once is enough, and its end is no riddle."""
        self.kill_at, self.was_killed = None, True

    def describe_exit(self, status: int) -> str:
        """Say how its process ended, from the status that waitpid gave."""
        if self.was_killed and os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
            return f"killed by us after {self.component.stop_grace_seconds:g} s"
        return describe_exit(status)

    def snapshot(self) -> ComponentState:
        return ComponentState(
            component=self.component,
            phase=self.phase,
            pid=self.pid,
            pid_mark=self.pid_mark,
            started_at=self.started_at,
            retry_at=self.retry_at,
            restarts=self.restarts,
            last_exit=self.last_exit,
            note=self.note,
        )


def describe_exit(status: int) -> str:
    """Say how a process ended, from the status that waitpid gave."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    known = -code in set(signal.Signals)
    name = signal.Signals(-code).name if known else f"signal {-code}"
    hint = " (out of memory? see `dmesg`)" if -code == signal.SIGKILL else ""
    return f"killed by {name}{hint}"
