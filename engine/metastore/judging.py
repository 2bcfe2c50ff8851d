"""Runs that had ended and in which a person marked tasks: they are judged anew, and stay ended.

Nothing of them runs again, so they keep their start. Their end is never before that of their tasks. A run whose verdict
stays the same is no news; one that has turned is told, as another life of the same run (its ``clears`` says which).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BindParameter, bindparam, case, func, or_, select, update

from engine.metastore.advance import locked, verdicts_of
from engine.metastore.changes import Changes, RunChange, RunFacts
from engine.metastore.database import Tx
from engine.metastore.graphs import Graphs
from engine.metastore.runs import FACT_COLUMNS, facts_of
from engine.metastore.states import FINAL_RUN_STATES, FINAL_TASK_STATES, RunState
from engine.metastore.tables import Base, DagRun, TaskInstance

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
RUN: Final = Base.metadata.tables[DagRun.__tablename__]

_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
_ENDED: Final = (
    select(*FACT_COLUMNS, DagRun.state, DagRun.end_date)
    .where(DagRun.id.in_(_IDS), DagRun.state.in_(sorted(FINAL_RUN_STATES)))
    .order_by(DagRun.id)
)
_IS_OPEN: Final = or_(TI.c.state.is_(None), TI.c.state.not_in(sorted(FINAL_TASK_STATES)))
_TASKS: Final = (
    select(TI.c.run_pk, func.max(TI.c.end_date).label("last_end"), func.sum(case((_IS_OPEN, 1), else_=0)).label("open"))
    .where(TI.c.run_pk.in_(_IDS))
    .group_by(TI.c.run_pk)
)
_JUDGE: Final = (
    update(RUN)
    .where(RUN.c.id == bindparam("b_id"))
    .values(
        state=bindparam("b_state"),
        end_date=bindparam("b_end"),
        version=bindparam("b_version"),
        clears=bindparam("b_clears"),
        unfinished=0,
    )
)


@dataclass(frozen=True, slots=True)
class Over:
    """A run that has ended, as it was before it is judged anew; `end` is not before its tasks' ends."""

    run: RunFacts
    state: RunState
    end: datetime


def lock_over(tx: Tx, run_pks: Collection[int]) -> dict[int, Over]:
    """Lock those of these runs that have ended and in which every task has, and return them by id.

    The caller has locked the task instances that it has marked, as the metastore's order wants it.
    """
    ids = {"ids": sorted(run_pks)}
    rows = tx.connection.execute(locked(tx, _ENDED), ids).all() if run_pks else []
    if not rows:
        return {}
    tasks = {row.run_pk: row for row in tx.connection.execute(_TASKS, ids)}
    return {
        row.id: Over(facts_of(row), RunState(row.state), max(row.end_date, tasks[row.id].last_end))
        for row in rows
        if not tasks[row.id].open
    }


def judge_anew(tx: Tx, graphs: Graphs, over: Sequence[Over]) -> Changes:
    """Give runs of :func:`lock_over` the state that follows from their tasks; only what has turned is a change."""
    changes = Changes()
    verdicts = verdicts_of(tx, graphs, [one.run for one in over]) if over else {}
    for one in over:
        state, failed = verdicts[one.run.id]
        has_turned = state != one.state
        run = replace(one.run, clears=one.run.clears + has_turned)
        known = {"b_id": run.id, "b_version": run.version, "b_clears": run.clears}
        tx.connection.execute(_JUDGE, known | {"b_state": state, "b_end": one.end})
        if has_turned:
            changes.runs.append(RunChange(run, state, one.end, failed, by_hand=True))
    return changes
