"""What a turn does in the metastore, step by step, in the transactions that the loop opens for it."""

from __future__ import annotations

import logging
import socket
import time
from datetime import timedelta

from engine.config import Settings
from engine.executors.protocol import Executor
from engine.metastore import backfills, deadlines, endings, leases, processes, sla_missed, waiting
from engine.metastore.changes import Changes, Finished
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store, Tx
from engine.metastore.transitions import promoting, returning
from engine.running.messages import Ended
from engine.scheduling.admission import detail_of
from engine.scheduling.agenda import BATCH, Agenda
from engine.scheduling.due import create_due_runs, earliest, next_due, sync_schedules
from engine.scheduling.orders import OrderDesk
from engine.scheduling.outages import Outages
from engine.scheduling.standing import Standing
from engine.scheduling.turn import Turn

log = logging.getLogger(__name__)


class Work:
    """The steps of a turn. Each may run again after a conflict; what follows from it outside waits in the Turn."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        ledger: Ledger,
        executor: Executor,
        standing: Standing,
        outages: Outages,
        agenda: Agenda,
    ) -> None:
        self._settings = settings
        self._store = store
        self._ledger = ledger
        self._executor = executor
        self._standing = standing
        self._outages = outages
        self._agenda = agenda
        self._desk = OrderDesk(settings.webserver.url, str(settings.core.dags_folder))
        self._hostname = socket.gethostname()
        self.dead: set[str] = set()  # supervisors known to be dead, not rescued yet
        self.others = 0  # schedulers besides this one, as the last sweep saw them

    @property
    def takes_turns(self) -> bool:
        """Whether work is handed out under the lock of claims. SQLite's writers queue up anyway."""
        return self.others > 0 and self._store.dialect.locks_rows

    def whole(self, tx: Tx, ended: list[Ended], *, sweep: bool, due: bool, look: bool) -> Turn:
        """All of one turn, in one transaction; may run again after a conflict. A sweep looks for what is `due`, too."""
        ledger = self._ledger
        ledger.begin()
        if due:
            ledger.runs.expire()
        reports = [Finished(end.token, end.outcome, self._hostname, end.ago()) for end in ended]
        began = time.monotonic()
        changes = ledger.finish(tx, reports)  # asks first, and hears what time it is
        turn = Turn(tx.now, tx.heard, changes, others=self.others)
        turn.decision_seconds = time.monotonic() - began
        turn.decided = list(ledger.runs.get(tx.connection, (change.run_pk for change in turn.changes.tasks)).values())
        if sweep:
            self._heartbeat(tx)
            # A commit whose answer was lost may have claimed what was never submitted.
            if self._outages.is_in_doubt(self._store) and self._executor.owner not in self.dead:
                turn.released = returning.disown(tx, self._executor.owner, self._executor.in_flight())
            dead = self._find_dead(tx, turn)
            turn.adopted = processes.attempts_outliving(tx.connection, dead)
            self.dead.update(dead)
        if self.dead:
            self._rescue(tx, turn)
        if sweep:
            paused = self._settings.core.dags_are_paused_at_creation
            synced = sync_schedules(tx, ledger.graphs, paused_at_creation=paused, limit=BATCH)
            turn.more = turn.more or synced == BATCH
        if due:
            look = self._see_to_what_is_due(tx, turn) or look
        turn.may_start = look or any(change.end_date for change in turn.changes.runs)
        if not self.takes_turns:
            self._start_and_claim(tx, turn, may_start=turn.may_start)
        return turn

    def hand_out(self, tx: Tx, *, may_start: bool) -> Turn:
        """Start runs and claim attempts, under the lock of claims."""
        self._ledger.begin()
        turn = Turn(tx.now, tx.heard)
        if may_start or self._executor.running < self._executor.capacity:
            leases.lock(tx, leases.CLAIMS)
            self._start_and_claim(tx, turn, may_start=may_start)
        return turn

    def _start_and_claim(self, tx: Tx, turn: Turn, *, may_start: bool) -> None:
        if may_start:
            turn.changes.add(self._ledger.start_runs(tx, BATCH))
        self._claim(tx, turn)

    def _claim(self, tx: Tx, turn: Turn) -> None:
        free = self._executor.capacity - self._executor.running
        if free <= 0 or self._agenda.stopping:
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

    def _heartbeat(self, tx: Tx) -> None:
        ids = [self._standing.identity.id, *self._executor.healthy_owners()]
        if processes.heartbeat(tx, ids) == len(ids):
            return
        buried = set(ids) - processes.living(tx.connection, ids)
        log.error("somebody declared this scheduler or its supervisor dead; beginning anew")
        if self._standing.identity.id in buried:
            self._standing.begin_anew()
            processes.register(tx, self._standing.identity, detail_of(self._settings))
        if self._executor.owner in buried:
            self._executor.end_hung(0)  # its attempts are somebody else's to decide by now

    def _find_dead(self, tx: Tx, turn: Turn) -> list[str]:
        seconds = self._settings.scheduler.scheduler_health_check_threshold
        threshold = self._outages.threshold(seconds)
        kinds = (ProcessKind.SUPERVISOR, ProcessKind.SCHEDULER)
        census = processes.take_census(tx.connection, tx.now, threshold, kinds)
        turn.others = len(census.living[ProcessKind.SCHEDULER] - {self._standing.identity.id})
        orphaned = processes.find_orphaned_owners(tx.connection)
        return [process for process in {*census.dead, *orphaned} if process != self._executor.owner]

    def _rescue(self, tx: Tx, turn: Turn) -> None:
        released, changes = self._ledger.rescue(tx, self.dead, BATCH)
        turn.released += released
        turn.rescued = sum(change.outcome is not None for change in changes.tasks)
        turn.changes.add(changes)
        if released + turn.rescued < BATCH:
            processes.declare_dead(tx, self.dead)
        else:
            turn.more = True

    def _see_to_what_is_due(self, tx: Tx, turn: Turn) -> bool:
        """Make the runs that are due, let retries be claimed, keep the deadlines; returns whether a run was made."""
        turn.next_run, created = earliest(tx), 0
        if turn.next_run and turn.next_run <= tx.now:
            created = create_due_runs(tx, self._ledger.graphs, BATCH)
            turn.next_run = next_due(tx)
        promoted = promoting.promote(tx, BATCH)
        late = self._keep_deadlines(tx, turn)
        turn.more = turn.more or created > 0 or promoted == BATCH or late >= BATCH
        return created > 0

    def _keep_deadlines(self, tx: Tx, turn: Turn) -> int:
        """Fail the runs that are over their time, tell what has missed its SLA, and learn which attempts to end.

        Returns how many runs or deadlines there were, whichever is more.
        """
        ahead, late, missed = deadlines.next_deadlines(tx), Changes(), 0
        if ahead.run and ahead.run <= tx.now:
            late = self._ledger.expire_runs(tx, BATCH)
            turn.changes.add(late)
        if ahead.sla and ahead.sla <= tx.now:
            wait = sla_missed.wait_before_telling(turn.others, self._outages.seconds_at_work())
            if wait:
                ahead = ahead._replace(sla=tx.now + wait)
            else:
                missed, told = self._ledger.tell_missed(tx, BATCH)
                turn.changes.announced += told
                ahead = ahead._replace(sla=None)  # where nothing was left, another scheduler is at it
        turn.next_deadlines = (deadlines.next_deadlines(tx) if late.runs or missed else ahead).moments
        waited = self._end_long_waits(tx, turn)
        if self._agenda.is_long_look_due() or turn.changes.runs:
            turn.looked_long = True
            turn.changes.add(self._ledger.release_overlooked(tx, BATCH))
            backfills.complete(tx)
        if self._executor.in_flight() or self._outages.is_in_doubt(self._store):
            self._end_what_was_decided(tx, turn)
        return max(len(late.runs), missed, waited)

    def _end_long_waits(self, tx: Tx, turn: Turn) -> int:
        """Let attempts fail that waited too long for a slot, where a setting says how long; returns how many.

        When the oldest is known to be over its time, and else once a second at most, since it reads all that is ready.
        """
        timeout = self._settings.scheduler.task_queued_timeout
        if not timeout:
            return 0
        if (left := self._agenda.seconds_to_look_at_waits(turn)) > 0:
            turn.next_wait_over = tx.now + timedelta(seconds=left)
            return 0
        at_work, changes = self._outages.seconds_at_work(), Changes()
        if at_work >= timeout:
            changes = self._ledger.expire_waiting(tx, timedelta(seconds=timeout), BATCH)
            turn.changes.add(changes)
        turn.looked_at_waits = len(changes.ended) < BATCH
        if oldest := waiting.oldest(tx):
            turn.next_wait_over = max(oldest, tx.now - timedelta(seconds=at_work)) + timedelta(seconds=timeout)
        return len(changes.ended)

    def _end_what_was_decided(self, tx: Tx, turn: Turn) -> None:
        turn.to_end = endings.requested(tx, self._executor.owner)
        # What never reached the supervisor has ended already.
        absent = turn.to_end.keys() - set(self._executor.in_flight())
        ended = [Finished(token, Outcome(Cause.ENDED, error=turn.to_end[token]), self._hostname) for token in absent]
        turn.changes.add(self._ledger.finish(tx, ended))
