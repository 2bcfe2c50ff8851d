"""Attempts on this machine: one supervisor process, kept alive, replaced when it dies."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from engine.executors import birth
from engine.executors.birth import Newborn
from engine.executors.protocol import OwnerDied, Report
from engine.linux import adopt_orphans, children_of
from engine.metastore.processes import Identity, identify
from engine.metastore.states import ProcessKind
from engine.running import messages
from engine.running.messages import Alive, AttemptOrder, Confirm, Dispatch, Drain, End, Ended, Question, QuestionAnswer
from engine.running.wire import Hangup, Stream

log = logging.getLogger(__name__)

_SIGN_OF_LIFE_SECONDS: Final = 15.0
_ORPHAN_SECONDS: Final = 1.0
_ORPHAN_PAUSE_SECONDS: Final = 0.0005  # one for each generation, while people wait to be told


class LocalExecutor:
    """Up to `parallelism` attempts at once. `register` writes the heartbeat row of a new supervisor.

    `newborn` is the first supervisor, where there is one already.

    Of a supervisor that dies, first what it leaves behind is ended and what it held is told (:meth:`collect`), so that
    people hear of it; only then is another started (:meth:`replace_dead`). In between nothing can be begun here.
    """

    name = "LocalExecutor"

    def __init__(self, parallelism: int, register: Callable[[Identity], None], newborn: Newborn | None = None) -> None:
        self._parallelism = parallelism
        self._register = register
        self._in_flight: set[str] = set()
        self._stopping = False
        adopt_orphans()  # what a killed supervisor leaves behind becomes ours, to be ended
        self._start(newborn or birth.start())

    def _start(self, newborn: Newborn) -> None:
        self._process, sock = newborn
        self._identity = identify(ProcessKind.SUPERVISOR, self._process.pid)
        self._stream = Stream(sock)
        self._stream.send(messages.Hello(self._identity.id))
        self._alive_at = time.monotonic()
        self._is_dead = False
        self._register(self._identity)

    @property
    def capacity(self) -> int:
        """Attempts at once; none while there is no supervisor."""
        return 0 if self._is_dead else self._parallelism

    @property
    def owner(self) -> str:
        return self._identity.id

    @property
    def running(self) -> int:
        return len(self._in_flight)

    def filenos(self) -> list[tuple[int, bool]]:
        return [(self._stream.fileno(), self._stream.wants_to_write)]

    def submit(self, orders: Sequence[AttemptOrder]) -> None:
        self._in_flight.update(order.token for order in orders)
        self._stream.send(Dispatch(list(orders)))

    def confirm(self, tokens: Sequence[str]) -> None:
        self._stream.send(Confirm(list(tokens)))

    def end(self, reasons: Mapping[str, str]) -> None:
        self._stream.send(End(dict(reasons)))

    def in_flight(self) -> list[str]:
        return list(self._in_flight)

    def answer(self, answer: QuestionAnswer) -> None:
        self._stream.send(answer)

    def collect(self) -> list[Report]:
        self._stream.flush()
        try:
            bodies = self._stream.receive()
        except Hangup:
            return [self._bury()]
        reports: list[Report] = []
        for body in bodies:
            match messages.from_supervisor.decode(body):
                case Alive():
                    self._alive_at = time.monotonic()
                case Ended() as ended:
                    self._in_flight.discard(ended.token)
                    reports.append(ended)
                case Question() as question:
                    reports.append(question)
        return reports

    def _bury(self) -> OwnerDied:
        # Its end of the stream stays open: the scheduler, which polls it, comes back at once to replace the dead one.
        code = self._process.wait()
        self._in_flight.clear()
        self._end_orphans()
        if not self._stopping and not self._is_dead:
            log.error("the supervisor (pid %d) died with status %d; starting another", self._process.pid, code)
        self._is_dead = True
        return OwnerDied(self.owner)

    def replace_dead(self) -> bool:
        if not self._is_dead:
            return False
        self._stream.close()
        self._start(birth.start())
        return True

    def reap_orphans(self) -> None:
        """Reap daemons of attempts that have ended; their zygote has killed those of the attempt's own group."""
        for pid in self._orphans():
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def _end_orphans(self) -> None:
        """Kill what a dead supervisor leaves behind, before anybody runs its attempts again.

        Whoever dies hands us children of its own, so look again until there is none. Some may not be killed (they have
        become another user) or hang in the kernel: after a second the others' work goes on.
        """
        deadline = time.monotonic() + _ORPHAN_SECONDS
        while orphans := self._orphans():
            for pid in orphans:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > deadline:
                log.error("processes of attempts could not be ended and go on: pid %s", ", ".join(map(str, orphans)))
                return
            time.sleep(_ORPHAN_PAUSE_SECONDS)

    def _orphans(self) -> list[int]:
        return [pid for pid in children_of(os.getpid()) if pid != self._process.pid]

    def healthy_owners(self) -> list[str]:
        silent = time.monotonic() - self._alive_at
        return [self.owner] if silent < _SIGN_OF_LIFE_SECONDS and not self._is_dead else []

    def end_hung(self, after_seconds: float) -> None:
        """Kill a supervisor that gives no sign of life: nobody watches its attempts any more."""
        silent = time.monotonic() - self._alive_at
        if silent > after_seconds and not self._is_dead:
            log.error("the supervisor (pid %d) has been silent for %.0f s; ending it", self._process.pid, silent)
            self._process.kill()

    def stop(self, grace_seconds: float) -> None:
        self._stopping = True
        self._stream.send(Drain(grace_seconds))

    def close(self) -> None:
        self._stream.close()


class SequentialExecutor(LocalExecutor):
    """One attempt at a time."""

    name = "SequentialExecutor"

    def __init__(
        self,
        parallelism: int,  # noqa: ARG002
        register: Callable[[Identity], None],
        newborn: Newborn | None = None,
    ) -> None:
        super().__init__(1, register, newborn)
