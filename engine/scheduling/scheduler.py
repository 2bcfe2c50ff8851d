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
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from types import FrameType
from typing import Final

from msgspec.structs import replace
from sqlalchemy.exc import SQLAlchemyError

from engine.config import Settings
from engine.executors.local import LocalExecutor, SequentialExecutor
from engine.executors.protocol import OwnerDied, Report
from engine.metastore import (
    audit,
    backfills,
    deadlines,
    endings,
    leases,
    processes,
    sla_missed,
    transitions,
    waiting,
)
from engine.metastore.announce import Announcer
from engine.metastore.changes import Changes, Claimed, Finished, RunFacts
from engine.metastore.errors import MetastoreError
from engine.metastore.leases import Leadership
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.processes import Identity, identify
from engine.metastore.shipments import place_detail, shipment_requests
from engine.metastore.states import ProcessKind, RunType, TaskState
from engine.metastore.store import Store, Tx
from engine.metastore.wakeups import ALERTS, ANYTHING, Listener
from engine.metrics import Metrics
from engine.running.answers import answer
from engine.running.messages import AttemptOrder, Ended, Question, QuestionAnswer, TriggerAsk
from engine.scheduling.admission import detail_of, sign_on
from engine.scheduling.due import create_due_runs, earliest, next_due, sync_schedules
from engine.scheduling.gauges import Gauges
from engine.scheduling.instants import poll_until
from engine.scheduling.measure import FirstStarts, measure, started
from engine.scheduling.orders import OrderDesk

log = logging.getLogger(__name__)

_BATCH: Final = 200
_GAUGE_SECONDS: Final = 5.0
_IDLE_GAUGE_SECONDS: Final = 30.0
_AUDIT_SECONDS: Final = 60.0
_LONG_LOOK_SECONDS: Final = 30.0
_TROUBLE_SECONDS: Final = 0.5
_SHARE_SECONDS: Final = 0.25
_WAITS_SECONDS: Final = 1.0
_EXECUTORS: Final = {"LocalExecutor": LocalExecutor, "SequentialExecutor": SequentialExecutor}


@dataclass(slots=True)
class Turn:
    """What one transaction found and did."""

    now: datetime
    began: float = field(default_factory=time.monotonic)  # this process's clock, when the database's was `now`
    changes: Changes = field(default_factory=Changes)
    claimed: list[Claimed] = field(default_factory=list)
    orders: list[AttemptOrder] = field(default_factory=list)
    rescued: int = 0
    released: int = 0
    more: bool = False  # a bounded step may have left some: sweep again at once
    next_run: datetime | None = None
    claim_seconds: float = 0.0
    query_seconds: float = 0.0  # of claim_seconds, finding and taking what is ready
    decided: list[RunFacts] = field(default_factory=list)  # runs whose tasks ended
    decision_seconds: float = 0.0  # what was decided for all of them took this long
    to_end: dict[str, str] = field(default_factory=dict)  # our attempts that somebody's decision ends: token → why
    next_deadlines: list[datetime] = field(default_factory=list)  # of a dagrun_timeout, and of an SLA
    next_wait_over: datetime | None = None  # of a ready task with a task_queued_timeout
    adopted: int = 0  # attempts that go on under the supervisor of a dead scheduler
    looked_at_waits: bool = False  # for ready tasks that waited for too long
    looked_long: bool = False  # also for what hardly ever is there
    others: int = 0  # schedulers besides this one, as the last sweep saw them
    may_start: bool = False  # queued runs may have room now


class Scheduler:
    """One scheduler with its executor. :meth:`run` blocks until TERM or INT."""

    def __init__(self, settings: Settings, store: Store | None = None, metrics: Metrics | None = None) -> None:
        self._settings = settings
        self._store = store or Store.from_settings(settings)
        self._metrics = metrics or Metrics(settings.metrics)
        self._ledger = Ledger(Announcer(settings.webserver.url), shipment_requests(settings.logging))
        self._desk = OrderDesk(settings.webserver.url, str(settings.core.dags_folder))
        self._gauges = Gauges(self._metrics, settings.core.executor)
        self._first_starts = FirstStarts()
        self._hostname = socket.gethostname()
        self._stopping = False
        self._sweep = True  # look at everything in the next turn
        self._due = False  # a timer says that something is due
        self._look = True  # look for queued runs in the next turn
        self._dead: set[str] = set()  # supervisors known to be dead, not rescued yet
        self._ended: list[Ended] = []  # reports that no committed transaction has taken up yet
        self._questions: list[Question] = []
        self._collect_seconds = 0.0
        self._doubtful = False  # a transaction failed, or seemed to
        self._doubts_settled = 0  # of the store's doubts, those that disown() has looked into
        self._troubled = False  # the metastore failed in the last turn
        self._judge_from = 0.0  # monotonic: before it, other hosts' heartbeats may be old because of an outage
        self._others = 0  # schedulers besides this one, as the last sweep saw them
        self._next_share = 0.0
        self._next_sweep = 0.0
        self._next_long_look = 0.0
        self._next_look_at_waits = 0.0
        self._next_gauges = 0.0
        self._look_at_gauges = 0.0  # monotonic: even if nothing has happened here
        self._active = True  # something has happened since the gauges were read
        self._next_audit = time.monotonic() + _AUDIT_SECONDS
        self._timers: list[float] = []  # monotonic instants at which something is due
        self._at_work_since = time.monotonic()  # without an outage of the metastore: what waited in it had no chance

    def run(self) -> int:
        """Schedule until told to stop; returns the exit status."""
        self._store.check()
        self._identity = identify(ProcessKind.SCHEDULER)
        self._store.run(lambda tx: sign_on(tx, self._identity, self._settings))
        self._leadership = Leadership(self._identity.id)
        self._metrics.incr("job_start")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        wake_r, wake_w = socket.socketpair()
        wake_w.setblocking(False)
        signal.set_wakeup_fd(wake_w.fileno())
        self._listener = Listener(self._store, "scheduler")
        factory = _EXECUTORS[self._settings.core.executor]
        self._executor = factory(self._settings.core.parallelism, self._register)
        log.info("scheduling with the %s, up to %d tasks at once", self._executor.name, self._executor.capacity)
        try:
            while not self._stopping:
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
        place = place_detail(self._settings.logging)
        while True:
            try:
                self._store.run(lambda tx: processes.register(tx, identity, {"scheduler": self._identity.id} | place))
            except (MetastoreError, SQLAlchemyError) as error:
                if self._stopping:
                    raise
                self._endure(error)
            else:
                return

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    # -- waiting

    def _wait(self, wake: socket.socket) -> None:
        poller = select.poll()
        poller.register(wake.fileno(), select.POLLIN)
        for fd in self._listener.filenos():
            poller.register(fd, select.POLLIN)
        for fd, writing in self._executor.filenos():
            poller.register(fd, select.POLLIN | (select.POLLOUT if writing else 0))
        now = time.monotonic()
        # A signal may have set the flags just before poll(); the wake-up socket makes it return at once then.
        next_time = (
            now if (self._sweep or self._due or self._look) else min([self._next_sweep, *self._timers, *self._polls()])
        )
        ready = poll_until(poller, next_time)
        if ready.intersection(self._listener.filenos()) or self._listener.poll():
            self._listener.drain()
            self._look = self._sweep = True
        now = time.monotonic()
        if now >= self._next_sweep:
            self._sweep = self._look = True
        if any(timer <= now for timer in self._timers):
            self._timers = [timer for timer in self._timers if timer > now]
            self._due = self._look = True

    def _polls(self) -> list[float]:
        return [moment] if (moment := self._listener.next_poll) is not None else []

    # -- one turn

    def _collect(self) -> list[Report]:
        began = time.monotonic()
        if self._executor.replace_dead():
            self._look = True  # what waits may be claimed again
        reports = self._executor.collect()
        self._collect_seconds = time.monotonic() - began
        return reports

    def _turn(self, reports: list[Report]) -> None:
        self._ended += [report for report in reports if isinstance(report, Ended)]
        self._questions += [report for report in reports if isinstance(report, Question)]
        self._dead.update(report.owner for report in reports if isinstance(report, OwnerDied))
        if self._sweep:
            self._executor.end_hung(self._settings.scheduler.scheduler_health_check_threshold)
            self._executor.reap_orphans()
        if not (self._ended or self._questions or self._dead or self._sweep or self._due or self._look):
            return
        began = time.monotonic()
        try:
            self._answer_questions()
            ended, sweep, due, doubts = self._ended, self._sweep, self._sweep or self._due, self._store.doubts
            turn = self._store.run(lambda tx: self._work(tx, ended, sweep=sweep, due=due, look=self._look))
        except (MetastoreError, SQLAlchemyError) as error:
            if self._ended and not self._store.is_passing(error):
                self._set_aside_what_cannot_be_written(error)
            else:
                self._endure(error)
            return
        self._tell(turn)
        unjudged = [one for one in ended if one.token in turn.changes.unjudged]
        if len(unjudged) < len(ended):
            self._executor.confirm([one.token for one in ended if one not in unjudged])
        self._ended, self._sweep, self._due, self._look, self._troubled = unjudged, False, False, False, False
        if turn.orders:
            self._executor.submit(turn.orders)
        if turn.to_end:
            self._executor.end(turn.to_end)
        self._after(turn, swept=sweep, doubts=doubts)
        if self._takes_turns:
            self._hand_out(may_start=turn.may_start)
        self._metrics.timing("scheduler.scheduler_loop_duration", time.monotonic() - began)

    def _hand_out(self, *, may_start: bool) -> None:
        """Start runs and claim attempts, in a transaction of its own and under the lock of claims."""
        try:
            turn = self._store.run(lambda tx: self._locked_hand_out(tx, may_start=may_start))
        except (MetastoreError, SQLAlchemyError) as error:
            self._look = True
            self._endure(error)
            return
        self._tell(turn)
        if turn.orders:
            self._executor.submit(turn.orders)
        self._after(turn, swept=False, doubts=0)
        full = self._executor.running >= self._executor.capacity
        if turn.claimed and full and time.monotonic() >= self._next_share:
            self._next_share = time.monotonic() + _SHARE_SECONDS
            self._store.wake("scheduler")  # what is left is for the others, who may have room

    def _locked_hand_out(self, tx: Tx, *, may_start: bool) -> Turn:
        self._ledger.begin()
        turn = Turn(tx.now)
        if may_start or self._executor.running < self._executor.capacity:
            leases.lock(tx, leases.CLAIMS)
            self._start_and_claim(tx, turn, may_start=may_start)
        return turn

    def _start_and_claim(self, tx: Tx, turn: Turn, *, may_start: bool) -> None:
        if may_start:
            turn.changes.add(self._ledger.start_runs(tx, _BATCH))
        self._claim(tx, turn)

    def _set_aside_what_cannot_be_written(self, error: Exception) -> None:
        """One report spoils the batch: find it, and let its attempt fail with the reason, so that the others go on."""
        log.error("a batch of reports cannot be written (%s); writing them one by one", _first_line(error))
        reports, self._ended = self._ended, []
        for report in reports:
            self._ended += [] if self._write_alone(report) else [report]
        if self._ended:
            self._endure(error)

    def _write_alone(self, report: Ended) -> bool:
        for attempt in (report, _without_result(report)):
            work = partial(self._work, ended=[attempt], sweep=False, due=False, look=False)
            try:
                turn = self._store.run(work)
            except (MetastoreError, SQLAlchemyError) as error:
                log.error("the end of attempt %s cannot be written: %s", report.token, _first_line(error))
                if self._store.is_passing(error):
                    return False  # the database's trouble, not the report's: it stays as it is
                continue
            self._tell(turn)
            if turn.changes.unjudged:
                return False
            self._executor.confirm([report.token])
            if turn.orders:
                self._executor.submit(turn.orders)
            self._after(turn, swept=False, doubts=0)
            self._look = True  # what has room now is handed out in the next turn
            return True
        return False

    def _endure(self, error: Exception) -> None:
        """The metastore failed: keep every report, and turn again in a moment."""
        if not self._troubled:
            log.error("the metastore fails: %s. Going on as soon as it is back", _first_line(error))
        self._troubled = self._doubtful = True
        self._metrics.incr("job_heartbeat_failure")
        time.sleep(_TROUBLE_SECONDS)
        self._at_work_since = time.monotonic()

    def _work(self, tx: Tx, ended: list[Ended], *, sweep: bool, due: bool, look: bool) -> Turn:
        """All of one turn, in one transaction; may run again after a conflict. A sweep looks for what is `due`, too."""
        ledger, turn = self._ledger, Turn(tx.now, others=self._others)
        ledger.begin()
        if due:
            ledger.runs.expire()
        reports = [Finished(end.token, end.outcome, self._hostname, end.ago()) for end in ended]
        began = time.monotonic()
        turn.changes.add(ledger.finish(tx, reports))
        turn.decision_seconds = time.monotonic() - began
        turn.decided = list(ledger.runs.get(tx.connection, (change.run_pk for change in turn.changes.tasks)).values())
        if sweep:
            self._heartbeat(tx)
            # A commit whose answer was lost may have claimed what was never submitted.
            if self._is_in_doubt() and self._executor.owner not in self._dead:
                turn.released = transitions.disown(tx, self._executor.owner, self._executor.in_flight())
            dead = self._find_dead(tx, turn)
            turn.adopted = processes.attempts_outliving(tx.connection, dead)
            self._dead.update(dead)
        if self._dead:
            self._rescue(tx, turn)
        if sweep:
            paused = self._settings.core.dags_are_paused_at_creation
            synced = sync_schedules(tx, ledger.graphs, paused_at_creation=paused, limit=_BATCH)
            turn.more = turn.more or synced == _BATCH
        if due:
            look = self._see_to_what_is_due(tx, turn) or look
        turn.may_start = look or any(change.end_date for change in turn.changes.runs)
        if not self._takes_turns:
            self._start_and_claim(tx, turn, may_start=turn.may_start)
        return turn

    def _see_to_what_is_due(self, tx: Tx, turn: Turn) -> bool:
        """Make the runs that are due, let retries be claimed, keep the deadlines; returns whether a run was made."""
        turn.next_run, created = earliest(tx), 0
        if turn.next_run and turn.next_run <= tx.now:
            created = create_due_runs(tx, self._ledger.graphs, _BATCH)
            turn.next_run = next_due(tx)
        promoted = transitions.promote(tx, _BATCH)
        late = self._keep_deadlines(tx, turn)
        turn.more = turn.more or created > 0 or promoted == _BATCH or late >= _BATCH
        return created > 0

    @property
    def _takes_turns(self) -> bool:
        """Whether work is handed out under the lock of claims. SQLite's writers queue up anyway."""
        return self._others > 0 and self._store.dialect.locks_rows

    def _is_in_doubt(self) -> bool:
        """Whether some commit may have been done although it seemed to fail."""
        return self._doubtful or self._store.doubts != self._doubts_settled

    def _keep_deadlines(self, tx: Tx, turn: Turn) -> int:
        """Fail the runs that are over their time, tell what has missed its SLA, and learn which attempts to end.

        Returns how many runs or deadlines there were, whichever is more.
        """
        ahead, late, missed = deadlines.next_deadlines(tx), Changes(), 0
        if ahead.run and ahead.run <= tx.now:
            late = self._ledger.expire_runs(tx, _BATCH)
            turn.changes.add(late)
        if ahead.sla and ahead.sla <= tx.now:
            wait = sla_missed.wait_before_telling(turn.others, time.monotonic() - self._at_work_since)
            if wait:
                ahead = ahead._replace(sla=tx.now + wait)
            else:
                missed, told = self._ledger.tell_missed(tx, _BATCH)
                turn.changes.announced += told
                ahead = ahead._replace(sla=None)  # where nothing was left, another scheduler is at it
        turn.next_deadlines = (deadlines.next_deadlines(tx) if late.runs or missed else ahead).moments
        waited = self._end_long_waits(tx, turn)
        if time.monotonic() >= self._next_long_look or turn.changes.runs:
            turn.looked_long = True
            turn.changes.add(self._ledger.release_overlooked(tx, _BATCH))
            backfills.complete(tx)
        if self._executor.in_flight() or self._is_in_doubt():
            self._end_what_was_decided(tx, turn)
        return max(len(late.runs), missed, waited)

    def _end_long_waits(self, tx: Tx, turn: Turn) -> int:
        """Let attempts fail that waited too long for a slot, where a setting says how long; returns how many.

        When the oldest is known to be over its time, and else once a second at most, since it reads all that is ready.
        """
        timeout = self._settings.scheduler.task_queued_timeout
        if not timeout:
            return 0
        if (left := self._next_look_at_waits - turn.began) > 0:
            turn.next_wait_over = tx.now + timedelta(seconds=left)
            return 0
        at_work, changes = time.monotonic() - self._at_work_since, Changes()
        if at_work >= timeout:
            changes = self._ledger.expire_waiting(tx, timedelta(seconds=timeout), _BATCH)
            turn.changes.add(changes)
        turn.looked_at_waits = len(changes.ended) < _BATCH
        if oldest := waiting.oldest(tx):
            turn.next_wait_over = max(oldest, tx.now - timedelta(seconds=at_work)) + timedelta(seconds=timeout)
        return len(changes.ended)

    def _end_what_was_decided(self, tx: Tx, turn: Turn) -> None:
        turn.to_end = endings.requested(tx, self._executor.owner)
        # What never reached the supervisor has ended already.
        absent = turn.to_end.keys() - set(self._executor.in_flight())
        ended = [Finished(token, Outcome(Cause.ENDED, error=turn.to_end[token]), self._hostname) for token in absent]
        turn.changes.add(self._ledger.finish(tx, ended))

    def _heartbeat(self, tx: Tx) -> None:
        ids = [self._identity.id, *self._executor.healthy_owners()]
        if processes.heartbeat(tx, ids) == len(ids):
            return
        buried = set(ids) - processes.living(tx.connection, ids)
        log.error("somebody declared this scheduler or its supervisor dead; beginning anew")
        if self._identity.id in buried:
            self._identity = identify(ProcessKind.SCHEDULER)
            self._leadership = Leadership(self._identity.id)
            processes.register(tx, self._identity, detail_of(self._settings))
        if self._executor.owner in buried:
            self._executor.end_hung(0)  # its attempts are somebody else's to decide by now

    def _find_dead(self, tx: Tx, turn: Turn) -> list[str]:
        seconds = self._settings.scheduler.scheduler_health_check_threshold
        if self._troubled:
            self._judge_from = time.monotonic() + seconds  # the others could not write heartbeats either
        threshold = timedelta(seconds=seconds if time.monotonic() >= self._judge_from else seconds * 10)
        kinds = (ProcessKind.SUPERVISOR, ProcessKind.SCHEDULER)
        census = processes.take_census(tx.connection, tx.now, threshold, kinds)
        turn.others = len(census.living[ProcessKind.SCHEDULER] - {self._identity.id})
        orphaned = processes.find_orphaned_owners(tx.connection)
        return [process for process in {*census.dead, *orphaned} if process != self._executor.owner]

    def _rescue(self, tx: Tx, turn: Turn) -> None:
        released, changes = self._ledger.rescue(tx, self._dead, _BATCH)
        turn.released += released
        turn.rescued = sum(change.outcome is not None for change in changes.tasks)
        turn.changes.add(changes)
        if released + turn.rescued < _BATCH:
            processes.declare_dead(tx, self._dead)
        else:
            turn.more = True

    def _claim(self, tx: Tx, turn: Turn) -> None:
        free = self._executor.capacity - self._executor.running
        if free <= 0 or self._stopping:
            return
        began = time.monotonic()
        turn.claimed, changes = self._ledger.claim(tx, self._executor.owner, free, starting=True)
        turn.changes.add(changes)
        turn.query_seconds = time.monotonic() - began
        if turn.claimed:
            graphs = self._ledger.graphs
            turn.orders = [
                self._desk.order(claimed, graphs.get(tx.connection, claimed.run.dag_id, claimed.run.version), tx.now)
                for claimed in turn.claimed
            ]
        turn.claim_seconds = time.monotonic() - began

    def _tell(self, turn: Turn) -> None:
        """Wake who delivers, before whatever else follows the commit: people wait for it."""
        changes = turn.changes
        if changes.announced:
            self._store.wake("notifier", ALERTS if changes.alerts == changes.announced else ANYTHING)

    def _after(self, turn: Turn, *, swept: bool, doubts: int) -> None:
        """What follows the commit: remember what is due, measure."""
        changes = turn.changes
        if turn.more or any(change.end_date and change.run.run_type == RunType.SCHEDULED for change in changes.runs):
            self._sweep = True  # where a scheduled run has ended, the next may be due and have waited for it
        if turn.looked_at_waits:
            over = turn.next_wait_over
            soonest = _WAITS_SECONDS if over is None else max(0.0, (over - turn.now).total_seconds())
            self._next_look_at_waits = turn.began + min(_WAITS_SECONDS, soonest)
        if turn.looked_long:
            self._next_long_look = time.monotonic() + _LONG_LOOK_SECONDS
        if swept:
            self._dead.clear()
            self._doubtful, self._doubts_settled = False, doubts
            self._others = turn.others
            self._next_sweep = time.monotonic() + self._settings.scheduler.scheduler_heartbeat_sec
        self._active = self._active or bool(changes.tasks or changes.runs or changes.scheduled)
        self._remember_due(turn)
        self._ledger.forget(changes)
        self._measure(turn, swept=swept)
        for token in changes.late:
            log.warning("the report of attempt %s came late and was dropped", token)

    def _remember_due(self, turn: Turn) -> None:
        retries = [change.retry_at for change in turn.changes.tasks if change.retry_at]
        deadlines_ahead = [change.deadline for change in turn.changes.runs if not change.end_date]
        timeouts = [*turn.next_deadlines, *deadlines_ahead, turn.next_wait_over]
        if (wait := self._settings.scheduler.task_queued_timeout) and turn.changes.scheduled:
            timeouts.append(turn.now + timedelta(seconds=wait))  # the sweep of this turn did not see them
        due = [moment for moment in [*retries, turn.next_run, *timeouts] if moment]
        soon = [turn.began + max(0.0, (moment - turn.now).total_seconds()) for moment in due]
        # What is due after the next sweep is found by it.
        next_sweep = time.monotonic() + self._settings.scheduler.scheduler_heartbeat_sec
        self._timers += [timer for timer in soon if timer < next_sweep]

    def _answer_questions(self) -> None:
        if not self._questions:
            return
        asks = [question.ask for question in self._questions]
        for values in answer(self._store, asks, self._settings.webserver.url):
            question = self._questions.pop(0)  # what was done for it is written, whatever becomes of the next
            self._executor.answer(QuestionAnswer(question.token, question.ask.number, values))
            self._look = self._look or isinstance(question.ask, TriggerAsk)

    # -- measuring

    def _measure(self, turn: Turn, *, swept: bool) -> None:
        metrics = self._metrics
        measure(metrics, turn.changes)
        for change in turn.changes.tasks:
            if change.state == TaskState.QUEUED:
                started(metrics, change, turn.now)
        self._first_starts.measure(metrics, turn.changes, turn.claimed, turn.now)
        for run in turn.decided:
            labels = {"dag_id": run.dag_id, "run_type": run.run_type}
            metrics.timing("dagrun.dependency-check", turn.decision_seconds, **labels)
        self._measure_executor()
        metrics.gauge("scheduler.tasks.executable", len(turn.claimed))
        if turn.claimed:
            metrics.timing("scheduler.critical_section_query_duration", turn.query_seconds)
            metrics.timing("scheduler.critical_section_duration", turn.claim_seconds)
        if turn.released or turn.rescued:
            metrics.incr("scheduler.orphaned_tasks.cleared", turn.released + turn.rescued)
            log.warning("rescued %d lost attempts and released %d", turn.rescued, turn.released)
        if swept:
            self._measure_sweep(turn)

    def _measure_executor(self) -> None:
        name, running = self._executor.name, self._executor.running
        label = {"executor_class_name": name}
        self._metrics.gauge("executor.open_slots", self._executor.capacity - running, status="open", **label)
        self._metrics.gauge("executor.running_tasks", running, status="running", **label)

    def _measure_sweep(self, turn: Turn) -> None:
        metrics, graphs = self._metrics, self._ledger.graphs
        metrics.incr("scheduler_heartbeat")
        metrics.incr("scheduler.orphaned_tasks.cleared", 0)
        metrics.incr("scheduler.orphaned_tasks.adopted", turn.adopted)
        metrics.timing("scheduler.executor_heartbeat_duration", self._collect_seconds, executor=self._executor.name)
        metrics.incr("scheduler.dag_bag.cache_hit", graphs.hits)
        metrics.incr("scheduler.dag_bag.cache_miss", graphs.misses)
        graphs.hits = graphs.misses = 0
        metrics.gauge("scheduler.dag_bag.cache_size", len(graphs))
        self._tell_gauges()

    def _tell_gauges(self) -> None:
        """While nothing happens here the last values are told again: others' work is looked at twice a minute."""
        now = time.monotonic()
        if now < self._next_gauges:
            return
        self._next_gauges = now + _GAUGE_SECONDS
        if self._active or now >= self._look_at_gauges:
            self._active, self._look_at_gauges = False, now + _IDLE_GAUGE_SECONDS
            try:
                self._lead()
            except (MetastoreError, SQLAlchemyError) as error:
                log.warning("what the leader does was left out: %s", _first_line(error))
        elif self._leadership.term is not None:
            self._gauges.repeat()

    def _lead(self) -> None:
        """What one scheduler does for all: the gauges of the whole metastore, and from time to time the audit."""
        term = self._leadership.seek(self._store)
        if term is None:
            self._gauges.fall_silent()
            return
        with self._store.read() as connection:
            self._gauges.emit(connection)
        if time.monotonic() >= self._next_audit:
            self._next_audit = time.monotonic() + _AUDIT_SECONDS
            for sentence in self._store.run(lambda tx: audit.mend_budgets(tx, term)):
                log.error("%s; this should never be needed: please report it", sentence)

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
        owners = [self._identity.id, self._executor.owner] if gone else [self._identity.id]
        try:
            self._store.run(lambda tx: self._sign_off(tx, owners))
        except (MetastoreError, SQLAlchemyError) as error:
            log.error("stopping without a word in the metastore: %s. The supervisor will write what is left", error)
        self._metrics.incr("job_end")

    def _sign_off(self, tx: Tx, owners: list[str]) -> None:
        self._leadership.resign(tx)
        processes.end(tx, owners)


def _without_result(report: Ended) -> Ended:
    """The same end without what the attempt left: that is what a database refuses."""
    reason = "its result could not be stored in the metastore; see the scheduler's log"
    return replace(report, outcome=Outcome(Cause.EXCEPTION, error=reason))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
