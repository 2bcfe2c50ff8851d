"""``dagrun_timeout``: runs that are over their time.

A run's deadline is stored when it starts, so any scheduler, also one started after a crash, can keep it. It is claimed
once: by the UPDATE that is guarded by the run's state. As in Airflow the run fails, and what has not ended in it is
skipped; what runs is ended first (:mod:`engine.metastore.endings`). Unlike there the pause switch does not stop the
clock: tasks of a paused DAG run on, and so does their time.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import BindParameter, Row, bindparam, func, or_, select, update

from engine.metastore import budgets, endings
from engine.metastore.advance import advance, changed
from engine.metastore.broken_off import break_off
from engine.metastore.changes import Changes, RunChange, RunFacts
from engine.metastore.database import Tx
from engine.metastore.endings import Ending
from engine.metastore.graphs import Graphs
from engine.metastore.runs import FACT_COLUMNS, Runs, facts_of
from engine.metastore.sla import SLA
from engine.metastore.sla_missed import GRACE
from engine.metastore.states import FINAL_TASK_STATES, RunState, TaskState
from engine.metastore.tables import Base, DagRun, TaskInstance

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
RUN: Final = Base.metadata.tables[DagRun.__tablename__]

_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
_OVERDUE: Final = (
    select(RUN.c.id)
    .where(RUN.c.state == RunState.RUNNING, RUN.c.deadline <= bindparam("now"))
    .order_by(RUN.c.deadline)
    .limit(bindparam("limit"))
)
_NEXT: Final = select(
    select(func.min(RUN.c.deadline)).where(RUN.c.state == RunState.RUNNING).scalar_subquery().label("run"),
    select(func.min(SLA.c.due_at)).where(SLA.c.state == "open").scalar_subquery().label("sla"),
)  # one statement, since each sweep asks
_OPEN: Final = (
    select(TI)
    .where(TI.c.run_pk.in_(_IDS), or_(TI.c.state.is_(None), TI.c.state.not_in(sorted(FINAL_TASK_STATES))))
    .order_by(TI.c.id)
)
_STILL: Final = (
    select(*FACT_COLUMNS, DagRun.deadline)
    .where(DagRun.id.in_(_IDS), DagRun.state == RunState.RUNNING, DagRun.deadline <= bindparam("now"))
    .order_by(DagRun.id)
)
_RUNNING: Final = select(*FACT_COLUMNS).where(DagRun.id == bindparam("id"), DagRun.state == RunState.RUNNING)
_FAIL: Final = (
    update(RUN)
    .where(RUN.c.id.in_(_IDS), RUN.c.state == RunState.RUNNING)
    .values(state=RunState.FAILED, end_date=bindparam("b_now"))
)
_SKIP: Final = (
    update(TI)
    .where(TI.c.id.in_(_IDS))
    .values(
        state=TaskState.SKIPPED,
        end_date=bindparam("b_now"),
        token=None,
        owner=None,
        ready_at=None,
        past_run_pk=None,
        start_date=func.coalesce(TI.c.sensing_since, TI.c.start_date),
        sensing_since=None,  # after start_date, as the table has them: MySQL assigns from left to right
    )
)


def expire_runs(tx: Tx, graphs: Graphs, runs: Runs, limit: int) -> Changes:
    """Fail runs that are over their deadline, and skip what has not ended in them.

    1. Lock what is open in them, then the runs themselves, and look again: another scheduler may have been faster.
    2. The guarded UPDATE fails the runs.
    3. Running attempts are to be ended; all else is skipped at once.
    """
    due = tx.connection.execute(_OVERDUE, {"now": tx.now, "limit": limit}).scalars().all()
    if not due:
        return Changes()
    lock = {"ids": sorted(due)}
    found = tx.connection.execute(_locked(tx, _OPEN), lock).all()
    late = [facts_of(row) for row in tx.connection.execute(_locked(tx, _STILL), lock | {"now": tx.now})]
    if not late:
        return Changes()
    tx.connection.execute(_FAIL, {"ids": [run.id for run in late], "b_now": tx.now})
    changes = Changes(runs=[_timed_out(tx, graphs, run) for run in late])
    ours = {run.id for run in late}
    changes.add(_stop(tx, graphs, runs, [row for row in found if row.run_pk in ours], Ending.TIMED_OUT))
    budgets.give(tx, Counter((budgets.DAG_RUNS, run.budget) for run in late))
    return changes


def fail_run(tx: Tx, graphs: Graphs, runs: Runs, run_pk: int) -> Changes | None:
    """Fail a running run by hand: what runs is ended and fails, what has not begun is skipped. None where it is over.

    Nobody is told of the run, as in Airflow: whoever did it knows.
    """
    found = tx.connection.execute(_locked(tx, _OPEN), {"ids": [run_pk]}).all()
    row = tx.connection.execute(_locked(tx, _RUNNING), {"id": run_pk}).first()
    if row is None:
        return None
    tx.connection.execute(_FAIL, {"ids": [run_pk], "b_now": tx.now})
    changes = _stop(tx, graphs, runs, list(found), Ending.RUN_FAILED)
    budgets.give(tx, {(budgets.DAG_RUNS, facts_of(row).budget): 1})
    return changes


def _locked(tx: Tx, statement: Any) -> Any:
    return statement.with_for_update() if tx.dialect.locks_rows else statement


def _timed_out(tx: Tx, graphs: Graphs, run: RunFacts) -> RunChange:
    seconds = graphs.get(tx.connection, run.dag_id, run.version).dag.dagrun_timeout_seconds or 0.0
    return RunChange(run, RunState.FAILED, tx.now, timed_out_after=timedelta(seconds=seconds))


def _stop(tx: Tx, graphs: Graphs, runs: Runs, rows: list[Row[Any]], ending: Ending) -> Changes:
    endings.request(tx, [row.id for row in rows if row.state == TaskState.RUNNING], ending)
    open_rows = [row for row in rows if row.state != TaskState.RUNNING]
    if not open_rows:
        return Changes()
    broken_off = break_off(tx, open_rows, TaskState.SKIPPED, ending.sentence)
    tx.connection.execute(_SKIP, {"ids": [row.id for row in open_rows], "b_now": tx.now})
    why = {"end_date": tx.now, "time_limit": ending.time_limit, "abandoned": True}
    skipped = [changed(row, TaskState.SKIPPED, **why) for row in open_rows]
    changes = Changes(tasks=skipped, ended=broken_off)
    changes.add(advance(tx, graphs, runs, skipped))
    queued = [row for row in open_rows if row.state == TaskState.QUEUED]
    budgets.give(tx, budgets.task_amounts((row.dag_id, row.pool, row.pool_slots) for row in queued))
    return changes


class Next(NamedTuple):
    """When a run will be over its time, and when an SLA is to be looked at."""

    run: datetime | None
    sla: datetime | None

    @property
    def moments(self) -> list[datetime]:
        """Those of the two that there are."""
        return [moment for moment in self if moment]


def next_deadlines(tx: Tx) -> Next:
    """When something is next to be done about a ``dagrun_timeout``, or about an ``sla=`` or a ``deadline=``."""
    row = tx.connection.execute(_NEXT).one()
    return Next(row.run, row.sla and row.sla + GRACE)
