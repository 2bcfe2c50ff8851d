"""The transitions together with what they tell: the only way the scheduler and the supervisors change states."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from engine.metastore import transitions
from engine.metastore.announce import Announcer
from engine.metastore.changes import Changes, Claimed, Finished
from engine.metastore.database import Tx
from engine.metastore.graphs import Graphs
from engine.metastore.runs import Runs
from engine.metastore.shipments import ShipmentRequests


class Ledger:
    """Changes states and announces the changes in the same transaction. Caches DAG versions and run facts.

    Not shared between threads. Each method is one step of a caller's transaction and may be repeated with it.
    """

    def __init__(self, announcer: Announcer, shipments: ShipmentRequests | None = None) -> None:
        self.graphs = Graphs()
        self.runs = Runs()
        self._announcer = announcer
        self._shipments = shipments

    def start_runs(self, tx: Tx, limit: int) -> Changes:
        """See :func:`transitions.start_runs`."""
        return self._announced(tx, transitions.start_runs(tx, self.graphs, limit))

    def claim(self, tx: Tx, owner: str, slots: int, *, starting: bool = False) -> tuple[list[Claimed], Changes]:
        """See :func:`transitions.claim`."""
        claimed, changes = transitions.claim(tx, self.graphs, self.runs, owner, slots, starting=starting)
        return claimed, self._announced(tx, changes)

    def finish(self, tx: Tx, reports: Sequence[Finished]) -> Changes:
        """See :func:`transitions.finish`."""
        return self._announced(tx, transitions.finish(tx, self.graphs, self.runs, reports))

    def rescue(self, tx: Tx, owners: Collection[str], limit: int = 1000) -> tuple[int, Changes]:
        """See :func:`transitions.rescue`."""
        released, changes = transitions.rescue(tx, self.graphs, self.runs, owners, limit)
        return released, self._announced(tx, changes)

    def _announced(self, tx: Tx, changes: Changes) -> Changes:
        if changes.tasks or changes.runs:
            changes.announced = self._announcer.announce(tx, self.graphs, self.runs, changes)
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
