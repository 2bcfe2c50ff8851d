"""The last runs of Airflow's DAGs, followed from read to read.

Airflow has no index that leads to the run of a DAG that ended last, and a scrape must not walk through years of runs:

1. The first read, and one in ten minutes, walks through all runs that are over (one statement).
2. In between, a run can only have ended if it was open at the read before or has come since then. Both are found by the
   primary key. What this misses (a run that was cleared and ended again between two reads) the next walk finds.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, func, or_, select

from exporters.metastore.families import FINAL_RUNS, LastRun, among

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection, Row, TableClause

WALK_EVERY: Final = timedelta(minutes=10)


class LastRuns:
    """Of each DAG the last run that is over, by outcome."""

    def __init__(self, dag_run: TableClause) -> None:
        self._dag_run = dag_run
        columns = dag_run.c
        place = func.row_number().over(
            partition_by=(columns.dag_id, columns.state), order_by=(columns.end_date.desc(), columns.id.desc())
        )
        ended = select(columns.dag_id, columns.state, columns.start_date, columns.end_date, place.label("place"))
        ended = ended.where(among(columns.state, FINAL_RUNS), columns.end_date.is_not(None))
        first = ended.subquery()
        self._walk = select(first).where(first.c.place == 1)
        self._newest_id = select(func.max(columns.id))
        self._since = select(columns.id, columns.dag_id, columns.state, columns.start_date, columns.end_date).where(
            or_(columns.id > bindparam("newest"), columns.id.in_(bindparam("open", expanding=True)))
        )
        self.forget()

    def forget(self) -> None:
        """Let the next read be a walk."""
        self._ends: dict[str, dict[str, LastRun]] = {}
        self._open: frozenset[int] = frozenset()
        self._newest = 0
        self._walked_at: datetime | None = None

    def of(self, dag_id: str) -> Mapping[str, LastRun]:
        return self._ends.get(dag_id, {})

    def follow(self, connection: Connection, now: datetime, open_ids: Iterable[int]) -> None:
        """Learn what has ended; `open_ids` are the runs that are open in this transaction."""
        if self._walked_at is None or now - self._walked_at >= WALK_EVERY:
            self._ends = defaultdict(dict)
            self._take(connection.execute(self._walk))
            self._newest = connection.execute(self._newest_id).scalar_one() or 0
            self._walked_at = now
        else:
            # No id is 0; without any, SQLAlchemy would write a subquery, for which MariaDB reads the whole table.
            known = {"newest": self._newest, "open": sorted(self._open) or [0]}
            rows: list[Row[Any]] = [*connection.execute(self._since, known)]
            self._take([row for row in rows if row.state in FINAL_RUNS])
            self._newest = max((row.id for row in rows), default=self._newest)
        self._open = frozenset(open_ids)

    def _take(self, rows: Iterable[Row[Any]]) -> None:
        for row in rows:
            if row.end_date is None:
                continue
            run = LastRun.of(row.end_date, row.start_date)
            before = self._ends[row.dag_id].get(row.state)
            if before is None or run.ended >= before.ended:
                self._ends[row.dag_id][row.state] = run
