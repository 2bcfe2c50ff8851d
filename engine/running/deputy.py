"""What a supervisor does on the metastore in its dead scheduler's stead, beside the loop that watches its attempts.

One thread does one *round* at a time: give back what never arrived (until that has worked), write ends, answer
questions, give a sign of life. A round that fails because the metastore is away has changed nothing here: its work is
in the next one, a second later. An end that is written twice is dropped by its token the second time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from engine.running.messages import AnyAsk, Ended

log = logging.getLogger(__name__)

Question = tuple[str, AnyAsk]  # the attempt's token, and what it asks


class MetastoreAway(Exception):
    """The metastore cannot be used now; later it may."""


class Survivor(Protocol):
    """The metastore, as a supervisor without a scheduler uses it. Each call is one try: it may raise MetastoreAway."""

    def adopt(self, known: list[str]) -> None:
        """Give back what was recorded as ours but never reached us."""

    def report(self, ended: list[Ended]) -> None:
        """Write how attempts ended."""

    def answer(self, ask: AnyAsk) -> dict[str, str]:
        """What the metastore answers; see :mod:`engine.running.answers`."""

    def heartbeat(self) -> Mapping[str, str]:
        """Say that this supervisor lives; returns the attempts that it is to end: token → why."""

    def leave(self) -> None:
        """Say that it ends."""


@dataclass(slots=True)
class Round:
    """What a round has done: so many of the ends that it was given, and these answers; and what it has found."""

    written: int = 0
    answers: list[tuple[str, int, dict[str, str]]] = field(default_factory=list)
    to_end: Mapping[str, str] = field(default_factory=dict)  # attempts that somebody's decision ends: token → why


class Deputy:
    """Owns the thread. Poll :meth:`fileno`, then :meth:`take` what a round has done."""

    def __init__(self, survive: Callable[[], Survivor], known: Sequence[str]) -> None:
        self._survive = survive
        self._known = list(known)
        self._survivor: Survivor | None = None
        self._thread = ThreadPoolExecutor(1, "metastore")
        self._future: Future[Round] | None = None
        self._done = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._failing = ""
        self.adopted = False

    def fileno(self) -> int:
        """Readable when a round is over."""
        return self._done

    @property
    def idle(self) -> bool:
        return self._future is None

    @property
    def failing(self) -> bool:
        """The last round failed: leave the next one to the heartbeat."""
        return bool(self._failing)

    def start(self, ended: Sequence[Ended], questions: Sequence[Question]) -> None:
        """Begin a round; nothing happens while one goes on."""
        if self._future:
            return
        self._future = self._thread.submit(self._round, list(ended), list(questions))
        self._future.add_done_callback(lambda _: os.eventfd_write(self._done, 1))

    def take(self) -> Round:
        """What the round has done, nothing while it goes on or when it failed."""
        if self._future is None or not self._future.done():
            return Round()
        os.eventfd_read(self._done)
        future, self._future = self._future, None
        error = future.exception()
        if error is None:
            self._failing = ""
            return future.result()
        if str(error) != self._failing:
            expected = isinstance(error, MetastoreAway)
            log.error(
                "trying each second until the metastore can be used: %s", error, exc_info=None if expected else error
            )
        self._failing = str(error) or repr(error)
        return Round()

    def leave(self) -> None:
        """Sign off and end the thread."""
        try:
            if self._survivor:
                self._thread.submit(self._survivor.leave).result()
        except MetastoreAway as error:
            log.warning("could not sign off, others will find this process gone: %s", error)
        self._thread.shutdown()
        os.close(self._done)

    # -- in the thread

    def _round(self, ended: list[Ended], questions: list[Question]) -> Round:
        if self._survivor is None:
            self._survivor = self._survive()
        survivor = self._survivor
        if not self.adopted:
            survivor.adopt(self._known)
            self.adopted = True
        if ended:
            survivor.report(ended)
        answers = [(token, ask.number, survivor.answer(ask)) for token, ask in questions]
        return Round(len(ended), answers, survivor.heartbeat())
