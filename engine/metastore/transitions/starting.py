"""Queued runs start: which ones, with which task instances, and what follows from it at once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, func, select, update

from engine.authoring.serialized import SerializedTask
from engine.metastore import absent, budgets, recount
from engine.metastore.advance import SETTLED, Delta, advance, changed, close_runs, locked, reconsider, verdict_of
from engine.metastore.changes import Changes, RunChange, RunFacts
from engine.metastore.database import Tx
from engine.metastore.errors import NotFound
from engine.metastore.graphs import Graph, Graphs
from engine.metastore.one_of import one_of
from engine.metastore.runs import FACT_COLUMNS, Runs, facts_of
from engine.metastore.states import RunState, TaskState
from engine.metastore.tables import Base, Budget, DagRun, DagSchedule, TaskInstance

log = logging.getLogger(__name__)
TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
RUN: Final = Base.metadata.tables[DagRun.__tablename__]
_QUEUED_RUNS = (
    select(*FACT_COLUMNS, (Budget.slots - Budget.used).label("room"))
    .join(DagSchedule, DagSchedule.dag_id == DagRun.dag_id)
    .join(Budget, (Budget.kind == budgets.DAG_RUNS) & (Budget.name == func.coalesce(DagRun.lane, DagRun.dag_id)))
    .where(
        DagRun.state == RunState.QUEUED,
        DagRun.id > bindparam("after"),
        func.coalesce(DagRun.lane, DagRun.dag_id).not_in(bindparam("full_dags", expanding=True)),
        DagSchedule.is_paused.is_(False),
        Budget.used < Budget.slots,
    )
    .order_by(DagRun.id)
    .limit(bindparam("limit"))
)
_START_RUN = (
    update(RUN)
    .where(RUN.c.id == bindparam("b_id"), RUN.c.state == RunState.QUEUED)
    .values(
        state=RunState.RUNNING,
        start_date=bindparam("b_now"),
        unfinished=bindparam("b_tasks"),
        deadline=bindparam("b_deadline"),
    )
)


def start_runs(tx: Tx, graphs: Graphs, limit: int) -> Changes:
    """Start queued runs of unpaused DAGs, oldest first, as far as max_active_runs allows; makes their tasks."""
    changes = Changes()
    budgets.settle(tx, budgets.DAG_RUNS)  # what a run gave back that has ended in this transaction is free now
    queued = _lock_queued(tx, _next_in_line(tx, limit))
    free = budgets.free_slots(tx, {(budgets.DAG_RUNS, run.budget) for run in queued})
    shapes = _shapes(tx, graphs, queued)
    started = _within([run for run in queued if run.id in shapes], free)
    if not started:
        return changes
    budgets.take(tx, Counter((budgets.DAG_RUNS, run.budget) for run in started))
    rows: list[dict[str, Any]] = []
    bare: list[int] = []  # which may be over at once
    for run in started:
        graph = shapes[run.id]
        deadline = _deadline(graph, tx.now)
        made = _new_instances(run, graph, tx.now) if run.clears == 0 else _missing_instances(tx, run, graph)
        parameters = {"b_id": run.id, "b_now": tx.now, "b_tasks": len(made), "b_deadline": deadline}
        tx.connection.execute(_START_RUN, parameters)
        bare += [run.id] if run.clears or not made else []
        operators = tuple(row["operator"] for row in made)
        begun = replace(run, start_date=tx.now)
        changes.runs.append(RunChange(begun, RunState.RUNNING, created=operators, deadline=deadline))
        rows += made
    if rows:
        tx.dialect.insert_rows(tx.connection, TI, rows)
    changes.scheduled = sum(row["state"] == TaskState.SCHEDULED for row in rows)
    changes.add(_pass_through(tx, graphs, {row["run_pk"] for row in rows if row["state"] == TaskState.SUCCESS}))
    changes.add(_begin_what_waits(tx, graphs, started, shapes))
    changes.add(close_runs(tx, graphs, Counter(dict.fromkeys(bare, 0))))
    lacking = [run.id for run in started if absent.lacks_some(shapes[run.id], run)]
    changes.add(absent.fail_stuck(tx, graphs, Runs(), lacking))
    return changes


def _next_in_line(tx: Tx, limit: int) -> list[RunFacts]:
    """Queued runs, oldest first, no more of a DAG than it has room for: a long queue must not hide the others."""
    chosen: list[RunFacts] = []
    room: dict[str, int] = {}
    after = 0
    while True:
        full = [name for name, left in room.items() if left <= 0]
        page = tx.connection.execute(_QUEUED_RUNS, {"limit": limit, "after": after, "full_dags": full}).all()
        for row in page:
            name = row.lane or row.dag_id
            left = room.setdefault(name, row.room)
            if left > 0:
                room[name] = left - 1
                chosen.append(facts_of(row))
        if len(page) < limit or len(chosen) >= limit:
            return chosen[:limit]
        after = page[-1].id


def _shapes(tx: Tx, graphs: Graphs, queued: Sequence[RunFacts]) -> dict[int, Graph]:
    """The graphs of runs, by run; one that cannot be read is told, and must not hold up the others."""
    shapes = {}
    for run in queued:
        try:
            shapes[run.id] = graphs.get(tx.connection, run.dag_id, run.version)
        except NotFound as error:
            log.error("run %s of DAG %s cannot start: %s", run.run_id, run.dag_id, error)
    return shapes


def _lock_queued(tx: Tx, queued: list[RunFacts]) -> list[RunFacts]:
    # The join above cannot be locked table by table on every database, so the rows are locked by id afterwards.
    if not queued or not tx.dialect.locks_rows:
        return queued
    statement = select(RUN.c.id).where(one_of(RUN.c.id, "ids"), RUN.c.state == RunState.QUEUED).order_by(RUN.c.id)
    held = set(tx.connection.execute(locked(tx, statement, skip=True), {"ids": [run.id for run in queued]}).scalars())
    return [run for run in queued if run.id in held]


def _within(queued: list[RunFacts], free: dict[budgets.Key, int]) -> list[RunFacts]:
    started = []
    for run in queued:
        key = (budgets.DAG_RUNS, run.budget)
        if free.get(key, 0) > 0:
            free[key] -= 1
            started.append(run)
    return started


def _new_instances(run: RunFacts, graph: Graph, now: datetime) -> list[dict[str, Any]]:
    return [_new_instance(run, task, now) for task in absent.present_tasks(graph.dag, run.run_type, run.logical_date)]


def _missing_instances(tx: Tx, run: RunFacts, graph: Graph) -> list[dict[str, Any]]:
    """For a run that begins anew: the tasks that its DAG has got since. Those that it has lost are removed."""
    known = recount.adopt_version(tx, run, graph)
    there = absent.present_tasks(graph.dag, run.run_type, run.logical_date)
    new = [_new_instance(run, task, tx.now) for task in there if task.task_id not in known]
    nothing = {"state": None, "try_number": 0, "scheduled_at": None, "start_date": None, "end_date": None}
    return [row | nothing for row in new]


def _new_instance(run: RunFacts, task: SerializedTask, now: datetime) -> dict[str, Any]:
    state = None if task.depends_on_past else verdict_of(task, len(task.upstream), Delta())
    settled = state == TaskState.SUCCESS
    return {
        "run_pk": run.id,
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "task_id": task.task_id,
        "map_index": -1,
        "state": state,
        "scheduled_at": now if state else None,
        "start_date": now if settled else None,
        "end_date": now if settled else None,
        "operator": task.operator,
        "try_number": int(settled),
        "max_tries": task.retries + 1,
        "pool": task.pool,
        "pool_slots": task.pool_slots,
        "queue": task.queue,
        "priority_rank": -task.priority_weight,
        "up_total": len(task.upstream),
        "up_success": 0,
        "up_failed": 0,
        "up_blocked": 0,
        "up_skipped": 0,
    }


def _deadline(graph: Graph, now: datetime) -> datetime | None:
    seconds = graph.dag.dagrun_timeout_seconds
    return None if seconds is None else now + timedelta(seconds=seconds)


def _pass_through(tx: Tx, graphs: Graphs, run_ids: Collection[int]) -> Changes:
    """Advance what waits behind the empty tasks with which runs begin."""
    if not run_ids:
        return Changes()
    rows = tx.connection.execute(SETTLED, {"ids": sorted(run_ids)})
    settled = [changed(row, TaskState.SUCCESS, end_date=row.end_date) for row in rows]
    changes = Changes(tasks=settled)
    changes.add(advance(tx, graphs, Runs(), settled))
    return changes


def _begin_what_waits(tx: Tx, graphs: Graphs, started: Sequence[RunFacts], shapes: Mapping[int, Graph]) -> Changes:
    """Judge what start_runs() could not: the tasks of runs that begin anew, and first tasks that depend on the past."""
    anew = {run.id: shapes[run.id] for run in started if run.clears}
    waiting = recount.recount(tx, anew)
    waiting |= {
        (run.id, task_id)
        for run in started
        if run.id not in anew
        for task_id in shapes[run.id].past
        if not shapes[run.id].tasks[task_id].upstream
    }
    return reconsider(tx, graphs, Runs(), waiting)
