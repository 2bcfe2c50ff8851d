"""Reading runs: their unchanging facts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from engine.metastore import budgets
from engine.metastore.changes import RunFacts
from engine.metastore.one_of import one_of
from engine.metastore.states import RunState
from engine.metastore.tables import Budget, DagRun

FACT_COLUMNS = (
    DagRun.id,
    DagRun.dag_id,
    DagRun.run_id,
    DagRun.run_type,
    DagRun.version,
    DagRun.logical_date,
    DagRun.data_interval_start,
    DagRun.data_interval_end,
    DagRun.run_after,
    DagRun.queued_at,
    DagRun.start_date,
    DagRun.conf,
    DagRun.clears,
    DagRun.lane,
)
# DAGs with as many queued or running runs as max_active_runs allows. Counted over the live runs, which an index finds;
# what ended long ago costs nothing.
AT_LIMIT: Final = (
    select(DagRun.dag_id)
    .join(Budget, (Budget.kind == budgets.DAG_RUNS) & (Budget.name == DagRun.dag_id))
    .where(DagRun.state.in_([RunState.QUEUED, RunState.RUNNING]), DagRun.lane.is_(None))
    .group_by(DagRun.dag_id, Budget.slots)
    .having(func.count() >= Budget.slots)
)
_FACTS = select(*FACT_COLUMNS).where(one_of(DagRun.id, "ids"))


def facts_of(row: Row[Any]) -> RunFacts:
    """Facts from a row of :data:`FACT_COLUMNS`, whatever else it holds."""
    return RunFacts(*row[: len(FACT_COLUMNS)])


_CAPACITY: Final = 10_000


class Runs:
    """Facts of runs in flight, read once. Not shared between threads.

    What a transaction reads counts only for itself until it has committed: a run that it started has another start
    date, or none, when it is rolled back and done again.
    """

    def __init__(self) -> None:
        self._facts: OrderedDict[int, RunFacts] = OrderedDict()
        self._fresh: dict[int, RunFacts] = {}

    def begin(self) -> None:
        """A transaction begins, perhaps again."""
        self._fresh.clear()

    def commit(self) -> None:
        """It has committed. Of very many runs the longest known are dropped: another scheduler may have closed them."""
        self._facts.update(self._fresh)
        self._fresh.clear()
        while len(self._facts) > _CAPACITY:
            self._facts.popitem(last=False)

    def get(self, connection: Connection, ids: Iterable[int]) -> dict[int, RunFacts]:
        """Facts by run id; ids that the metastore does not hold are left out."""
        wanted = set(ids)
        missing: Sequence[int] = sorted(wanted - self._facts.keys() - self._fresh.keys())
        if missing:
            for row in connection.execute(_FACTS, {"ids": missing}):
                self._fresh[row.id] = facts_of(row)
        return {run_id: facts for run_id in wanted if (facts := self._facts.get(run_id) or self._fresh.get(run_id))}

    def expire(self) -> None:
        """Read all anew: somebody may have cleared a run, which then is of another DAG version."""
        self._facts.clear()

    def forget(self, ids: Iterable[int]) -> None:
        """Drop runs that have ended."""
        for run_id in ids:
            self._facts.pop(run_id, None)
            self._fresh.pop(run_id, None)
