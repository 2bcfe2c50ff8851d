"""Clearing and marking: what people do to task instances that have run, or run.

Cleared ones run again. Their attempts stay as history, attempts are counted on, and as many retries are allowed again
as at first. A run that has ended is queued, of the newest version of its DAG; one that still runs goes on, of its own
version: the others have counted by that. A running attempt is ended first (:mod:`engine.metastore.endings`).

Marked ones take a final state without running. What stands behind them and has failed is cleared, as in Airflow, so
that the run goes on from there; a run that had ended and has nothing to do again is judged anew at once
(:mod:`engine.metastore.judging`). One that had ended keeps its end, so that it does not seem to have lasted until then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Row, bindparam, func, select, update

from engine.metastore import absent, budgets, endings, judging, past, skips, sla, sla_missed
from engine.metastore.advance import changed, close_runs, reconsider
from engine.metastore.broken_off import break_off
from engine.metastore.changes import Changes, RunFacts
from engine.metastore.database import Tx
from engine.metastore.endings import Ending
from engine.metastore.errors import NotFound
from engine.metastore.graphs import Graph, Graphs
from engine.metastore.recount import recount
from engine.metastore.runs import FACT_COLUMNS, Runs, facts_of
from engine.metastore.states import FINAL_RUN_STATES, RunState, TaskState
from engine.metastore.tables import Base, Dag, DagRun, TaskAttempt, TaskInstance

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
RUN: Final = Base.metadata.tables[DagRun.__tablename__]
BROKEN: Final = (TaskState.FAILED, TaskState.UPSTREAM_FAILED)

_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
_CHOSEN: Final = select(TI).where(TI.c.id.in_(_IDS)).order_by(TI.c.id)
_ENDS: Final = select(TI.c.id, TI.c.end_date).where(TI.c.id.in_(_IDS))
_BROKEN: Final = select(TI.c.id, TI.c.run_pk, TI.c.task_id).where(
    TI.c.run_pk.in_(bindparam("runs", expanding=True)), TI.c.state.in_(BROKEN)
)
_RUNS: Final = select(*FACT_COLUMNS, DagRun.state).where(DagRun.id.in_(_IDS)).order_by(DagRun.id)
_NEWEST: Final = select(Dag.dag_id, Dag.version).where(
    Dag.dag_id.in_(bindparam("dags", expanding=True)), Dag.is_active.is_(True)
)
_NOTHING: Final[dict[str, Any]] = {
    "state": None,
    "token": None,
    "owner": None,
    "ready_at": None,
    "scheduled_at": None,
    "queued_at": None,
    "start_date": None,
    "end_date": None,
    "past_run_pk": None,
    "sensing_since": None,
}
_RESET: Final = (
    update(TI).where(TI.c.id.in_(_IDS)).values(**_NOTHING, max_tries=TI.c.try_number + bindparam("b_attempts"))
)
_QUEUE: Final = (
    update(RUN)
    .where(RUN.c.id == bindparam("b_id"))
    .values(
        state=RunState.QUEUED,
        version=bindparam("b_version"),
        queued_at=bindparam("b_now"),
        start_date=None,
        end_date=None,
        deadline=None,
        clears=RUN.c.clears + 1,
    )
)
_LAST_END: Final = (
    select(func.max(TaskAttempt.end_date))
    .where(TaskAttempt.ti_id == TI.c.id, TI.c.start_date.is_not(None))  # an attempt since it was cleared last
    .correlate(TI)
    .scalar_subquery()
)
_MARK: Final = (
    update(TI)
    .where(TI.c.id.in_(_IDS))
    .values(
        state=bindparam("b_state"),
        end_date=func.coalesce(TI.c.end_date, _LAST_END, bindparam("b_now", type_=TI.c.end_date.type)),
        token=None,
        owner=None,
        ready_at=None,
        past_run_pk=None,
        start_date=func.coalesce(TI.c.sensing_since, TI.c.start_date),
        sensing_since=None,  # after start_date, as the table has them: MySQL assigns from left to right
    )
)


def clear(tx: Tx, graphs: Graphs, runs: Runs, ids: Collection[int]) -> Changes:
    """Let task instances run again. Rows are locked in the metastore's order: tasks, runs, budgets."""
    rows = _lock(tx, ids)
    endings.request(tx, _running(rows), Ending.RESTART)
    again = [row for row in rows if row.state != TaskState.RUNNING]
    return _reset(tx, graphs, runs, again, rows)


def begin_anew(tx: Tx, graphs: Graphs, runs: Runs, ids: Collection[int]) -> Changes:
    """What was cleared while it ran: its attempt has ended."""
    rows = _lock(tx, ids)
    return _reset(tx, graphs, runs, rows, rows)


def mark(tx: Tx, graphs: Graphs, runs: Runs, ids: Collection[int], state: TaskState) -> Changes:
    """Give task instances a final state: success, failed or skipped. Running ones get it when they have been ended."""
    rows = _lock(tx, {*ids, *_broken_behind(tx, graphs, runs, ids)})
    chosen = [row for row in rows if row.id in ids]
    endings.request(tx, _running(chosen), Ending(state.value))
    settled = [row for row in chosen if row.state != TaskState.RUNNING]
    broken_off = break_off(tx, settled, state, Ending(state.value).sentence)
    ends = _mark(tx, [row.id for row in settled], state)
    marked = [changed(row, state, end_date=ends[row.id], by_hand=True) for row in settled]
    changes = Changes(tasks=marked, ended=broken_off)
    again = [row for row in rows if row.id not in ids and row.state in BROKEN]
    over = judging.lock_over(tx, {row.run_pk for row in rows} - {row.run_pk for row in again})
    changes.add(_reset(tx, graphs, runs, again, [row for row in rows if row.run_pk not in over]))
    changes.add(_judge(tx, graphs, runs, over.values()))
    changes.add(reconsider(tx, graphs, runs, past.successors(tx, graphs, runs, changes.tasks)))
    _give_back(tx, settled)
    return changes


def _mark(tx: Tx, ids: Sequence[int], state: TaskState) -> dict[int, datetime]:
    """Returns their ends: what had ended ended then, and what had not ends now."""
    if not ids:
        return {}
    tx.connection.execute(_MARK, {"ids": ids, "b_state": state, "b_now": tx.now})
    return {row.id: row.end_date for row in tx.connection.execute(_ENDS, {"ids": ids})}


def _judge(tx: Tx, graphs: Graphs, runs: Runs, over: Collection[judging.Over]) -> Changes:
    newest = _newest(tx, {one.run.dag_id for one in over}) if over else {}
    readable = [
        replace(one, run=replace(one.run, version=_version(tx, graphs, one.run, newest.get(one.run.dag_id))))
        for one in over
    ]
    runs.forget(one.run.id for one in over)
    return judging.judge_anew(tx, graphs, readable)


def _lock(tx: Tx, ids: Collection[int]) -> list[Row[Any]]:
    statement = _CHOSEN.with_for_update() if tx.dialect.locks_rows else _CHOSEN
    return list(tx.connection.execute(statement, {"ids": sorted(ids)})) if ids else []


def _running(rows: Sequence[Row[Any]]) -> list[int]:
    return [row.id for row in rows if row.state == TaskState.RUNNING]


def _broken_behind(tx: Tx, graphs: Graphs, runs: Runs, ids: Collection[int]) -> list[int]:
    """What stands behind task instances, at any distance, and has failed."""
    chosen = tx.connection.execute(_CHOSEN, {"ids": sorted(ids)}).all()
    facts = runs.get(tx.connection, (row.run_pk for row in chosen))
    behind: set[tuple[int, str]] = set()
    newest = _newest(tx, {row.dag_id for row in chosen})
    for row in chosen:
        graph = _shape(tx, graphs, facts[row.run_pk], newest.get(row.dag_id))
        behind.update((row.run_pk, name) for name in graph.downstream_of([row.task_id]))
    broken = tx.connection.execute(_BROKEN, {"runs": sorted(facts)})
    return [row.id for row in broken if (row.run_pk, row.task_id) in behind]


def _newest(tx: Tx, dag_ids: Collection[str]) -> dict[str, str]:
    return {row.dag_id: row.version for row in tx.connection.execute(_NEWEST, {"dags": sorted(dag_ids)})}


def _shape(tx: Tx, graphs: Graphs, run: RunFacts, newest: str | None) -> Graph:
    return graphs.get(tx.connection, run.dag_id, _version(tx, graphs, run, newest))


def _version(tx: Tx, graphs: Graphs, run: RunFacts, newest: str | None) -> str:
    """The version of a run; that of its DAG as it is now where its own is not kept any more."""
    try:
        graphs.get(tx.connection, run.dag_id, run.version)
    except NotFound:
        if newest is None:
            raise
        return newest
    return run.version


def _reset(tx: Tx, graphs: Graphs, runs: Runs, again: Sequence[Row[Any]], touched: Sequence[Row[Any]]) -> Changes:
    """Take the states of `again` back, and let the runs of all that is `touched` go on from there.

    1. Lock the runs. Deadlines of theirs that have passed untold are missed, whatever happens to them now.
    2. A run that has ended is queued, and judged when it begins anew. Deadlines that come again are renewed.
    3. Reset the task instances; what a branch that stays as it is decided against is skipped again at once.
    4. Count the running runs anew, and judge what waits in them.
    """
    statement = _RUNS.with_for_update() if tx.dialect.locks_rows else _RUNS
    found = tx.connection.execute(statement, {"ids": sorted({row.run_pk for row in touched})}).all()
    facts = {row.id: facts_of(row) for row in found}
    cleared = {(row.run_pk, row.task_id) for row in again}
    cleared |= {(row.id, sla.THE_RUN) for row in found if row.state in FINAL_RUN_STATES}
    missed = sla_missed.claim_missed_of_runs(tx, graphs, facts, cleared)
    newest = _newest(tx, {run.dag_id for run in facts.values()})
    shapes: dict[int, Graph] = {}
    for row in found:
        ended = row.state in FINAL_RUN_STATES
        version = newest.get(row.dag_id, row.version) if ended else row.version
        shapes[row.id] = graphs.get(tx.connection, row.dag_id, version)
        if ended:
            tx.connection.execute(_QUEUE, {"b_id": row.id, "b_version": version, "b_now": tx.now})
    runs.forget(facts)
    sla.renew(tx, shapes, cleared)
    _take_back(tx, shapes, again)
    broken_off = break_off(tx, again, TaskState.UP_FOR_RETRY, Ending.RESTART.sentence)
    skipped = [changed(row, TaskState.SKIPPED, end_date=tx.now) for row in _skip_again(tx, again)]
    _give_back(tx, again)
    going = {row.id: shapes[row.id] for row in found if row.state == RunState.RUNNING}
    changes = Changes(tasks=skipped, ended=broken_off, missed=missed)
    changes.add(reconsider(tx, graphs, runs, recount(tx, going)))
    changes.add(close_runs(tx, graphs, dict.fromkeys(going, 0)))
    changes.add(absent.fail_stuck(tx, graphs, runs, going))
    return changes


def _take_back(tx: Tx, shapes: Mapping[int, Graph], again: Sequence[Row[Any]]) -> None:
    by_attempts: dict[int, list[int]] = defaultdict(list)
    for row in again:
        task = shapes[row.run_pk].tasks.get(row.task_id)
        by_attempts[task.retries + 1 if task else 1].append(row.id)
    for attempts, ids in sorted(by_attempts.items()):
        tx.connection.execute(_RESET, {"ids": ids, "b_attempts": attempts})


def _skip_again(tx: Tx, again: Sequence[Row[Any]]) -> list[Row[Any]]:
    cleared: dict[int, set[str]] = defaultdict(set)
    for row in again:
        cleared[row.run_pk].add(row.task_id)
    return [row for run_pk, names in sorted(cleared.items()) for row in skips.after_clear(tx, run_pk, names)]


def _give_back(tx: Tx, rows: Sequence[Row[Any]]) -> None:
    """The slots of what was claimed and not started."""
    queued = [row for row in rows if row.state == TaskState.QUEUED]
    budgets.give(tx, budgets.task_amounts((row.dag_id, row.pool, row.pool_slots) for row in queued))


def select_instances(
    connection: Connection,
    dag_id: str,
    task_ids: Collection[str] | None,
    *,
    run_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    states: Collection[TaskState] = (),
) -> list[Row[Any]]:
    """Task instances by DAG, tasks (None: all), runs (an id, or logical dates from and to, both included) and states.

    Rows of id, run_id, task_id, state and try_number, oldest run first.
    """
    statement = (
        select(TI.c.id, TI.c.run_id, TI.c.task_id, TI.c.state, TI.c.try_number)
        .join(RUN, RUN.c.id == TI.c.run_pk)
        .where(RUN.c.dag_id == dag_id)
        .order_by(RUN.c.id, TI.c.id)
    )
    if task_ids is not None:
        statement = statement.where(TI.c.task_id.in_(sorted(task_ids)))
    if run_id is not None:
        statement = statement.where(RUN.c.run_id == run_id)
    if since is not None:
        statement = statement.where(RUN.c.logical_date >= since)
    if until is not None:
        statement = statement.where(RUN.c.logical_date <= until)
    if states:
        statement = statement.where(TI.c.state.in_(sorted(states)))
    return list(connection.execute(statement))
