"""Every change of state of runs and task instances, one verb each.

=================  =================================  ==========================================================
verb               from → to                          guard
=================  =================================  ==========================================================
create_run,        (nothing) → run queued             unique (dag_id, run_id) and (dag_id, logical_date)
insert_run
start_runs         run queued → running               state; budget dag_runs; creates the task instances
claim              scheduled → queued                 state; DAG not paused; budgets pool and dag_tasks; charges
                   (with `starting`: → running)
release            queued → scheduled                 token; takes the charge back: no process was started
start              queued → running                   token
finish             running → success, failed,         token; advances children, closes runs
                   up_for_retry, skipped,
                   up_for_reschedule
disown             queued, running → scheduled        owner; what never reached it, without charge
rescue             queued, running → (release,        owner; what its dead owner left behind
                   finish as lost)
promote            up_for_retry, up_for_reschedule    state and ready_at
                   → scheduled
expire_runs        run running → failed; its open     state and deadline (engine.metastore.deadlines)
                   tasks → skipped
fail_stuck         run running → failed               state; all that is open waits for tasks that the run lacks
                                                      (engine.metastore.absent)
expire_waiting     scheduled → failed, up_for_retry   state and scheduled_at (engine.metastore.waiting)
clear, mark        any → (nothing), success, failed,  locked rows (engine.metastore.clearing); running ones are ended
                   skipped; run → queued              first (engine.metastore.endings)
=================  =================================  ==========================================================

Rows are locked in the order task instances (by id), runs, budgets (by key), so that schedulers seldom deadlock; when
they do, :meth:`Database.run <engine.metastore.database.Database.run>` repeats the loser.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Integer,
    Row,
    Select,
    String,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from alerting.tables import BigKey
from engine.authoring import params
from engine.authoring.serialized import SerializedDag, SerializedTask, decode_dag
from engine.authoring.timetables import manual_interval
from engine.metastore import absent, budgets, recount, skips, sla
from engine.metastore.advance import (
    SETTLED,
    Delta,
    advance,
    advance_wave,
    changed,
    close_runs,
    locked,
    verdict_of,
)
from engine.metastore.changes import Changes, Claimed, Finished, RunChange, RunFacts, TaskChange
from engine.metastore.database import Tx
from engine.metastore.endings import Ending
from engine.metastore.errors import Duplicate, NotFound, Refused
from engine.metastore.graphs import Graph, Graphs
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.runs import FACT_COLUMNS, Runs, facts_of
from engine.metastore.states import RunState, RunType, TaskState
from engine.metastore.tables import Base, Budget, Dag, DagRun, DagSchedule, DagVersion, TaskAttempt, TaskInstance, XCom

log = logging.getLogger(__name__)

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
RUN: Final = Base.metadata.tables[DagRun.__tablename__]

_TOKENS: Final[BindParameter[Any]] = bindparam("tokens", expanding=True)
_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)

_PAGE_PER_SLOT: Final = 4
_CLAIM_PAGES: Final = 6  # each twice as long as the one before
_BEFORE_ALL: Final = -(2**31)  # a priority rank before every other

_CHARGE: Final = case((TI.c.sensing_since.is_(None), 1), else_=0)  # a rescheduled attempt goes on: no new one begins

_RUN_ID: Final = re.compile(r"[A-Za-z0-9_.:+~@,-]{1,250}")

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
_READY = (
    select(TI.c.id, TI.c.run_pk, TI.c.dag_id, TI.c.task_id, TI.c.map_index, TI.c.pool, TI.c.pool_slots)
    .add_columns(TI.c.try_number, TI.c.max_tries, TI.c.operator, TI.c.queue, TI.c.run_id, TI.c.scheduled_at)
    .add_columns(TI.c.priority_rank, TI.c.sensing_since)
    .where(
        TI.c.state == TaskState.SCHEDULED,
        tuple_(TI.c.priority_rank, TI.c.id) > tuple_(bindparam("rank", type_=Integer), bindparam("id", type_=BigKey)),
        TI.c.dag_id.not_in(bindparam("full_dags", expanding=True)),
        TI.c.pool.not_in(bindparam("full_pools", expanding=True)),
        # As in Airflow, a paused DAG's running tasks go on and no other is started.
        TI.c.dag_id.not_in(select(DagSchedule.dag_id).where(DagSchedule.is_paused.is_(True))),
    )
    .order_by(TI.c.priority_rank, TI.c.id)
    .limit(bindparam("limit"))
)
_CLAIM = (
    update(TI)
    .where(TI.c.id.in_(_IDS), TI.c.state == TaskState.SCHEDULED)
    .values(
        state=TaskState.QUEUED,
        token=literal("", String).concat(bindparam("b_batch", type_=String)).concat(cast(TI.c.id, String(20))),
        owner=bindparam("b_owner"),
        queued_at=bindparam("b_now"),
        try_number=TI.c.try_number + _CHARGE,
        ready_at=None,
    )
)
_CLAIM_AND_START = _CLAIM.values(state=TaskState.RUNNING, start_date=bindparam("b_now"))
_RELEASE = (
    update(TI)
    .where(TI.c.token.in_(_TOKENS), TI.c.state == TaskState.QUEUED)
    .values(state=TaskState.SCHEDULED, token=None, owner=None, queued_at=None, try_number=TI.c.try_number - _CHARGE)
)
_START = (
    update(TI)
    .where(TI.c.token.in_(_TOKENS), TI.c.state == TaskState.QUEUED)
    .values(state=TaskState.RUNNING, start_date=bindparam("b_now"))
)
_HELD = select(TI).where(TI.c.token.in_(_TOKENS), TI.c.state == bindparam("held_state")).order_by(TI.c.id)
_END = (
    update(TI)
    .where(TI.c.token.in_(_TOKENS), TI.c.state == TaskState.RUNNING)
    .values(
        state=bindparam("b_state"),
        end_date=bindparam("b_end"),
        ready_at=bindparam("b_ready"),
        token=None,
        owner=None,
        start_date=func.coalesce(TI.c.sensing_since, TI.c.start_date),
        ending=None,
        sensing_since=None,  # after start_date, as the table has them: MySQL assigns from left to right
    )
)
_SUSPEND = (
    update(TI)
    .where(TI.c.token.in_(_TOKENS), TI.c.state == TaskState.RUNNING)
    .values(
        state=TaskState.UP_FOR_RESCHEDULE,
        ready_at=bindparam("b_ready"),
        token=None,
        owner=None,
        sensing_since=func.coalesce(TI.c.sensing_since, TI.c.start_date),
    )
)
_WAITING: Final = (TaskState.UP_FOR_RETRY, TaskState.UP_FOR_RESCHEDULE)
_DUE = (
    select(TI.c.id)
    .where(TI.c.state.in_(_WAITING), TI.c.ready_at <= bindparam("now"))
    .order_by(TI.c.ready_at)
    .limit(bindparam("limit"))
)
_PROMOTE = (
    update(TI)
    .where(TI.c.id.in_(_IDS), TI.c.state.in_(_WAITING))
    .values(state=TaskState.SCHEDULED, scheduled_at=bindparam("b_now"), ready_at=None)
)
_DISOWN = (
    update(TI)
    .where(TI.c.token.in_(_TOKENS), TI.c.state.in_([TaskState.QUEUED, TaskState.RUNNING]))
    .values(
        state=TaskState.SCHEDULED,
        token=None,
        owner=None,
        queued_at=None,
        start_date=None,
        try_number=TI.c.try_number - _CHARGE,
    )
)
_OWNED: Final[Select[Any]] = (
    select(TI.c.id, TI.c.token, TI.c.state, TI.c.run_pk, TI.c.dag_id, TI.c.run_id, TI.c.task_id)
    .where(TI.c.owner.in_(bindparam("owners", expanding=True)))
    .order_by(TI.c.id)
    .limit(bindparam("limit"))
)


def insert_run(tx: Tx, values: Mapping[str, Any]) -> bool:
    """Insert a queued run; False when its run_id or its logical date is taken. `values` are DagRun's columns."""
    row = {"state": RunState.QUEUED, "queued_at": tx.now, "unfinished": 0, "conf": {}, **values}
    return tx.dialect.insert_new(tx.connection, RUN, row)


def create_run(
    tx: Tx,
    dag_id: str,
    run_type: RunType = RunType.MANUAL,
    *,
    run_id: str | None = None,
    logical_date: datetime | None = None,
    conf: Mapping[str, Any] | None = None,
    triggered_by: str | None = None,
) -> str:
    """Queue a run that somebody asks for; returns its run_id.

    Without a logical date the run's is now. Its data interval is the last complete one before the logical date, as in
    Airflow. Raises Refused for a run_id that cannot be one and for params that `conf` leaves wrong, NotFound for a DAG
    that is not there, Duplicate where the run_id or the logical date is taken.
    """
    if run_id is not None and not _is_run_id(run_id):
        raise Refused(
            f"{run_id[:80]!r} is no run id: a run id has 1 to 250 letters, digits and any of - _ . : + ~ @ , "
            "and is not . or .."
        )
    statement = select(Dag.version, DagVersion.data).join(
        DagVersion, (DagVersion.dag_id == Dag.dag_id) & (DagVersion.version == Dag.version)
    )
    statement = statement.where(Dag.dag_id == dag_id, Dag.is_active.is_(True))
    if tx.dialect.locks_rows:  # a DAG that is deleted meanwhile waits for this run and sees it, or is gone by now
        statement = statement.with_for_update(read=True, key_share=True)
    found = tx.connection.execute(statement).first()
    if found is None:
        raise NotFound(f"there is no DAG {dag_id!r}")
    dag = decode_dag(found.data)
    _check_params(dag, conf or {})
    moment = logical_date or tx.now
    interval = manual_interval(dag.schedule, moment)
    run_id = f"{run_type}__{moment.isoformat()}" if run_id is None else run_id
    values = {
        "dag_id": dag_id,
        "run_id": run_id,
        "run_type": run_type,
        "version": found.version,
        "logical_date": moment,
        "data_interval_start": interval.start,
        "data_interval_end": interval.end,
        "run_after": tx.now,
        "conf": dict(conf or {}),
        "triggered_by": triggered_by,
    }
    if not insert_run(tx, values):
        raise Duplicate(f"DAG {dag_id!r} already has a run {run_id!r}, or one with logical date {moment.isoformat()}")
    sla.promise(tx, [sla.Made(dag, values)])
    return run_id


def _check_params(dag: SerializedDag, conf: Mapping[str, Any]) -> None:
    try:
        params.validate(dag.param_schemas, {**dag.params, **conf})
    except params.ParamValidationError as error:
        raise Refused(f"DAG {dag.dag_id!r} refuses this conf. {error}") from error


def _is_run_id(text: str) -> bool:
    """Whether it can stand in a URL, a path and a command as it is."""
    return _RUN_ID.fullmatch(text) is not None and text not in (".", "..")


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
        tx.connection.execute(insert(TI), rows)
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


def _pass_through(tx: Tx, graphs: Graphs, run_ids: Collection[int]) -> Changes:
    """Advance what waits behind the empty tasks with which runs begin."""
    if not run_ids:
        return Changes()
    rows = tx.connection.execute(SETTLED, {"ids": sorted(run_ids)})
    settled = [changed(row, TaskState.SUCCESS, end_date=row.end_date) for row in rows]
    changes = Changes(tasks=settled)
    changes.add(advance(tx, graphs, Runs(), settled))
    return changes


def _lock_queued(tx: Tx, queued: list[RunFacts]) -> list[RunFacts]:
    # The join above cannot be locked table by table on every database, so the rows are locked by id afterwards.
    if not queued or not tx.dialect.locks_rows:
        return queued
    statement = select(RUN.c.id).where(RUN.c.id.in_(_IDS), RUN.c.state == RunState.QUEUED).order_by(RUN.c.id)
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


def _deadline(graph: Graph, now: datetime) -> datetime | None:
    seconds = graph.dag.dagrun_timeout_seconds
    return None if seconds is None else now + timedelta(seconds=seconds)


def _missing_instances(tx: Tx, run: RunFacts, graph: Graph) -> list[dict[str, Any]]:
    """For a run that begins anew: the tasks that its DAG has got since. Those that it has lost are removed."""
    known = recount.adopt_version(tx, run, graph)
    there = absent.present_tasks(graph.dag, run.run_type, run.logical_date)
    new = [_new_instance(run, task, tx.now) for task in there if task.task_id not in known]
    nothing = {"state": None, "try_number": 0, "scheduled_at": None, "start_date": None, "end_date": None}
    return [row | nothing for row in new]


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


def reconsider(tx: Tx, graphs: Graphs, runs: Runs, waiting: Collection[tuple[int, str]]) -> Changes:
    """Judge waiting tasks (run and task_id) by their counters as they stand, and go on from there."""
    changes = Changes()
    if waiting:
        changes.add(advance_wave(tx, graphs, runs, dict.fromkeys(waiting, Delta())))
        changes.add(advance(tx, graphs, runs, list(changes.tasks)))
    return changes


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


def claim(
    tx: Tx, graphs: Graphs, runs: Runs, owner: str, slots: int, *, starting: bool = False
) -> tuple[list[Claimed], Changes]:
    """Give up to `slots` ready task instances to `owner`, by priority, within pools and max_active_tasks.

    With `starting` they are running at once: for an owner that makes their processes as soon as this is committed.

    1. Lock a bounded page of ready rows, skipping what another scheduler holds.
    2. Lock the budgets they need, choose in priority order what fits, and use the budgets.
    3. One UPDATE moves the chosen ones to queued, with token and owner, and charges the attempt.
    4. With slots left, read on behind that page, leaving out the DAGs and pools that are full now: a crowd waiting
       for one of them holds up nobody else.
    """
    claimed: list[Claimed] = []
    changes = Changes()
    place = {"rank": _BEFORE_ALL, "id": 0}
    full: set[budgets.Key] = set()
    for page in range(_CLAIM_PAGES):
        limit = _PAGE_PER_SLOT * slots * 2**page
        ready = _ready(tx, place, full, limit) if len(claimed) < slots else []
        if not ready:
            break
        chosen = _fitting(tx, graphs, runs, ready, slots - len(claimed), full)
        if chosen:
            claimed += _queue(tx, runs, owner, chosen, starting=starting)
            changes.tasks += [
                changed(row, TaskState.QUEUED, try_number=_charged(row), queued_at=tx.now) for row in chosen
            ]
        if len(ready) < limit:
            break
        place = {"rank": ready[-1].priority_rank, "id": ready[-1].id}
    return claimed, changes


def _ready(tx: Tx, place: Mapping[str, int], full: Collection[budgets.Key], limit: int) -> Sequence[Row[Any]]:
    parameters = {
        **place,
        "limit": limit,
        "full_dags": sorted(name for kind, name in full if kind == budgets.DAG_TASKS),
        "full_pools": sorted(name for kind, name in full if kind == budgets.POOL),
    }
    return tx.connection.execute(locked(tx, _READY, skip=True), parameters).all()


def _queue(tx: Tx, runs: Runs, owner: str, chosen: Sequence[Row[Any]], *, starting: bool) -> list[Claimed]:
    budgets.take(tx, budgets.task_amounts((row.dag_id, row.pool, row.pool_slots) for row in chosen))
    batch = secrets.token_hex(8) + "-"
    ids = [row.id for row in chosen]
    statement = _CLAIM_AND_START if starting else _CLAIM
    tx.connection.execute(statement, {"ids": ids, "b_batch": batch, "b_owner": owner, "b_now": tx.now})
    facts = runs.get(tx.connection, (row.run_pk for row in chosen))
    return [
        Claimed(
            row.id,
            facts[row.run_pk],
            row.task_id,
            row.map_index,
            f"{batch}{row.id}",
            _charged(row),
            row.max_tries,
            row.sensing_since,
        )
        for row in chosen
    ]


def _charged(row: Row[Any]) -> int:
    """The number of the attempt that a claim begins, or goes on with."""
    return int(row.try_number) + (row.sensing_since is None)


def _fitting(
    tx: Tx, graphs: Graphs, runs: Runs, ready: Sequence[Row[Any]], slots: int, full: set[budgets.Key]
) -> list[Row[Any]]:
    """Choose what fits, by priority; adds the budgets that have nothing left to `full`."""
    tasks = _tasks_of(tx, graphs, runs, ready)
    ready = [row for row in ready if row.id in tasks]
    keys = {key for row in ready for key in ((budgets.POOL, row.pool), (budgets.DAG_TASKS, row.dag_id))}
    free = dict.fromkeys(keys, 0) | budgets.free_slots(tx, keys)
    per_task = _running_of_limited(tx, ready, tasks)
    chosen: list[Row[Any]] = []
    for row in ready:
        pool, dag = (budgets.POOL, row.pool), (budgets.DAG_TASKS, row.dag_id)
        limit = tasks[row.id].max_active_tis_per_dag
        busy = per_task[row.dag_id, row.task_id]
        if len(chosen) >= slots:
            break
        if free[pool] < row.pool_slots or free[dag] < 1 or (limit is not None and busy >= limit):
            continue
        free[pool] -= row.pool_slots
        free[dag] -= 1
        per_task[row.dag_id, row.task_id] += 1
        chosen.append(row)
    full.update(key for key, n in free.items() if n < 1)
    return chosen


def _tasks_of(tx: Tx, graphs: Graphs, runs: Runs, rows: Sequence[Row[Any]]) -> dict[int, SerializedTask]:
    """The definitions of task instances, by id; one that cannot be read is told, and must not hold up the others."""
    facts = runs.get(tx.connection, (row.run_pk for row in rows))
    tasks = {}
    for row in rows:
        try:
            tasks[row.id] = graphs.get(tx.connection, row.dag_id, facts[row.run_pk].version).tasks[row.task_id]
        except NotFound as error:
            log.error("task %s of run %s is left as it is: %s", row.task_id, row.run_id, error)
    return tasks


def _running_of_limited(
    tx: Tx, ready: Sequence[Row[Any]], tasks: Mapping[int, SerializedTask]
) -> Counter[tuple[str, str]]:
    """How many attempts of tasks with max_active_tis_per_dag are under way, over all runs.

    Read after the DAG's budget was locked: whoever claims for this DAG holds that lock to its commit, so that two
    schedulers never count at the same time.
    """
    limited = {(row.dag_id, row.task_id) for row in ready if tasks[row.id].max_active_tis_per_dag is not None}
    counts: Counter[tuple[str, str]] = Counter()
    if limited:
        statement = select(TI.c.dag_id, TI.c.task_id).where(
            TI.c.state.in_([TaskState.QUEUED, TaskState.RUNNING]),
            or_(*((TI.c.dag_id == dag_id) & (TI.c.task_id == task_id) for dag_id, task_id in sorted(limited))),
        )
        counts.update((row.dag_id, row.task_id) for row in tx.connection.execute(statement))
    return counts


def release(tx: Tx, tokens: Collection[str]) -> int:
    """Put claimed attempts back that were never started, without charge. Returns how many there were."""
    held = tx.connection.execute(locked(tx, _HELD), {"tokens": list(tokens), "held_state": TaskState.QUEUED}).all()
    if held:
        tx.connection.execute(_RELEASE, {"tokens": [row.token for row in held]})
        budgets.give(tx, budgets.task_amounts((row.dag_id, row.pool, row.pool_slots) for row in held))
    return len(held)


def start(tx: Tx, tokens: Collection[str]) -> set[str]:
    """Confirm attempts before their processes are made; returns the tokens that still count: others must not run."""
    wanted = list(tokens)
    if not wanted:
        return set()
    moved = tx.connection.execute(_START, {"tokens": wanted, "b_now": tx.now}).rowcount
    if moved == len(wanted):
        return set(wanted)
    statement = select(TI.c.token).where(TI.c.token.in_(_TOKENS), TI.c.start_date == tx.now)
    return set(tx.connection.execute(statement, {"tokens": wanted}).scalars())


def finish(tx: Tx, graphs: Graphs, runs: Runs, reports: Sequence[Finished]) -> Changes:
    """Write how attempts ended, advance what waited for them, close runs that are complete.

    A report whose token is not running any more came late: it changes nothing and is listed in ``Changes.late``. One
    whose DAG version cannot be read is left for later, in ``Changes.unjudged``, so that it holds up no other.
    """
    if not reports:
        return Changes()
    by_token = {report.token: report for report in reports}
    statement = locked(tx, _HELD)
    held = tx.connection.execute(statement, {"tokens": list(by_token), "held_state": TaskState.RUNNING}).all()
    tasks = _tasks_of(tx, graphs, runs, held)
    changes = Changes(
        late=sorted(by_token.keys() - {row.token for row in held}),
        unjudged=[row.token for row in held if row.id not in tasks],
    )
    held = [row for row in held if row.id in tasks]
    if not held:
        return changes
    ended = [_decide(row, tasks[row.id], by_token[row.token], tx.now) for row in held]
    _write_ends(tx, held, ended)
    over = [
        (row, change) for row, change in zip(held, ended, strict=True) if change.state != TaskState.UP_FOR_RESCHEDULE
    ]
    if over:
        tx.connection.execute(insert(TaskAttempt), [_attempt(row, change) for row, change in over])
    changes.ended += [change for _, change in over]
    _store_xcoms(tx, changes.ended)
    changes.restarts = [row.id for row in held if row.ending == Ending.RESTART]
    changes.tasks += [change for change in ended if change.ti_id not in changes.restarts]
    final = [change for change in ended if change.state not in _WAITING]
    skipped = [changed(row, TaskState.SKIPPED, end_date=tx.now) for row in skips.skip(tx, graphs, runs, final)]
    changes.tasks += skipped
    changes.add(advance(tx, graphs, runs, [*final, *skipped]))
    budgets.give(tx, budgets.task_amounts((row.dag_id, row.pool, row.pool_slots) for row in held))
    return changes


def _decide(row: Row[Any], task: SerializedTask, report: Finished, now: datetime) -> TaskChange:
    outcome = report.outcome
    end = max(row.start_date, now - report.ago)
    began = row.sensing_since or row.start_date
    retry_at = None
    if row.ending is not None:
        ending = Ending(row.ending)
        decided = {"hostname": report.hostname, "start_date": began, "end_date": end, "time_limit": ending.time_limit}
        return changed(row, ending.state, outcome=outcome, **decided)
    match outcome.cause:
        case Cause.SUCCESS:
            state = TaskState.SUCCESS
        case Cause.SKIP:
            state = TaskState.SKIPPED
        case Cause.RESCHEDULE:
            state = TaskState.UP_FOR_RESCHEDULE
            retry_at = end + timedelta(seconds=outcome.resume_seconds)
        case _ if outcome.may_retry and row.try_number < row.max_tries:
            state = TaskState.UP_FOR_RETRY
            retry_at = now + task.retry_delay(row.try_number, f"{row.dag_id}#{row.task_id}#{row.run_id}")
        case _:
            state = TaskState.FAILED
    limit = outcome.sentence if outcome.timed_out and state is TaskState.SKIPPED else None
    more = {"start_date": began, "end_date": end, "retry_at": retry_at, "time_limit": limit}
    return changed(row, state, outcome=outcome, hostname=report.hostname, **more)


def _write_ends(tx: Tx, held: Sequence[Row[Any]], ended: Sequence[TaskChange]) -> None:
    groups: dict[tuple[TaskState, datetime | None, datetime | None], list[str]] = defaultdict(list)
    for row, change in zip(held, ended, strict=True):
        end = None if change.state in _WAITING else change.end_date
        groups[change.state, end, change.retry_at].append(row.token)
    for (state, end, retry_at), tokens in groups.items():
        if state == TaskState.UP_FOR_RESCHEDULE:
            tx.connection.execute(_SUSPEND, {"tokens": tokens, "b_ready": retry_at})
        else:
            tx.connection.execute(_END, {"tokens": tokens, "b_state": state, "b_end": end, "b_ready": retry_at})


def _attempt(row: Row[Any], change: TaskChange) -> dict[str, Any]:
    outcome = change.outcome
    if outcome is None:
        raise RuntimeError("an attempt ends with an outcome")
    return {
        "ti_id": change.ti_id,
        "try_number": change.try_number,
        "token": row.token,
        "owner": row.owner,
        "hostname": change.hostname,
        "state": change.state,
        "cause": outcome.cause,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "error": None if outcome.cause in (Cause.SUCCESS,) else outcome.sentence,
        "start_date": change.start_date,
        "end_date": change.end_date,
    }


def _store_xcoms(tx: Tx, ended: Sequence[TaskChange]) -> None:
    """Keep what an attempt left; what an earlier attempt of the same task left goes."""
    stale = {change.ti_id for change in ended if change.outcome and (change.outcome.xcom or change.try_number > 1)}
    rows = [
        {"ti_id": change.ti_id, "key": key, "value": value, "created_at": tx.now}
        for change in ended
        if change.outcome is not None
        for key, value in change.outcome.xcom.items()
    ]
    if stale:
        tx.connection.execute(delete(XCom).where(XCom.ti_id.in_(sorted(stale))))
    if rows:
        tx.connection.execute(insert(XCom), rows)


def promote(tx: Tx, limit: int) -> int:
    """Make retries whose delay is over, and sensors that look again, ready; returns how many."""
    ids = tx.connection.execute(locked(tx, _DUE, skip=True), {"now": tx.now, "limit": limit}).scalars().all()
    if ids:
        tx.connection.execute(_PROMOTE, {"ids": ids, "b_now": tx.now})
    return len(ids)


def disown(tx: Tx, owner: str, known: Collection[str]) -> int:
    """Put back what was given to `owner` but never reached it, without charge: only the owner itself can know.

    `known` are the tokens that did reach it. Returns how many were put back.
    """
    statement = select(TI).where(TI.c.owner == owner, TI.c.ending.is_(None)).order_by(TI.c.id)
    lost = [row for row in tx.connection.execute(locked(tx, statement)) if row.token not in known]
    if lost:
        tx.connection.execute(_DISOWN, {"tokens": [row.token for row in lost]})
        budgets.give(tx, budgets.task_amounts((row.dag_id, row.pool, row.pool_slots) for row in lost))
    return len(lost)


def rescue(tx: Tx, graphs: Graphs, runs: Runs, owners: Collection[str], limit: int) -> tuple[int, Changes]:
    """Take back what dead owners held: unstarted attempts are released, running ones end as lost.

    Returns how many were released, and the changes. Call again until both are nothing.
    """
    if not owners:
        return 0, Changes()
    rows = tx.connection.execute(_OWNED, {"owners": sorted(owners), "limit": limit}).all()
    released = release(tx, [row.token for row in rows if row.state == TaskState.QUEUED])
    running = [row for row in rows if row.state == TaskState.RUNNING]
    known = _tasks_of(tx, graphs, runs, running)  # what cannot be judged stays as it is, and is looked at again
    lost = [Finished(row.token, Outcome(Cause.LOST), hostname="") for row in running if row.id in known]
    return released, finish(tx, graphs, runs, lost)


def claim_for_nobody(tx: Tx, runs: Runs, rows: Sequence[Row[Any]]) -> list[Claimed]:
    """Charge attempts of ready rows that the caller has locked and ends in this transaction: they never start."""
    return _queue(tx, runs, "", rows, starting=True)
