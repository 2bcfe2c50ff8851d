"""Making one run on request, once: the answer to a COMMIT may be lost with the connection, and the work done again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Table, select

from engine.metastore.database import Database, Tx
from engine.metastore.errors import Duplicate
from engine.metastore.tables import Base, DagRun
from engine.metastore.transitions.creating import create_run

_RUN: Table = Base.metadata.tables[DagRun.__tablename__]


def trigger(
    database: Database,
    dag_id: str,
    *,
    run_id: str | None = None,
    logical_date: datetime | None = None,
    conf: Mapping[str, Any] | None = None,
    triggered_by: str | None = None,
) -> str:
    """`create_run` in a transaction of its own; returns the run_id and raises what that does.

    1. The first try decides the moment, and so the run_id, for all tries.
    2. A later try that finds the run there takes it for the first one's if it was queued at just that moment.
    """
    tried_at: list[datetime] = []

    def work(tx: Tx) -> str:
        tried_at.append(tx.now)
        moment = logical_date or tried_at[0]
        try:
            return create_run(tx, dag_id, run_id=run_id, logical_date=moment, conf=conf, triggered_by=triggered_by)
        except Duplicate:
            ours = select(_RUN.c.run_id).where(
                _RUN.c.dag_id == dag_id, _RUN.c.logical_date == moment, _RUN.c.queued_at.in_(tried_at[:-1])
            )
            if made := tx.connection.execute(ours).scalar():
                return str(made)
            raise

    return database.run(work)
