"""A lane per channel: its own few threads and its own breaker, so that one dead receiver holds up nobody else.

A thread that gets no answer within the hard limit cannot be killed in Python. It is written off and replaced; the lease
of what it holds runs out and is taken again. What it brings home later still counts if nobody else has taken it over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from alerting.channels import Channel
from alerting.outbox import Lease
from alerting.pace import Breaker

log = logging.getLogger(__name__)

# Beyond so many threads written off and not back, none is added: each holds memory and a socket.
MOST_WRITTEN_OFF: Final = 8
OFFER_SECONDS: Final = 5.0  # a thread that comes later than this to what was leased for it gives it back


@dataclass(eq=False)
class Worker:
    """One thread of a lane. ``busy_since`` is monotonic, None while it waits."""

    thread: threading.Thread | None = None
    busy_since: float | None = None
    written_off: bool = False


@dataclass(frozen=True)
class Offer:
    """A message that was leased for a lane before one of its threads was there to send it."""

    lease: Lease
    leased_at: datetime
    made_at: float  # monotonic

    @property
    def is_stale(self) -> bool:
        """Whether so much of the lease is gone that somebody else might take it before it is sent."""
        return time.monotonic() - self.made_at > OFFER_SECONDS


@dataclass(eq=False)
class Lane:
    """``deliver_next(lane, worker)`` delivers one message and returns whether it should look for another.

    ``most`` is how many messages alerting.yml wants under way at once. Where the channel allows one alone, since its
    service wants its messages spaced, it stays at one.
    """

    channel: Channel
    deliver_next: Callable[[Lane, Worker], bool]
    hard_limit_seconds: float
    most: int | None = None
    breaker: Breaker = field(default_factory=Breaker)
    last_reason: str = ""  # why it took nothing; kept so that this is logged once and not once per message

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._workers: list[Worker] = []
        self._wanted = 0  # how many threads should look for work
        self._offered: deque[Offer] = deque()
        self._again_at: float | None = None  # monotonic; when a retry of ours is due
        self._open_since: float | None = None  # monotonic
        self._held_until = 0.0  # monotonic; the channel has had as many messages as it may in its window
        self._closing = False

    @property
    def concurrency(self) -> int:
        """How many messages may be under way at once."""
        return self.channel.concurrency if self.most is None or self.channel.concurrency == 1 else self.most

    @property
    def down_for(self) -> float:
        """Seconds since the breaker opened; 0 while it is closed."""
        with self._changed:
            return 0.0 if self._open_since is None else time.monotonic() - self._open_since

    @property
    def name(self) -> str:
        return self.channel.name

    def start(self) -> None:
        with self._changed:
            for _ in range(self.concurrency):
                self._add_worker()

    def nudge(self, count: int) -> None:
        """There may be ``count`` messages to deliver."""
        with self._changed:
            self._want(count)

    @property
    def spare(self) -> int:
        """How many messages could be begun at once; none where the receiver is not quite well."""
        with self._changed:
            if self._closing or self.breaker.failures:
                return 0
            idle = sum(worker.busy_since is None and not worker.written_off for worker in self._workers)
            return max(0, idle - self._wanted)

    def offer(self, lease: Lease, leased_at: datetime) -> None:
        """Send this next: whoever routed it has leased it for this lane, which has a thread to spare."""
        with self._changed:
            self._offered.append(Offer(lease, leased_at, time.monotonic()))
            self._want(1)

    def take_offered(self) -> Offer | None:
        """What was leased for this lane, if anything."""
        with self._changed:
            return self._offered.popleft() if self._offered else None

    def nudge_after(self, seconds: float) -> None:
        """There will be a message to deliver: a retry need not wait for the deliverer's next turn."""
        with self._changed:
            at = time.monotonic() + seconds
            self._again_at = at if self._again_at is None else min(at, self._again_at)
            self._changed.notify_all()

    def hold(self, seconds: float) -> None:
        """Nothing is sent for so long; then there is a message to deliver."""
        with self._changed:
            self._held_until = time.monotonic() + seconds
            self._want(1)

    def let_go(self) -> None:
        """What it was held for does not hold any more."""
        with self._changed:
            self._held_until = 0.0
            self._changed.notify_all()

    def close(self, patience_seconds: float) -> None:
        """Ends the threads after the message that each has under way; does not wait longer than it is told to."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            threads = [worker.thread for worker in self._workers if worker.thread is not None]
        deadline = time.monotonic() + patience_seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def succeeded(self, worker: Worker) -> None:
        """The receiver answered. If the breaker was open, everything that waited may go."""
        with self._changed:
            if worker.written_off:
                return
            was_open = self.breaker.is_open
            self.breaker.success()
            self._open_since = None
            self.last_reason = ""
            if was_open:
                log.warning("receiver %s is back", self.name)
                self._want(self.concurrency)

    def untouched(self, worker: Worker) -> None:
        """The message never left this machine, so nothing was learnt about the receiver."""
        with self._changed:
            if not worker.written_off:
                self.breaker.withdraw()
                self._changed.notify_all()

    def put_off(self, worker: Worker) -> None:
        """The receiver answered that it cannot take this message now: where it was down, it is so still."""
        with self._changed:
            if self.breaker.is_open and not worker.written_off:
                self._fail(None)

    def failed(self, worker: Worker, after_seconds: float | None) -> float:
        """The receiver could not be talked to. Returns the seconds until it is tried again."""
        with self._changed:
            if worker.written_off:
                return self.breaker.delay(time.monotonic())
            return self._fail(after_seconds)

    def replace_stuck(self) -> None:
        """Writes off threads that have had no answer within the hard limit."""
        with self._changed:
            now = time.monotonic()
            for worker in list(self._workers):
                if worker.busy_since is None or now - worker.busy_since < self.hard_limit_seconds:
                    continue
                if not worker.written_off:
                    worker.written_off = True
                    self.last_reason = f"no answer within {self.hard_limit_seconds:.0f} s"
                    log.warning("receiver %s gave %s", self.name, self.last_reason)
                    self._fail(None)
            self._refill()

    def _fail(self, after_seconds: float | None) -> float:
        was_open = self.breaker.is_open
        pause = self.breaker.failure(time.monotonic(), after_seconds)
        if self.breaker.is_open and not was_open:
            self._open_since = time.monotonic()
            found = "is down" if after_seconds is None else f"is not to be tried for {pause:.0f} s"
            log.warning("receiver %s %s; one message at a time is tried until it is back", self.name, found)
        self._want(1)
        return pause

    def _want(self, count: int) -> None:
        self._wanted = min(self._wanted + count, self.concurrency)
        self._changed.notify_all()

    def _refill(self) -> None:
        lost = sum(worker.written_off for worker in self._workers)
        missing = self.concurrency - (len(self._workers) - lost)
        for _ in range(min(missing, MOST_WRITTEN_OFF + self.concurrency - len(self._workers))):
            self._add_worker()

    def _add_worker(self) -> None:
        worker = Worker()
        worker.thread = threading.Thread(target=self._work, args=(worker,), name=f"alerts-{self.name}", daemon=True)
        self._workers.append(worker)
        worker.thread.start()

    def _work(self, worker: Worker) -> None:
        while self._await_turn(worker):
            found = False
            try:
                found = self.deliver_next(self, worker)
            except Exception:
                log.exception("delivering to %s failed; what was under way is taken again later", self.name)
            self._end_turn(worker, found=found)

    def _await_turn(self, worker: Worker) -> bool:
        """Waits until there may be something to do and the breaker lets it through; False when it is time to end."""
        with self._changed:
            while (not self._closing or self._offered) and not worker.written_off:
                now = time.monotonic()
                if self._again_at is not None and self._again_at <= now:
                    self._again_at = None
                    self._want(1)
                if self._wanted and self._held_until <= now and self.breaker.admit(now):
                    self._wanted -= 1
                    worker.busy_since = now
                    return True
                self._changed.wait(self._pause(now))
            self._workers.remove(worker)
            return False

    def _pause(self, now: float) -> float | None:
        if self._wanted:
            return max(self._held_until - now, self.breaker.delay(now))
        return None if self._again_at is None else self._again_at - now

    def _end_turn(self, worker: Worker, *, found: bool) -> None:
        with self._changed:
            worker.busy_since = None
            if worker.written_off:
                return
            if found:
                self._want(1)  # where there was one there may be another
            else:
                self.breaker.withdraw()
                self._changed.notify_all()
