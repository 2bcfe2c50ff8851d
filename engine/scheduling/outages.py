"""What a scheduler makes of a metastore that fails now and then."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

from engine.metastore.store import Store

_PATIENCE: Final = 10  # times the threshold, for heartbeats that an outage may have held up


class Outages:
    """What was out of sight meanwhile: others' heartbeats, the waits of tasks, and what became of our own commits."""

    def __init__(self) -> None:
        self.is_on = False  # the metastore failed in the last turn
        self._doubtful = False  # a transaction failed, or seemed to
        self._doubts_settled = 0  # of the store's doubts, those that disown() has looked into
        self._judge_from = 0.0  # monotonic: before it, other hosts' heartbeats may be old because of an outage
        self._at_work_since = time.monotonic()  # what waited in an outage had no chance

    def begin(self) -> None:
        """A transaction failed."""
        self.is_on = self._doubtful = True

    def still_at(self) -> None:
        """The metastore may have failed until now."""
        self._at_work_since = time.monotonic()

    def settle(self, doubts: int) -> None:
        """A sweep has looked into whatever was in doubt, `doubts` of the store's among it."""
        self._doubtful, self._doubts_settled = False, doubts

    def is_in_doubt(self, store: Store) -> bool:
        """Whether some commit may have been done although it seemed to fail."""
        return self._doubtful or store.doubts != self._doubts_settled

    def seconds_at_work(self) -> float:
        """For how long the metastore has not failed."""
        return time.monotonic() - self._at_work_since

    def threshold(self, seconds: float) -> timedelta:
        """The age at which a heartbeat is that of a dead process, usually `seconds`."""
        if self.is_on:
            self._judge_from = time.monotonic() + seconds  # the others could not write heartbeats either
        return timedelta(seconds=seconds if time.monotonic() >= self._judge_from else seconds * _PATIENCE)


def first_line(error: Exception) -> str:
    """An error without the statement that SQLAlchemy adds to it."""
    return str(error).partition("\n")[0]
