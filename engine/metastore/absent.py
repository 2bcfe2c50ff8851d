"""Tasks that a run does not have, because its logical date lies outside of their own ``start_date`` and ``end_date``.

As in Airflow they are not made, except by a backfill, and to what stands behind them they are parents that never end.
So a run may come to a point where nothing in it can move any more. It fails then (Airflow calls it deadlocked), and
what waits keeps waiting, until somebody clears or marks it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BindParameter, bindparam, or_, select, update

from engine.authoring.serialized import SerializedDag, SerializedTask
from engine.metastore import budgets
from engine.metastore.changes import Changes, RunChange, RunFacts
from engine.metastore.database import Tx
from engine.metastore.graphs import Graph, Graphs
from engine.metastore.runs import FACT_COLUMNS, Runs, facts_of
from engine.metastore.states import FINAL_TASK_STATES, RunState, RunType, TaskState
from engine.metastore.tables import Base, DagRun, TaskInstance

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
RUN: Final = Base.metadata.tables[DagRun.__tablename__]

_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
_OPEN: Final = select(TI.c.run_pk, TI.c.task_id, TI.c.state, TI.c.past_run_pk).where(
    TI.c.run_pk.in_(_IDS),
    or_(TI.c.state.is_(None), TI.c.state.not_in(sorted(FINAL_TASK_STATES - {TaskState.FAILED}))),
)
_STILL: Final = (
    select(*FACT_COLUMNS)
    .where(DagRun.id.in_(_IDS), DagRun.state == RunState.RUNNING, DagRun.unfinished > 0)
    .order_by(DagRun.id)
)
_FAIL: Final = (
    update(RUN)
    .where(RUN.c.id.in_(_IDS), RUN.c.state == RunState.RUNNING)
    .values(state=RunState.FAILED, end_date=bindparam("b_now"))
)


def present_tasks(dag: SerializedDag, run_type: str, logical_date: datetime | None) -> list[SerializedTask]:
    """The tasks that a run of this kind and date has."""
    return [task for task in dag.tasks if run_type == RunType.BACKFILL or task.covers(logical_date)]


def lacks_some(graph: Graph, run: RunFacts) -> bool:
    """Whether a run lacks tasks of its DAG."""
    if run.run_type == RunType.BACKFILL or run.logical_date is None:
        return False
    is_early = graph.whole_from is not None and run.logical_date < graph.whole_from
    return is_early or (graph.whole_until is not None and graph.whole_until < run.logical_date)


def fail_stuck(tx: Tx, graphs: Graphs, runs: Runs, run_ids: Iterable[int]) -> Changes:
    """Fail the runs in which all that is open waits for tasks that they lack; asks nothing where none lacks any.

    To be called when the runs' ``unfinished`` has been counted down in this transaction, which holds their rows: who
    ends another task of such a run at this moment waits for it, and then sees what it has done.
    """
    facts = runs.get(tx.connection, run_ids)
    lacking = [run.id for run in facts.values() if lacks_some(graphs.get(tx.connection, run.dag_id, run.version), run)]
    if not lacking:
        return Changes()
    rows = tx.connection.execute(_OPEN, {"ids": sorted(lacking)}).all()
    moving = {row.run_pk for row in rows if row.past_run_pk or row.state not in (None, TaskState.FAILED)}
    waiting = sorted({row.run_pk for row in rows if row.state is None} - moving)
    stuck = [facts_of(row) for row in tx.connection.execute(_STILL, {"ids": waiting})] if waiting else []
    if not stuck:
        return Changes()
    tx.connection.execute(_FAIL, {"ids": [run.id for run in stuck], "b_now": tx.now})
    budgets.give(tx, Counter((budgets.DAG_RUNS, run.budget) for run in stuck))
    states = {run.id: [row for row in rows if row.run_pk == run.id] for run in stuck}
    return Changes(
        runs=[
            RunChange(
                run,
                RunState.FAILED,
                tx.now,
                failed_tasks=tuple(row.task_id for row in states[run.id] if row.state == TaskState.FAILED),
                stuck_tasks=tuple(row.task_id for row in states[run.id] if row.state is None),
            )
            for run in stuck
        ]
    )
