"""The loop: wait for reports, wake-ups and timers; take all that has arrived as one batch; write it in one transaction.

Who decides. The metastore: this process only proposes guarded transitions and hands what they claimed to its executor.
Beside others. Several schedulers work on one metastore without knowing one another. While one is not alone it hands out
work in a transaction of its own, under a lock (:mod:`engine.metastore.leases`), so that it never waits for another's
budgets while it holds those of what has just ended.
What wakes it. Reports of its supervisor, wake-ups of other processes (a run was triggered, a DAG was parsed, a
supervisor wrote an end), and timers (a run, a retry or a deadline is due), which look for what is due and for nothing
else. A sweep at each heartbeat looks at everything anyway.
When it dies. Its supervisor finishes what runs and writes it; the next scheduler's first sweep rescues the rest.
"""

from __future__ import annotations

import logging
import select
import signal
import socket
import time
from functools import partial
from types import FrameType
from typing import Final

from msgspec.structs import replace
from sqlalchemy.exc import SQLAlchemyError

from engine.config import Settings
from engine.executors import birth
from engine.executors.local import LocalExecutor, SequentialExecutor
from engine.executors.protocol import OwnerDied, Report
from engine.metastore import processes
from engine.metastore.announce import Announcer
from engine.metastore.errors import MetastoreError
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.processes import Identity
from engine.metastore.shipments import place_detail, shipment_requests
from engine.metastore.store import Store, Tx
from engine.metastore.wakeups import ALERTS, ANYTHING, Listener
from engine.metrics import Metrics
from engine.running.answers import answer
from engine.running.messages import Ended, Question, QuestionAnswer, TriggerAsk
from engine.scheduling.admission import sign_on
from engine.scheduling.agenda import Agenda
from engine.scheduling.instants import poll_until
from engine.scheduling.meter import Meter
from engine.scheduling.outages import Outages, first_line
from engine.scheduling.standing import Standing
from engine.scheduling.turn import Turn
from engine.scheduling.work import Work

log = logging.getLogger(__name__)

_TROUBLE_SECONDS: Final = 0.5
_SHARE_SECONDS: Final = 0.25
_EXECUTORS: Final = {"LocalExecutor": LocalExecutor, "SequentialExecutor": SequentialExecutor}


class Scheduler:
    """One scheduler with its executor. :meth:`run` blocks until TERM or INT."""

    def __init__(self, settings: Settings, store: Store | None = None, metrics: Metrics | None = None) -> None:
        self._settings = settings
        self._newborn = birth.fork(settings) if store is None and metrics is None else None  # before anything is open
        self._store = store or Store.from_settings(settings)
        self._metrics = metrics or Metrics(settings.metrics)
        self._ledger = Ledger(Announcer(settings.webserver.url), shipment_requests(settings.logging))
        self._agenda = Agenda(settings.scheduler.scheduler_heartbeat_sec, settings.scheduler.task_queued_timeout)
        self._outages = Outages()
        self._ended: list[Ended] = []  # reports that no committed transaction has taken up yet
        self._questions: list[Question] = []
        self._collect_seconds = 0.0
        self._next_share = 0.0

    def run(self) -> int:
        """Schedule until told to stop; returns the exit status."""
        self._store.check()
        self._standing = Standing()
        self._store.run(lambda tx: sign_on(tx, self._standing.identity, self._settings))
        self._metrics.incr("job_start")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        wake_r, wake_w = socket.socketpair()
        wake_w.setblocking(False)
        signal.set_wakeup_fd(wake_w.fileno())
        self._listener = Listener(self._store, "scheduler")
        factory = _EXECUTORS[self._settings.core.executor]
        self._executor = factory(self._settings.core.parallelism, self._register, self._newborn)
        self._work = Work(
            self._settings, self._store, self._ledger, self._executor, self._standing, self._outages, self._agenda
        )
        self._meter = Meter(self._metrics, self._store, self._ledger, self._executor, self._standing)
        log.info("scheduling with the %s, up to %d tasks at once", self._executor.name, self._executor.capacity)
        try:
            while not self._agenda.stopping:
                self._wait(wake_r)
                self._turn(self._collect())
            self._wind_down()
        finally:
            self._executor.close()
            self._listener.close()
            self._metrics.close()
            self._store.close()
        return 0

    def _register(self, identity: Identity) -> None:
        detail = {"scheduler": self._standing.identity.id} | place_detail(self._settings.logging)
        while True:
            try:
                self._store.run(lambda tx: processes.register(tx, identity, detail))
            except (MetastoreError, SQLAlchemyError) as error:
                if self._agenda.stopping:
                    raise
                self._endure(error)
            else:
                return

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._agenda.stopping = True

    # -- waiting

    def _wait(self, wake: socket.socket) -> None:
        poller = select.poll()
        poller.register(wake.fileno(), select.POLLIN)
        for fd in self._listener.filenos():
            poller.register(fd, select.POLLIN)
        for fd, writing in self._executor.filenos():
            poller.register(fd, select.POLLIN | (select.POLLOUT if writing else 0))
        polls = [moment] if (moment := self._listener.next_poll) is not None else []
        # A signal may have set the flags just before poll(); the wake-up socket makes it return at once then.
        ready = poll_until(poller, self._agenda.next_time(*polls))
        if ready.intersection(self._listener.filenos()) or self._listener.poll():
            self._listener.drain()
            self._agenda.look = self._agenda.sweep = True
        self._agenda.look_at_clock()

    # -- one turn

    def _collect(self) -> list[Report]:
        began = time.monotonic()
        if self._executor.replace_dead():
            self._agenda.look = True  # what waits may be claimed again
        reports = self._executor.collect()
        self._collect_seconds = time.monotonic() - began
        return reports

    def _turn(self, reports: list[Report]) -> None:
        self._ended += [report for report in reports if isinstance(report, Ended)]
        self._questions += [report for report in reports if isinstance(report, Question)]
        self._work.dead.update(report.owner for report in reports if isinstance(report, OwnerDied))
        agenda = self._agenda
        if agenda.sweep:
            self._executor.end_hung(self._settings.scheduler.scheduler_health_check_threshold)
            self._executor.reap_orphans()
        if not (self._ended or self._questions or self._work.dead or agenda.sweep or agenda.due or agenda.look):
            return
        began = time.monotonic()
        try:
            self._answer_questions()
            ended, sweep, due, doubts = self._ended, agenda.sweep, agenda.sweep or agenda.due, self._store.doubts
            turn = self._store.run(lambda tx: self._work.whole(tx, ended, sweep=sweep, due=due, look=agenda.look))
        except (MetastoreError, SQLAlchemyError) as error:
            if self._ended and not self._store.is_passing(error):
                self._set_aside_what_cannot_be_written(error)
            else:
                self._endure(error)
            return
        self._tell_near(turn)
        unjudged = [one for one in ended if one.token in turn.changes.unjudged]
        if len(unjudged) < len(ended):
            self._executor.confirm([one.token for one in ended if one not in unjudged])
        self._ended, self._outages.is_on = unjudged, False
        agenda.clear()
        self._send(turn)
        self._after(turn, swept=sweep, doubts=doubts)
        if self._work.takes_turns:
            self._hand_out(may_start=turn.may_start)
        self._metrics.timing("scheduler.scheduler_loop_duration", time.monotonic() - began)

    def _hand_out(self, *, may_start: bool) -> None:
        """Start runs and claim attempts, in a transaction of its own and under the lock of claims."""
        try:
            turn = self._store.run(lambda tx: self._work.hand_out(tx, may_start=may_start))
        except (MetastoreError, SQLAlchemyError) as error:
            self._agenda.look = True
            self._endure(error)
            return
        self._tell_near(turn)
        self._send(turn)
        self._after(turn, swept=False, doubts=0)
        full = self._executor.running >= self._executor.capacity
        if turn.claimed and full and time.monotonic() >= self._next_share:
            self._next_share = time.monotonic() + _SHARE_SECONDS
            self._store.wake("scheduler")  # what is left is for the others, who may have room

    def _set_aside_what_cannot_be_written(self, error: Exception) -> None:
        """One report spoils the batch: find it, and let its attempt fail with the reason, so that the others go on."""
        log.error("a batch of reports cannot be written (%s); writing them one by one", first_line(error))
        reports, self._ended = self._ended, []
        for report in reports:
            self._ended += [] if self._write_alone(report) else [report]
        if self._ended:
            self._endure(error)

    def _write_alone(self, report: Ended) -> bool:
        for attempt in (report, _without_result(report)):
            try:
                turn = self._store.run(partial(self._work_on, attempt))
            except (MetastoreError, SQLAlchemyError) as error:
                log.error("the end of attempt %s cannot be written: %s", report.token, first_line(error))
                if self._store.is_passing(error):
                    return False  # the database's trouble, not the report's: it stays as it is
                continue
            self._tell_near(turn)
            is_judged = not turn.changes.unjudged
            if is_judged:
                self._executor.confirm([report.token])
            self._send(turn)
            self._after(turn, swept=False, doubts=0)
            self._agenda.look = True  # what has room now is handed out in the next turn
            return is_judged
        return False

    def _work_on(self, attempt: Ended, tx: Tx) -> Turn:
        return self._work.whole(tx, [attempt], sweep=False, due=False, look=False)

    def _endure(self, error: Exception) -> None:
        """The metastore failed: keep every report, and turn again in a moment."""
        if not self._outages.is_on:
            log.error("the metastore fails: %s. Going on as soon as it is back", first_line(error))
        self._outages.begin()
        self._metrics.incr("job_heartbeat_failure")
        time.sleep(_TROUBLE_SECONDS)
        self._outages.still_at()

    def _tell_near(self, turn: Turn) -> None:
        """Wake who delivers on this machine, before whatever else follows the commit: people wait for it."""
        changes = turn.changes
        if changes.announced or changes.foreseen:
            alerts_alone = changes.alerts == changes.announced and not changes.foreseen
            self._store.wake_near("notifier", ALERTS if alerts_alone else ANYTHING)

    def _send(self, turn: Turn) -> None:
        """Send the orders; wake who delivers elsewhere after that, for the database may let it wait."""
        if turn.orders:
            self._executor.submit(turn.orders)
        if turn.to_end:
            self._executor.end(turn.to_end)
        if turn.changes.announced or turn.changes.foreseen:
            self._store.wake_far("notifier")

    def _after(self, turn: Turn, *, swept: bool, doubts: int) -> None:
        """What follows the commit: remember what is due, measure."""
        changes = turn.changes
        if swept:
            self._work.dead.clear()
            self._work.others = turn.others
            self._outages.settle(doubts)
        self._agenda.follow(turn, swept=swept)
        self._ledger.forget(changes)
        self._meter.measure(turn)
        if swept:
            self._meter.measure_sweep(turn, self._collect_seconds)
        for token in changes.late:
            log.warning("the report of attempt %s came late and was dropped", token)

    def _answer_questions(self) -> None:
        if not self._questions:
            return
        asks = [question.ask for question in self._questions]
        for values in answer(self._store, asks, self._settings.webserver.url):
            question = self._questions.pop(0)  # what was done for it is written, whatever becomes of the next
            self._executor.answer(QuestionAnswer(question.token, question.ask.number, values))
            self._agenda.look = self._agenda.look or isinstance(question.ask, TriggerAsk)

    # -- stopping

    def _wind_down(self) -> None:
        """End what runs, write how it ended, and sign off."""
        log.info("stopping; ending %d attempts", self._executor.running)
        grace = self._settings.core.killed_task_cleanup_time
        self._executor.stop(grace)
        deadline = time.monotonic() + grace + 5.0
        gone = False
        while not gone and time.monotonic() < deadline:
            select.select([fd for fd, _ in self._executor.filenos()], [], [], 0.5)
            reports = self._executor.collect()
            gone = any(isinstance(report, OwnerDied) for report in reports)
            self._turn(reports)
        owners = [self._standing.identity.id, *([self._executor.owner] if gone else [])]
        try:
            self._store.run(lambda tx: self._standing.sign_off(tx, owners))
        except (MetastoreError, SQLAlchemyError) as error:
            log.error("stopping without a word in the metastore: %s. The supervisor will write what is left", error)
        self._metrics.incr("job_end")


def _without_result(report: Ended) -> Ended:
    """The same end without what the attempt left: that is what a database refuses."""
    reason = "its result could not be stored in the metastore; see the scheduler's log"
    return replace(report, outcome=Outcome(Cause.EXCEPTION, error=reason))
