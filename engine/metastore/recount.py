"""Counters set anew from the states: of tasks that wait, by their upstream tasks, and of runs, by what is open in them.

Needed where states go back: counters only ever grow while a run goes forwards.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import bindparam, func, or_, select, update

from engine.metastore.changes import RunFacts
from engine.metastore.database import Tx
from engine.metastore.graphs import Graph
from engine.metastore.states import FINAL_TASK_STATES, TaskState
from engine.metastore.tables import Base, DagRun, TaskInstance

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
RUN: Final = Base.metadata.tables[DagRun.__tablename__]

_STATES: Final = (
    select(TI.c.id, TI.c.run_pk, TI.c.task_id, TI.c.state)
    .where(TI.c.run_pk.in_(bindparam("runs", expanding=True)))
    .order_by(TI.c.id)
)
_COUNT: Final = (
    update(TI)
    .where(TI.c.id.in_(bindparam("ids", expanding=True)), TI.c.state.is_(None))
    .values(
        up_total=bindparam("b_total"),
        up_success=bindparam("b_success"),
        up_failed=bindparam("b_failed"),
        up_blocked=bindparam("b_blocked"),
        up_skipped=bindparam("b_skipped"),
        past_run_pk=None,
    )
)
_OPEN = TI.alias("open")
_COUNT_OPEN: Final = (
    update(RUN)
    .where(RUN.c.id.in_(bindparam("runs", expanding=True)))
    .values(
        unfinished=select(func.count())
        .select_from(_OPEN)
        .where(
            _OPEN.c.run_pk == RUN.c.id,
            or_(_OPEN.c.state.is_(None), _OPEN.c.state.not_in(sorted(FINAL_TASK_STATES))),
        )
        .correlate(RUN)
        .scalar_subquery()
    )
)
_REMOVE: Final = (
    update(TI)
    .where(TI.c.id.in_(bindparam("ids", expanding=True)), TI.c.state.is_(None))
    .values(state=TaskState.REMOVED, end_date=bindparam("b_now"), past_run_pk=None)
)


def recount(tx: Tx, graphs: Mapping[int, Graph]) -> set[tuple[int, str]]:
    """Set the counters of runs, whose graphs are given by run, and of their waiting tasks.

    Returns the waiting tasks (run and task_id): somebody must judge them. The caller has locked the runs.
    """
    if not graphs:
        return set()
    rows = tx.connection.execute(_STATES, {"runs": sorted(graphs)}).all()
    states: dict[tuple[int, str], list[str | None]] = defaultdict(list)
    for row in rows:
        states[row.run_pk, row.task_id].append(row.state)
    waiting = [row for row in rows if row.state is None and row.task_id in graphs[row.run_pk].tasks]
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row in waiting:
        groups[_counters(row, graphs[row.run_pk], states)].append(row.id)
    for counters, ids in sorted(groups.items()):
        names = ("b_total", "b_success", "b_failed", "b_blocked", "b_skipped")
        tx.connection.execute(_COUNT, {"ids": ids, **dict(zip(names, counters, strict=True))})
    tx.connection.execute(_COUNT_OPEN, {"runs": sorted(graphs)})
    return {(row.run_pk, row.task_id) for row in waiting}


def _counters(row: Any, graph: Graph, states: Mapping[tuple[int, str], list[str | None]]) -> tuple[int, ...]:
    upstream = graph.tasks[row.task_id].upstream
    seen = Counter(state for name in upstream for state in states.get((row.run_pk, name), ()))
    outcomes = (TaskState.SUCCESS, TaskState.FAILED, TaskState.UPSTREAM_FAILED, TaskState.SKIPPED)
    return (len(upstream), *(seen[state] for state in outcomes))


def adopt_version(tx: Tx, run: RunFacts, graph: Graph) -> set[str]:
    """Let what a run is to run again be as the DAG says now; what is not in it any more is removed.

    Returns the tasks that the run knows.
    """
    rows = tx.connection.execute(_STATES, {"runs": [run.id]}).all()
    strangers = [row.id for row in rows if row.state is None and row.task_id not in graph.tasks]
    if strangers:
        tx.connection.execute(_REMOVE, {"ids": strangers, "b_now": tx.now})
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for row in rows:
        if row.state is None and (task := graph.tasks.get(row.task_id)):
            alike[task.operator, task.pool, task.pool_slots, task.queue, -task.priority_weight].append(row.id)
    for (operator, pool, slots, queue, rank), ids in alike.items():
        values = {"operator": operator, "pool": pool, "pool_slots": slots, "queue": queue, "priority_rank": rank}
        tx.connection.execute(update(TI).where(TI.c.id.in_(ids)).values(values))
    return {row.task_id for row in rows}
