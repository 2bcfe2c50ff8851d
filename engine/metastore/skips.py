"""What branches and short circuits decide against, and what a clear must skip again.

A branch names the tasks to skip when it ends (:attr:`Outcome.skip`); :func:`skip` moves them in the same transaction.
Those directly behind it remember it in ``skipped_by``: as long as it stands in success, they are skipped again whenever
somebody clears them (Airflow's ``NotPreviouslySkippedDep``, which looks at direct parents only).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Row, bindparam, select, tuple_, update

from engine.metastore.changes import TaskChange
from engine.metastore.database import Tx
from engine.metastore.graphs import Graph, Graphs
from engine.metastore.runs import Runs
from engine.metastore.states import TaskState
from engine.metastore.tables import Base, TaskInstance

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]

_NOT_BEGUN: Final = TI.c.state.is_(None) | ((TI.c.state == TaskState.SCHEDULED) & TI.c.sensing_since.is_(None))
_BY: Final = TI.alias("by")
_STANDS: Final = (
    select(_BY.c.id)
    .where(_BY.c.run_pk == TI.c.run_pk, _BY.c.task_id == TI.c.skipped_by, _BY.c.state == TaskState.SUCCESS)
    .correlate(TI)
    .exists()
)
_NAMED: Final = (  # in whatever state, since somebody may be clearing one: see advance.CHILDREN
    select(TI).where(tuple_(TI.c.run_pk, TI.c.task_id).in_(bindparam("keys", expanding=True))).order_by(TI.c.id)
)
_SKIP: Final = (
    update(TI)
    .where(TI.c.id.in_(bindparam("ids", expanding=True)), _NOT_BEGUN)
    .values(
        state=TaskState.SKIPPED,
        skipped_by=bindparam("b_by"),
        scheduled_at=None,
        end_date=bindparam("b_now"),
    )
)
_FORGET: Final = (
    update(TI)
    .where(TI.c.run_pk == bindparam("b_run"), TI.c.skipped_by.in_(bindparam("tasks", expanding=True)))
    .values(skipped_by=None)
)
_DECIDED: Final = select(TI).where(TI.c.run_pk == bindparam("run"), TI.c.skipped_by.is_not(None), _NOT_BEGUN, _STANDS)
_REVOKED: Final = select(TI.c.id).where(
    TI.c.run_pk == bindparam("run"), TI.c.skipped_by.is_not(None), _NOT_BEGUN, ~_STANDS
)
_SKIP_AGAIN: Final = (
    update(TI)
    .where(TI.c.id.in_(bindparam("ids", expanding=True)), _NOT_BEGUN)
    .values(state=TaskState.SKIPPED, scheduled_at=None, end_date=bindparam("b_now"))
)


def skip(tx: Tx, graphs: Graphs, runs: Runs, ended: Iterable[TaskChange]) -> Sequence[Row[Any]]:
    """Skip what the tasks that have `ended` decided against; returns the rows as they were before.

    1. Only tasks behind the deciding one count, whatever its code has said.
    2. Their rows are locked, and those that have not begun are skipped: a task whose rule let it start early goes on.
    """
    wanted: dict[tuple[int, str], str | None] = {}
    for change in ended:
        if change.state == TaskState.SUCCESS and change.outcome and change.outcome.skip:
            version = runs.get(tx.connection, [change.run_pk])[change.run_pk].version
            graph = graphs.get(tx.connection, change.dag_id, version)
            wanted |= {(change.run_pk, task_id): by for task_id, by in _behind(graph, change).items()}
    if not wanted:
        return []
    statement = _NAMED.with_for_update() if tx.dialect.locks_rows else _NAMED
    named = tx.connection.execute(statement, {"keys": sorted(wanted)}).all()
    rows = [row for row in named if _has_not_begun(row)]
    groups: dict[str | None, list[int]] = defaultdict(list)
    for row in rows:
        groups[wanted[row.run_pk, row.task_id]].append(row.id)
    for by, ids in groups.items():
        tx.connection.execute(_SKIP, {"ids": ids, "b_by": by, "b_now": tx.now})
    return rows


def _has_not_begun(row: Row[Any]) -> bool:
    return row.state is None or (row.state == TaskState.SCHEDULED and row.sensing_since is None)


def _behind(graph: Graph, change: TaskChange) -> dict[str, str | None]:
    """The tasks to skip, each with the deciding task where that is its direct parent."""
    behind: dict[str, str | None] = {}
    front = [change.task_id]
    while front:
        front = [child for task_id in front for child in graph.children[task_id] if child not in behind]
        behind |= dict.fromkeys(front)
    named = set(change.outcome.skip) if change.outcome else set()
    direct = graph.children[change.task_id]
    return {task_id: change.task_id if task_id in direct else None for task_id in behind if task_id in named}


def after_clear(tx: Tx, run_pk: int, cleared: Collection[str]) -> Sequence[Row[Any]]:
    """To be called when tasks of a run have been cleared; returns the rows that are skipped again, as they were.

    1. Branches among `cleared` decide anew: what they decided before is forgotten, and so is what a branch decided
       that does not stand in success any more.
    2. Cleared tasks that a branch which stays as it is decided against are skipped at once, whatever else they wait
       for. The caller counts the run's ``unfinished`` and advances what is behind them, as behind any final task.
    """
    if cleared:
        tx.connection.execute(_FORGET, {"b_run": run_pk, "tasks": sorted(cleared)})
    # Read first: MySQL updates no table by a subquery on itself.
    if revoked := tx.connection.execute(_REVOKED, {"run": run_pk}).scalars().all():
        tx.connection.execute(update(TI).where(TI.c.id.in_(revoked)).values(skipped_by=None))
    statement = _DECIDED.with_for_update() if tx.dialect.locks_rows else _DECIDED
    rows = tx.connection.execute(statement, {"run": run_pk}).all()
    if rows:
        tx.connection.execute(_SKIP_AGAIN, {"ids": [row.id for row in rows], "b_now": tx.now})
    return rows
