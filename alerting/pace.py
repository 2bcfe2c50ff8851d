"""When to try again: back-off for one message, and a breaker for a channel that is down as a whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 300.0
FAILURES_TO_OPEN: Final = 3
LONGEST_PROBE_SECONDS: Final = 15.0  # so that a receiver that is back gets everything within half a minute


def backoff(attempts: int, jitter: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds until the next attempt: exponential with full jitter, so that a burst does not come back as a burst."""
    ceiling = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(attempts - 1, 30))
    return jitter(min(FIRST_SECONDS, ceiling) / 2, ceiling)


@dataclass
class Breaker:
    """Counts failures of a channel as such; open, it lets one probe through at a time. Not safe for threads by itself.

    While it is open, messages wait for the probe instead of failing one by one, so none burns its attempts and none
    backs off into the hours.
    """

    failures: int = 0
    asked: bool = False  # the receiver has said when to come back
    opens_at: float = 0.0  # monotonic; the next probe
    probing: bool = field(default=False)

    @property
    def is_open(self) -> bool:
        return self.asked or self.failures >= FAILURES_TO_OPEN

    def delay(self, now: float) -> float:
        """Seconds until ``admit`` may be asked again; 0 where it may be asked now."""
        if not self.is_open:
            return 0.0
        return LONGEST_PROBE_SECONDS if self.probing else max(0.0, self.opens_at - now)

    def admit(self, now: float) -> bool:
        """Whether one message may be tried now; it then must be answered by success, failure or withdraw."""
        if self.delay(now) > 0:
            return False
        self.probing = self.is_open
        return True

    def success(self) -> None:
        """The receiver answered, if only to refuse this message."""
        self.failures, self.asked, self.probing, self.opens_at = 0, False, False, 0.0

    def failure(self, now: float, after_seconds: float | None = None) -> float:
        """The receiver could not be talked to. Returns the seconds until the channel is tried again.

        One that says when to come back means every message: it opens the breaker at once. It is left alone until then,
        whatever else was under way to it; and where it says at once, for as long as one that says nothing.
        """
        self.failures, self.probing = self.failures + 1, False
        self.asked = self.asked or after_seconds is not None
        ceiling = min(LONGEST_PROBE_SECONDS, FIRST_SECONDS * 2 ** min(self.failures - 1, 30))
        pause = max(after_seconds or 0.0, random.uniform(ceiling / 2, ceiling))  # noqa: S311
        self.opens_at = max(self.opens_at, now + pause)
        return self.opens_at - now

    def withdraw(self) -> None:
        """There was nothing to try."""
        self.probing = False
