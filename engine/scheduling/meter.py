"""What a scheduler tells of itself after each turn, and of the whole metastore while it leads."""

from __future__ import annotations

import logging
import time
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from engine.executors.protocol import Executor
from engine.metastore import audit
from engine.metastore.errors import MetastoreError
from engine.metastore.ledger import Ledger
from engine.metastore.states import TaskState
from engine.metastore.store import Store
from engine.metrics import Metrics
from engine.scheduling.gauges import Gauges
from engine.scheduling.measure import FirstStarts, measure, started
from engine.scheduling.outages import first_line
from engine.scheduling.standing import Standing
from engine.scheduling.turn import Turn

log = logging.getLogger(__name__)

_GAUGE_SECONDS: Final = 5.0
_IDLE_GAUGE_SECONDS: Final = 30.0
_AUDIT_SECONDS: Final = 60.0


class Meter:
    """Measures turns; with each sweep, what the leader measures for all."""

    def __init__(self, metrics: Metrics, store: Store, ledger: Ledger, executor: Executor, standing: Standing) -> None:
        self._metrics = metrics
        self._store = store
        self._ledger = ledger
        self._executor = executor
        self._standing = standing
        self._gauges = Gauges(metrics, executor.name)
        self._first_starts = FirstStarts()
        self._next_gauges = 0.0
        self._look_at_gauges = 0.0  # monotonic: even if nothing has happened here
        self._active = True  # something has happened since the gauges were read
        self._next_audit = time.monotonic() + _AUDIT_SECONDS

    def measure(self, turn: Turn) -> None:
        """Measure a turn that has committed."""
        metrics, changes = self._metrics, turn.changes
        self._active = self._active or bool(changes.tasks or changes.runs or changes.scheduled)
        measure(metrics, changes)
        for change in changes.tasks:
            if change.state == TaskState.QUEUED:
                started(metrics, change, turn.now)
        self._first_starts.measure(metrics, changes, turn.claimed, turn.now)
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

    def _measure_executor(self) -> None:
        name, running = self._executor.name, self._executor.running
        label = {"executor_class_name": name}
        self._metrics.gauge("executor.open_slots", self._executor.capacity - running, status="open", **label)
        self._metrics.gauge("executor.running_tasks", running, status="running", **label)

    def measure_sweep(self, turn: Turn, collect_seconds: float) -> None:
        """Measure what only a sweep tells. `collect_seconds`: what asking the executor took."""
        metrics, graphs = self._metrics, self._ledger.graphs
        metrics.incr("scheduler_heartbeat")
        metrics.incr("scheduler.orphaned_tasks.cleared", 0)
        metrics.incr("scheduler.orphaned_tasks.adopted", turn.adopted)
        metrics.timing("scheduler.executor_heartbeat_duration", collect_seconds, executor=self._executor.name)
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
                log.warning("what the leader does was left out: %s", first_line(error))
        elif self._standing.leadership.term is not None:
            self._gauges.repeat()

    def _lead(self) -> None:
        """What one scheduler does for all: the gauges of the whole metastore, and from time to time the audit."""
        term = self._standing.leadership.seek(self._store)
        if term is None:
            self._gauges.fall_silent()
            return
        with self._store.read() as connection:
            self._gauges.emit(connection)
        if time.monotonic() >= self._next_audit:
            self._next_audit = time.monotonic() + _AUDIT_SECONDS
            for sentence in self._store.run(lambda tx: audit.mend_budgets(tx, term)):
                log.error("%s; this should never be needed: please report it", sentence)
