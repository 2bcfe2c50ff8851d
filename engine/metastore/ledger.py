"""The transitions together with what they tell: the only way the scheduler and the supervisors change states."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from engine.metastore import (
    advance,
    backfills,
    clearing,
    deadlines,
    past,
    sla,
    sla_missed,
    sla_told,
    waiting,
)
from engine.metastore.announce import Announcer
from engine.metastore.begun import Begun
from engine.metastore.changes import Changes, Claimed, Finished
from engine.metastore.database import Tx
from engine.metastore.graphs import Graphs
from engine.metastore.runs import Runs
from engine.metastore.shipments import ShipmentRequests
from engine.metastore.states import TaskState
from engine.metastore.transitions import claiming, finishing, returning, starting


class Ledger:
    """Changes states and announces the changes in the same transaction. Caches DAG versions and run facts.

    Not shared between threads. Each method is one step of a caller's transaction and may be repeated with it.
    """

    def __init__(self, announcer: Announcer, shipments: ShipmentRequests | None = None) -> None:
        self.graphs = Graphs()
        self.runs = Runs()
        self._begun = Begun()
        self._announcer = announcer
        self._shipments = shipments

    def start_runs(self, tx: Tx, limit: int) -> Changes:
        """See :func:`starting.start_runs`."""
        changes = starting.start_runs(tx, self.graphs, limit)
        begun = (change.run for change in changes.runs if change.end_date is None)
        changes.foreseen = any(self.graphs.get(tx.connection, run.dag_id, run.version).calls_back for run in begun)
        return self._announced(tx, changes)

    def claim(self, tx: Tx, owner: str, slots: int, *, starting: bool = False) -> tuple[list[Claimed], Changes]:
        """See :func:`claiming.claim`."""
        claimed, changes = claiming.claim(tx, self.graphs, self.runs, owner, slots, starting=starting)
        self._begun.add(claimed)
        return claimed, self._announced(tx, changes)

    def finish(self, tx: Tx, reports: Sequence[Finished]) -> Changes:
        """See :func:`finishing.finish`."""
        begun = self._begun.take(report.token for report in reports)
        changes = finishing.finish(tx, self.graphs, self.runs, reports, begun)
        return self._announced(tx, self._restarted(tx, changes))

    def rescue(self, tx: Tx, owners: Collection[str], limit: int = 1000) -> tuple[int, Changes]:
        """See :func:`returning.rescue`."""
        released, changes = returning.rescue(tx, self.graphs, self.runs, owners, limit)
        return released, self._announced(tx, self._restarted(tx, changes))

    def expire_runs(self, tx: Tx, limit: int) -> Changes:
        """See :func:`deadlines.expire_runs`."""
        return self._announced(tx, deadlines.expire_runs(tx, self.graphs, self.runs, limit))

    def expire_waiting(self, tx: Tx, timeout: timedelta, limit: int) -> Changes:
        """See :func:`waiting.expire_waiting`."""
        return self._announced(tx, waiting.expire_waiting(tx, self.graphs, self.runs, timeout, limit))

    def release_overlooked(self, tx: Tx, limit: int) -> Changes:
        """Let tasks go on that wait for an earlier run although it has passed; see :mod:`engine.metastore.past`."""
        found = past.overlooked(tx, limit)
        return self._announced(tx, advance.reconsider(tx, self.graphs, self.runs, found))

    def clear(self, tx: Tx, ids: Collection[int]) -> Changes:
        """See :func:`clearing.clear`."""
        return self._announced(tx, clearing.clear(tx, self.graphs, self.runs, ids))

    def mark(self, tx: Tx, ids: Collection[int], state: TaskState) -> Changes:
        """See :func:`clearing.mark`."""
        return self._announced(tx, clearing.mark(tx, self.graphs, self.runs, ids, state))

    def fail_run(self, tx: Tx, run_pk: int) -> Changes | None:
        """See :func:`deadlines.fail_run`."""
        changes = deadlines.fail_run(tx, self.graphs, self.runs, run_pk)
        sla.cancel(tx, [] if changes is None else [run_pk])
        return None if changes is None else self._announced(tx, changes)

    def tell_missed(self, tx: Tx, limit: int) -> tuple[int, int]:
        """See :func:`sla_missed.claim_missed`; returns how many deadlines were due, and how much was told of them."""
        waves, due = sla_missed.claim_missed(tx, self.graphs, limit)
        return due, sla_told.announce(tx, waves, self._announcer.base_url)

    def start_backfill(self, tx: Tx, wish: backfills.Wish) -> tuple[int, Changes]:
        """See :func:`backfills.create`."""
        backfill_id, changes = backfills.create(tx, self.graphs, wish)
        return backfill_id, self._announced(tx, changes)

    def _restarted(self, tx: Tx, changes: Changes) -> Changes:
        """What was cleared while it ran begins anew, now that its attempt has ended."""
        if changes.restarts:
            changes.add(clearing.begin_anew(tx, self.graphs, self.runs, changes.restarts))
        return changes

    def _announced(self, tx: Tx, changes: Changes) -> Changes:
        if changes.tasks or changes.runs:
            sla.settle(tx, self.graphs, self.runs, changes)
            told = self._announcer.announce(tx, self.graphs, self.runs, changes)
            changes.announced, changes.alerts = sum(told), told.alerts
        changes.announced += sla_told.announce(tx, changes.missed, self._announcer.base_url)
        if self._shipments:
            self._shipments.request(tx, changes)
        return changes

    def begin(self) -> None:
        """A transaction begins, or is done again: what the last one read does not count."""
        self.runs.begin()

    def forget(self, changes: Changes) -> None:
        """Call it after the commit: keep what was read, and drop the facts of runs that ended."""
        self.runs.commit()
        self.runs.forget(change.run.id for change in changes.runs if change.end_date is not None)
