"""What the next turn looks at, and when there is something to look at."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from engine.metastore.states import RunType
from engine.scheduling.turn import Turn

BATCH: Final = 200  # of whatever a turn takes up
_LONG_LOOK_SECONDS: Final = 30.0
_WAITS_SECONDS: Final = 1.0


class Agenda:
    """Flags and timers of the loop; instants are monotonic."""

    def __init__(self, heartbeat_seconds: float, queued_timeout_seconds: float) -> None:
        self.sweep = True  # look at everything in the next turn
        self.due = False  # a timer says that something is due
        self.look = True  # look for queued runs in the next turn
        self.stopping = False  # claim nothing more
        self._heartbeat_seconds = heartbeat_seconds
        self._queued_timeout_seconds = queued_timeout_seconds
        self._next_sweep = 0.0
        self._next_long_look = 0.0
        self._next_look_at_waits = 0.0
        self._timers: list[float] = []  # at which something is due

    def next_time(self, *others: float) -> float:
        """When the next turn is to be, unless something wakes the loop before; one of `others` at the latest."""
        if self.sweep or self.due or self.look:
            return time.monotonic()
        return min([self._next_sweep, *self._timers, *others])

    def look_at_clock(self) -> None:
        """Put on the agenda what its time has come for."""
        now = time.monotonic()
        if now >= self._next_sweep:
            self.sweep = self.look = True
        if any(timer <= now for timer in self._timers):
            self._timers = [timer for timer in self._timers if timer > now]
            self.due = self.look = True

    def clear(self) -> None:
        """A turn has seen to it."""
        self.sweep = self.due = self.look = False

    def is_long_look_due(self) -> bool:
        """Whether to look also for what hardly ever is there."""
        return time.monotonic() >= self._next_long_look

    def seconds_to_look_at_waits(self, turn: Turn) -> float:
        """From the turn's beginning until ready tasks that wait for too long are to be looked for; at most 0 if now."""
        return self._next_look_at_waits - turn.began

    def follow(self, turn: Turn, *, swept: bool) -> None:
        """What follows from a turn that has committed."""
        changes, now = turn.changes, time.monotonic()
        if turn.more or any(change.end_date and change.run.run_type == RunType.SCHEDULED for change in changes.runs):
            self.sweep = True  # where a scheduled run has ended, the next may be due and have waited for it
        if turn.looked_at_waits:
            ahead = now + _WAITS_SECONDS
            if turn.next_wait_over:
                ahead = min(ahead, turn.began + max(0.0, (turn.next_wait_over - turn.now).total_seconds()))
            self._next_look_at_waits = ahead
        if turn.looked_long:
            self._next_long_look = now + _LONG_LOOK_SECONDS
        if swept:
            self._next_sweep = now + self._heartbeat_seconds
        # What is due after the next sweep is found by it.
        self._timers += [timer for timer in self._ahead(turn) if timer < now + self._heartbeat_seconds]

    def _ahead(self, turn: Turn) -> Iterable[float]:
        retries = [change.retry_at for change in turn.changes.tasks if change.retry_at]
        deadlines_ahead = [change.deadline for change in turn.changes.runs if not change.end_date]
        timeouts = [*turn.next_deadlines, *deadlines_ahead, turn.next_wait_over]
        if self._queued_timeout_seconds and turn.changes.scheduled:
            wait = timedelta(seconds=self._queued_timeout_seconds)
            timeouts.append(turn.now + wait)  # the sweep of this turn did not see them
        due = [moment for moment in [*retries, turn.next_run, *timeouts] if moment]
        return [turn.began + max(0.0, (moment - turn.now).total_seconds()) for moment in due]
