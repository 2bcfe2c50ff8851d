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
    opens_at: float = 0.0  # monotonic; the next probe
    probing: bool = field(default=False)

    @property
    def is_open(self) -> bool:
        return self.failures >= FAILURES_TO_OPEN

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
        self.failures, self.probing = 0, False

    def failure(self, now: float, after_seconds: float | None = None) -> float:
        """The receiver could not be talked to. Returns the seconds until the channel is tried again.

        One that says when to come back means every message: it opens the breaker at once.
        """
        asked = FAILURES_TO_OPEN if after_seconds is not None else 0
        self.failures, self.probing = max(self.failures + 1, asked), False
        ceiling = min(LONGEST_PROBE_SECONDS, FIRST_SECONDS * 2 ** min(self.failures - 1, 30))
        pause = after_seconds if after_seconds is not None else random.uniform(ceiling / 2, ceiling)  # noqa: S311
        self.opens_at = now + pause
        return pause

    def withdraw(self) -> None:
        """There was nothing to try."""
        self.probing = False
