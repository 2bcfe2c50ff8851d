"""What the supervisor's process does (engine.executors.birth); also ``python -m engine.executors.supervise FD``."""

from __future__ import annotations

import logging
import math
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec.structs import replace

from engine import config
from engine.logs import own
from engine.logs.redaction import Redactor
from engine.metastore.outcome import Cause, Outcome
from engine.running import file_limit, messages
from engine.running.deputy import MetastoreAway
from engine.running.environment import hide_secrets
from engine.running.messages import AnyAsk, Ended
from engine.running.supervisor import Supervisor
from engine.running.wire import BlockingStream, Hangup, Stream

if TYPE_CHECKING:
    from engine.config import Settings
    from engine.metastore.changes import Changes
    from engine.metastore.store import Tx

log = logging.getLogger("engine.executors.supervise")  # __name__ is __main__ here

T = TypeVar("T")

_HEARTBEAT_SECONDS: Final = 5.0


class MetastoreSurvivor:
    """The metastore for a supervisor whose scheduler died. SQLAlchemy is imported only then."""

    def __init__(self, settings: Settings, owner: str) -> None:
        from engine.metastore.announce import Announcer
        from engine.metastore.ledger import Ledger
        from engine.metastore.shipments import shipment_requests
        from engine.metastore.store import Store

        self._owner = owner
        self._store = Store.from_settings(settings)
        self._base_url = settings.webserver.url
        self._ledger = Ledger(Announcer(self._base_url), shipment_requests(settings.logging))
        self._hostname = socket.gethostname()
        self._heartbeat_at = -math.inf

    def adopt(self, known: list[str]) -> None:
        from engine.metastore.transitions.returning import disown

        returned = self._try(lambda tx: disown(tx, self._owner, known))
        log.warning("gave back %s attempts that never arrived", returned)

    def report(self, ended: list[Ended]) -> None:
        try:
            self._finish(ended)
        except MetastoreAway:
            raise
        except Exception as error:
            log.error("the ends of %d attempts cannot be written at once, now one by one: %s", len(ended), error)
            for end in ended:
                self._finish_one(end)

    def _finish_one(self, end: Ended) -> None:
        """Write an end or, where the database refuses it, a failure that says why."""
        try:
            self._finish([end])
        except MetastoreAway:
            raise
        except Exception as error:
            sentence = f"its result could not be stored: {first_line(error)}"
            log.error("attempt %s: %s", end.token, sentence)
            self._finish([replace(end, outcome=Outcome(Cause.EXCEPTION, error=sentence))])

    def _finish(self, ended: list[Ended]) -> None:
        from engine.metastore.changes import Finished

        reports = [Finished(end.token, end.outcome, self._hostname, end.ago()) for end in ended]

        def work(tx: Tx) -> Changes:
            self._ledger.begin()
            return self._ledger.finish(tx, reports)

        changes = self._try(work)
        self._ledger.forget(changes)
        self._store.wake("scheduler")
        if changes.announced:
            self._store.wake("notifier")

    def answer(self, ask: AnyAsk) -> dict[str, str]:
        from engine.running.answers import answer

        try:
            return self._reaching(lambda: next(answer(self._store, [ask], self._base_url)))
        except MetastoreAway:
            raise
        except Exception as error:  # a question that makes no sense to the database must not hold up the others
            log.error("a question about DAG %r cannot be answered: %s", ask.dag_id, first_line(error))
            return {}

    def heartbeat(self) -> dict[str, str]:
        from engine.metastore import endings, processes

        def work(tx: Tx) -> dict[str, str]:
            processes.heartbeat(tx, [self._owner])
            return endings.requested(tx, self._owner)

        if time.monotonic() - self._heartbeat_at < _HEARTBEAT_SECONDS:
            return {}
        to_end = self._try(work)
        self._heartbeat_at = time.monotonic()
        return to_end

    def leave(self) -> None:
        from engine.metastore import processes

        self._try(lambda tx: processes.end(tx, [self._owner]))
        self._store.wake("scheduler")
        self._store.close()

    def _try(self, work: Callable[[Tx], T]) -> T:
        return self._reaching(lambda: self._store.run(work))

    def _reaching(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except Exception as error:
            if self._store.is_passing(error):
                raise MetastoreAway(first_line(error)) from error
            raise


def first_line(error: Exception) -> str:
    """An error in one line: the driver's sentence, without the statement that SQLAlchemy adds."""
    return str(error).partition("\n")[0] or type(error).__name__


def serve(settings: Settings, upstream: socket.socket) -> int:
    """Serve one scheduler; returns the exit status."""
    file_limit.lift()  # three or four a running attempt
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the scheduler says when to stop
    redactor = Redactor.from_settings(settings)
    hide_secrets(settings)
    try:
        owner = messages.hello.decode(BlockingStream(upstream).receive()).owner
    except Hangup:  # the scheduler could not begin, and says why
        return 0
    supervisor = Supervisor(
        Stream(upstream),
        log_folder=settings.logging.base_log_folder,
        redact=redactor.redact,
        import_timeout=settings.core.dagbag_import_timeout,
        grace_seconds=settings.core.killed_task_cleanup_time,
        survive=lambda: MetastoreSurvivor(settings, owner),
        max_log_bytes=settings.logging.max_task_log_bytes,
        rest_after=settings.core.zygote_idle_seconds,
    )
    supervisor.run()
    return 0


def main(argv: list[str]) -> int:
    """The program: the scheduler at the other end of the file that is named."""
    settings = config.load()
    own.start(settings.logging.logging_level)
    return serve(settings, socket.socket(fileno=int(argv[0])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
