"""Slowing down whoever guesses passwords: a few tries are free, then each costs a longer wait."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

FREE_TRIES: Final = 5  # per user and address
FREE_TRIES_PER_ADDRESS: Final = 20  # whatever the user names
LONGEST_WAIT_SECONDS: Final = 900.0
_REMEMBERED: Final = 10_000  # keys; beyond, the oldest are forgotten


@dataclass(frozen=True, slots=True)
class _Record:
    tries: int = 0
    blocked_until: float = 0.0
    last: float = 0.0


class Throttle:
    """Counts tries per (user, address) and per address, in this process's memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: OrderedDict[tuple[str, str], _Record] = OrderedDict()
        self._lock = threading.Lock()

    def charge(self, username: str, address: str) -> float:
        """Charge one try before it is made. Returns 0 where it may be made, else the seconds to wait.

        Charging first means that a hundred tries sent at once are counted too.
        """
        now = self._clock()
        limits = (((username, address), FREE_TRIES), (("", address), FREE_TRIES_PER_ADDRESS))
        with self._lock:
            wait = max(self._recall(key, now).blocked_until for key, _ in limits) - now
            if wait > 0:
                return wait
            for key, free in limits:
                self._count(key, free, now)
        return 0.0

    def forgive(self, username: str, address: str) -> None:
        """Forget the tries of somebody who then gave the right password."""
        with self._lock:
            self._records.pop((username, address), None)
            self._records.pop(("", address), None)

    def _recall(self, key: tuple[str, str], now: float) -> _Record:
        record = self._records.get(key, _Record(last=now))
        return record if now - record.last < LONGEST_WAIT_SECONDS * 2 else _Record(last=now)

    def _count(self, key: tuple[str, str], free: int, now: float) -> None:
        record = self._recall(key, now)
        tries = record.tries + 1
        excess = tries - free
        wait = min(2.0**excess, LONGEST_WAIT_SECONDS) if excess >= 0 else 0.0
        self._records[key] = replace(record, tries=tries, blocked_until=now + wait, last=now)
        self._records.move_to_end(key)
        while len(self._records) > _REMEMBERED:
            self._records.popitem(last=False)
