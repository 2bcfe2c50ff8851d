"""Attempts end: what their outcomes make of the tasks, and what follows."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import Row, Update, bindparam, delete, func, literal, select, union_all, update

from alerting.clock import Clock
from engine.authoring.serialized import SerializedTask
from engine.metastore import budgets, skips
from engine.metastore.advance import CHILDREN, NOTHING_READ, Waiting, advance, changed, locked
from engine.metastore.changes import Changes, Claimed, Finished, TaskChange
from engine.metastore.database import Tx
from engine.metastore.definitions import tasks_of
from engine.metastore.endings import Ending
from engine.metastore.graphs import Graphs
from engine.metastore.one_of import one_of
from engine.metastore.outcome import Cause
from engine.metastore.runs import Runs
from engine.metastore.states import WAITING_TASK_STATES, TaskState
from engine.metastore.tables import Base, TaskAttempt, TaskInstance, XCom
from engine.metastore.writes import Writes

_ATTEMPT: Final = Base.metadata.tables[TaskAttempt.__tablename__]
_XCOM: Final = Base.metadata.tables[XCom.__tablename__]
TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
HELD = (
    select(TI.c.id, TI.c.run_pk, TI.c.dag_id, TI.c.run_id, TI.c.task_id, TI.c.map_index, TI.c.token, TI.c.owner)
    .add_columns(TI.c.operator, TI.c.queue, TI.c.pool, TI.c.pool_slots, TI.c.try_number, TI.c.max_tries, TI.c.ending)
    .add_columns(TI.c.scheduled_at, TI.c.queued_at, TI.c.start_date, TI.c.sensing_since)
    .where(one_of(TI.c.token, "tokens"), TI.c.state == bindparam("held_state"))
    .order_by(TI.c.id)
)
_HELD_NOW: Final = HELD.add_columns(Clock().label("clock"))
_RUNNING: Final = (
    select(TI, Clock().label("clock"), literal(True).label("ends"))
    .where(one_of(TI.c.token, "tokens"), TI.c.state == TaskState.RUNNING)
    .order_by(TI.c.id)
)
_WAITING: Final = CHILDREN.add_columns(Clock().label("clock"), literal(False).label("ends"))
# Both are locked in their order, as by two statements; only where a WITH may lock.
_RUNNING_AND_WAITING: Final = union_all(
    *(select(part.with_for_update().cte(name)) for name, part in (("running", _RUNNING), ("waiting", _WAITING)))
)


@cache
def _end(ending: str) -> Update:
    return (
        update(TI)
        .where(one_of(TI.c.token, f"tokens{ending}"), TI.c.state == TaskState.RUNNING)
        .values(
            state=bindparam(f"b_state{ending}"),
            end_date=bindparam(f"b_end{ending}"),
            ready_at=bindparam(f"b_ready{ending}"),
            token=None,
            owner=None,
            start_date=func.coalesce(TI.c.sensing_since, TI.c.start_date),
            ending=None,
            sensing_since=None,  # after start_date, as the table has them: MySQL assigns from left to right
        )
    )


@cache
def _suspend(ending: str) -> Update:
    return (
        update(TI)
        .where(one_of(TI.c.token, f"tokens{ending}"), TI.c.state == TaskState.RUNNING)
        .values(
            state=TaskState.UP_FOR_RESCHEDULE,
            ready_at=bindparam(f"b_ready{ending}"),
            token=None,
            owner=None,
            sensing_since=func.coalesce(TI.c.sensing_since, TI.c.start_date),
        )
    )


def finish(tx: Tx, graphs: Graphs, runs: Runs, reports: Sequence[Finished], begun: Collection[Claimed] = ()) -> Changes:
    """Write how attempts ended, advance what waited for them, close runs that are complete.

    A report whose token is not running any more came late: it changes nothing and is listed in ``Changes.late``. One
    whose DAG version cannot be read is left for later, in ``Changes.unjudged``, so that it holds up no other.

    The first statement tells the time, too, and what waits behind those of the attempts that are in `begun`, for their
    DAGs are known. What is written of the attempts is sent with what follows from it.
    """
    if not reports:
        return Changes()
    by_token = {report.token: report for report in reports}
    asked = time.monotonic()
    held, behind = _read(tx, list(by_token), _behind(graphs, begun) if tx.dialect.joins_writes else NOTHING_READ)
    if held:
        tx.hear(held[0].clock, asked)
    tasks = tasks_of(tx, graphs, runs, held)
    changes = Changes(
        late=sorted(by_token.keys() - {row.token for row in held}),
        unjudged=[row.token for row in held if row.id not in tasks],
    )
    held = [row for row in held if row.id in tasks]
    if not held:
        return changes
    ended = [_decide(row, tasks[row.id], by_token[row.token], tx.now) for row in held]
    writes = Writes(tx)
    _write_ends(writes, held, ended)
    over = [
        (row, change) for row, change in zip(held, ended, strict=True) if change.state != TaskState.UP_FOR_RESCHEDULE
    ]
    if over:
        writes.insert(_ATTEMPT, [_attempt(row, change) for row, change in over])
    changes.ended += [change for _, change in over]
    _store_xcoms(tx, changes.ended)
    changes.restarts = [row.id for row in held if row.ending == Ending.RESTART]
    changes.tasks += [change for change in ended if change.ti_id not in changes.restarts]
    final = [change for change in ended if change.state not in WAITING_TASK_STATES]
    skipped = [changed(row, TaskState.SKIPPED, end_date=tx.now) for row in skips.skip(tx, graphs, runs, final)]
    changes.tasks += skipped
    behind = NOTHING_READ if skipped else behind
    changes.add(advance(tx, graphs, runs, [*final, *skipped], writes, behind))
    budgets.give(tx, budgets.task_amounts((row.dag_id, row.pool, row.pool_slots) for row in held))
    return changes


def _behind(graphs: Graphs, begun: Collection[Claimed]) -> Waiting:
    """What may wait for them, by what is known of their DAGs; whoever needs something else asks for it."""
    shapes = [(one, graphs.known(one.run.dag_id, one.run.version)) for one in begun]
    return Waiting({(one.run.id, name) for one, graph in shapes if graph for name in graph.children[one.task_id]})


def _read(tx: Tx, tokens: list[str], behind: Waiting) -> tuple[Sequence[Row[Any]], Waiting]:
    """Lock the attempts that are running, and what waits behind them where it is named."""
    if not behind.asked:
        parameters = {"tokens": tokens, "held_state": TaskState.RUNNING}
        return tx.connection.execute(locked(tx, _HELD_NOW), parameters).all(), behind
    rows = tx.connection.execute(_RUNNING_AND_WAITING, {"tokens": tokens, **behind.parameters}).all()
    held = [row for row in rows if row.ends]
    return held, behind._replace(rows=[row for row in rows if not row.ends])


def _decide(row: Row[Any], task: SerializedTask, report: Finished, now: datetime) -> TaskChange:
    outcome = report.outcome
    end = max(row.start_date, now - report.ago)
    began = row.sensing_since or row.start_date
    retry_at = None
    if row.ending is not None:
        ending = Ending.read(row.ending)
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


def _write_ends(writes: Writes, held: Sequence[Row[Any]], ended: Sequence[TaskChange]) -> None:
    groups: dict[tuple[TaskState, datetime | None, datetime | None], list[str]] = defaultdict(list)
    for row, change in zip(held, ended, strict=True):
        end = None if change.state in WAITING_TASK_STATES else change.end_date
        groups[change.state, end, change.retry_at].append(row.token)
    for (state, end, retry_at), tokens in groups.items():
        if state == TaskState.UP_FOR_RESCHEDULE:
            writes.add(_suspend, {"tokens": tokens, "b_ready": retry_at})
        else:
            writes.add(_end, {"tokens": tokens, "b_state": state, "b_end": end, "b_ready": retry_at})


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
        tx.dialect.insert_rows(tx.connection, _XCOM, rows)
