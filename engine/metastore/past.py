"""``depends_on_past`` and ``wait_for_downstream``: tasks that wait for the run before theirs.

The rules are Airflow's (airflow.ti_deps.deps.prev_dagrun_dep). The run before is the one with the next earlier logical
date; with catch-up manual runs do not count. The task must have ended there in success or been skipped, and with
``wait_for_downstream`` what stands directly behind it too. Where there is no run before, and in the first run of a
backfill, nobody waits.

Nothing polls: a task that only the past holds back remembers for which run it waits (``past_run_pk``), and whatever
ends in that run brings it before :func:`held_back` again, in the same transaction. A sweep finds what slipped through,
such as a task that depends on the past only since its DAG was changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, and_, bindparam, select, update

from engine.authoring.serialized import SerializedTask
from engine.metastore.changes import RunFacts, TaskChange
from engine.metastore.database import Tx
from engine.metastore.graphs import Graph, Graphs
from engine.metastore.runs import Runs
from engine.metastore.states import RunType, TaskState
from engine.metastore.tables import BackfillRun, Base, DagRun, TaskInstance

PASSED: Final = (TaskState.SUCCESS, TaskState.SKIPPED)
TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
RUN: Final = Base.metadata.tables[DagRun.__tablename__]

_BEFORE = RUN.alias("before")
_EARLIER: Final = (_BEFORE.c.dag_id == RUN.c.dag_id) & (_BEFORE.c.logical_date < RUN.c.logical_date)
_NEWEST = select(_BEFORE.c.id).where(_EARLIER).order_by(_BEFORE.c.logical_date.desc()).limit(1)
_PREVIOUS: Final = select(
    RUN.c.id,
    _NEWEST.correlate(RUN).scalar_subquery().label("any_run"),
    _NEWEST.where(_BEFORE.c.run_type != RunType.MANUAL).correlate(RUN).scalar_subquery().label("planned_run"),
    select(BackfillRun.position)
    .where(BackfillRun.run_pk == RUN.c.id, BackfillRun.backfill_id == RUN.c.backfill_id)
    .limit(1)
    .correlate(RUN)
    .scalar_subquery()
    .label("position"),
).where(RUN.c.id.in_(bindparam("runs", expanding=True)))
_THERE: Final = (
    select(TI.c.run_pk, TI.c.task_id, TI.c.state)
    .where(
        TI.c.run_pk.in_(bindparam("runs", expanding=True)),
        TI.c.task_id.in_(bindparam("tasks", expanding=True)),
    )
    .order_by(TI.c.id)
)
_EVER: Final = (
    select(TI.c.id)
    .join(RUN, RUN.c.id == TI.c.run_pk)
    .where(
        RUN.c.dag_id == bindparam("dag"),
        RUN.c.logical_date < bindparam("moment", type_=RUN.c.logical_date.type),
        TI.c.task_id == bindparam("task"),
    )
    .limit(1)
)
_WAITING: Final = select(TI.c.run_pk, TI.c.task_id, TI.c.past_run_pk).where(
    TI.c.past_run_pk.in_(bindparam("runs", expanding=True)), TI.c.state.is_(None)
)
_PAST = TI.alias("past")
_OVERLOOKED: Final = (
    select(TI.c.run_pk, TI.c.task_id)
    .join(
        _PAST,
        and_(
            _PAST.c.run_pk == TI.c.past_run_pk,
            _PAST.c.task_id == TI.c.task_id,
            _PAST.c.map_index == TI.c.map_index,
        ),
    )
    .where(TI.c.past_run_pk.is_not(None), TI.c.state.is_(None), _PAST.c.state.in_(PASSED))
    .limit(bindparam("limit"))
)
_REMEMBER: Final = (
    update(TI)
    .where(TI.c.id.in_(bindparam("ids", expanding=True)), TI.c.state.is_(None))
    .values(past_run_pk=bindparam("b_run"))
)


def concerns(task: SerializedTask, verdict: TaskState | None) -> bool:
    """Whether the past has a say in what the tasks upstream have decided."""
    if not task.depends_on_past:
        return False
    if verdict == TaskState.SKIPPED:
        return task.wait_for_past_depends_before_skipping
    return verdict in (TaskState.SCHEDULED, TaskState.SUCCESS)


def held_back(tx: Tx, graphs: Graphs, runs: Runs, rows: Sequence[Row[Any]]) -> dict[int, int]:
    """Those of ready task instances that must wait: id → the run that they wait for.

    1. One statement finds the run before each.
    2. One reads what became of the tasks there, and locks them: who ends one at this moment either is seen here, or
       sees the note that :func:`remember` leaves.
    """
    if not rows:
        return {}
    facts = runs.get(tx.connection, (row.run_pk for row in rows))
    shapes = {row.run_pk: graphs.get(tx.connection, row.dag_id, facts[row.run_pk].version) for row in rows}
    before = _runs_before(tx, shapes)
    rows = [row for row in rows if not _has_only_just_begun(tx, shapes[row.run_pk], row, runs, before.get(row.run_pk))]
    wanted = {name for row in rows if row.run_pk in before for name in _asked(shapes[row.run_pk], row.task_id)}
    there = _there(tx, before.values(), wanted)
    return {
        row.id: before[row.run_pk]
        for row in rows
        if row.run_pk in before
        and not _passed(tx, shapes[row.run_pk], row.task_id, facts[row.run_pk], there[before[row.run_pk]])
    }


def _runs_before(tx: Tx, shapes: Mapping[int, Graph]) -> dict[int, int]:
    """The run that counts as the one before, of those that have one to wait for."""
    before = {}
    for row in tx.connection.execute(_PREVIOUS, {"runs": sorted(shapes)}):
        previous = row.planned_run if shapes[row.id].dag.catchup else row.any_run
        if previous is not None and row.position != 1:
            before[row.id] = previous
    return before


def _has_only_just_begun(tx: Tx, graph: Graph, row: Row[Any], runs: Runs, before: int | None) -> bool:
    """Whether the run before has no such task since it lies before the task's start_date; with catchup that counts."""
    begins = graph.tasks[row.task_id].start_date
    if begins is None or before is None or not graph.dag.catchup:
        return False
    earlier = runs.get(tx.connection, [before])[before].logical_date
    return earlier is not None and earlier < begins


def _asked(graph: Graph, task_id: str) -> tuple[str, ...]:
    """The tasks of the run before that a task looks at: itself, and with wait_for_downstream those behind it."""
    return (task_id, *graph.children[task_id]) if graph.tasks[task_id].wait_for_downstream else (task_id,)


def _there(tx: Tx, run_ids: Iterable[int], task_ids: Iterable[str]) -> dict[int, dict[str, list[str | None]]]:
    found: dict[int, dict[str, list[str | None]]] = defaultdict(lambda: defaultdict(list))
    parameters = {"runs": sorted(set(run_ids)), "tasks": sorted(task_ids)}
    if parameters["runs"]:
        statement = _THERE.with_for_update() if tx.dialect.locks_rows else _THERE
        for row in tx.connection.execute(statement, parameters):
            found[row.run_pk][row.task_id].append(row.state)
    return found


def _passed(tx: Tx, graph: Graph, task_id: str, run: RunFacts, there: Mapping[str, list[str | None]]) -> bool:
    if task_id not in there:
        return graph.tasks[task_id].ignore_first_depends_on_past and _is_its_first(tx, task_id, run)
    # Of the tasks behind it only those that were there count.
    return all(state in PASSED for name in _asked(graph, task_id) for state in there.get(name, ()))


def _is_its_first(tx: Tx, task_id: str, run: RunFacts) -> bool:
    about = {"dag": run.dag_id, "task": task_id, "moment": run.logical_date}
    return tx.connection.execute(_EVER, about).first() is None


def remember(tx: Tx, held: Mapping[int, int]) -> None:
    """Note for which run task instances wait."""
    by_run: dict[int, list[int]] = defaultdict(list)
    for ti_id, run_pk in held.items():
        by_run[run_pk].append(ti_id)
    for run_pk, ids in sorted(by_run.items()):
        tx.connection.execute(_REMEMBER, {"ids": sorted(ids), "b_run": run_pk})


def successors(tx: Tx, graphs: Graphs, runs: Runs, final: Sequence[TaskChange]) -> set[tuple[int, str]]:
    """What may go on in later runs now that these have ended: run and task_id. No statement where no DAG asks."""
    passed = [change for change in final if change.state in PASSED]
    facts = runs.get(tx.connection, (change.run_pk for change in passed))
    awaited: dict[int, set[str]] = defaultdict(set)
    for change in passed:
        graph = graphs.get(tx.connection, change.dag_id, facts[change.run_pk].version)
        if graph.past and change.task_id in graph.tasks:
            awaited[change.run_pk].update((change.task_id, *graph.tasks[change.task_id].upstream))
    if not awaited:
        return set()
    rows = tx.connection.execute(_WAITING, {"runs": sorted(awaited)})
    return {(row.run_pk, row.task_id) for row in rows if row.task_id in awaited[row.past_run_pk]}


def overlooked(tx: Tx, limit: int) -> set[tuple[int, str]]:
    """Tasks that wait although their predecessor is through: for the sweep."""
    return {(row.run_pk, row.task_id) for row in tx.connection.execute(_OVERLOOKED, {"limit": limit})}
