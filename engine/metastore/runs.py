"""Reading runs: their unchanging facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from engine.metastore.changes import RunFacts
from engine.metastore.tables import DagRun

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
)
_FACTS = select(*FACT_COLUMNS).where(DagRun.id.in_(bindparam("ids", expanding=True)))


def facts_of(row: Row[Any]) -> RunFacts:
    """Facts from a row of :data:`FACT_COLUMNS`, whatever else it holds."""
    return RunFacts(*row[: len(FACT_COLUMNS)])


class Runs:
    """Facts of runs in flight, read once. Not shared between threads."""

    def __init__(self) -> None:
        self._facts: dict[int, RunFacts] = {}

    def get(self, connection: Connection, ids: Iterable[int]) -> dict[int, RunFacts]:
        """Facts by run id; ids that the metastore does not hold are left out."""
        wanted = set(ids)
        missing: Sequence[int] = sorted(wanted - self._facts.keys())
        if missing:
            for row in connection.execute(_FACTS, {"ids": missing}):
                self._facts[row.id] = facts_of(row)
        return {run_id: self._facts[run_id] for run_id in wanted if run_id in self._facts}

    def forget(self, ids: Iterable[int]) -> None:
        """Drop runs that have ended."""
        for run_id in ids:
            self._facts.pop(run_id, None)
