"""Deadlines: by when a task of a run, or the run itself, is to be done. Each is a row from the making of the run on.

=============  ===============================  ==============================================================
verb           from → to                        when
=============  ===============================  ==============================================================
promise        (nothing) → open                 the run is made; in the same transaction
settle         open, missed → met               the task, or the run, has ended well in time; in that transaction.
                                                From missed: its end was written after the miss was told
               open, missed → (the same),       it has ended well, but too late: ``completed_at`` says when
               completed
settle         open → cancelled                 the run has failed and the DAG says ``sla_after_failure="cancel"``
cancel         open → cancelled                 somebody failed the run by hand
renew          any → open, cancelled            the task was cleared; cancelled where it is not in the DAG any more
claim_missed   open → missed                    it is due and the DAG is not paused; told in that transaction
               open → cancelled                 it is due and the DAG is paused
set_paused     open → cancelled                 it came due in the pause that ends
=============  ===============================  ==============================================================

A failure ends no deadline: what has failed may be cleared and be done in time, and where it is not, that is news to
those who wait. What ended too late while no scheduler was there stays open, and is told by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Row, Select, bindparam, case, or_, select, update

from engine.authoring.serialized import NoSchedule, SerializedDag, SerializedDeadline
from engine.metastore.absent import present_tasks
from engine.metastore.changes import Changes, RunChange, TaskChange
from engine.metastore.database import Tx
from engine.metastore.durations import last_runtimes
from engine.metastore.graphs import Graph, Graphs
from engine.metastore.runs import Runs
from engine.metastore.states import RunState, RunType, TaskState
from engine.metastore.tables import Base, DagRun, SlaDeadline, TaskInstance

log = logging.getLogger(__name__)

SLA: Final = Base.metadata.tables[SlaDeadline.__tablename__]
RUN: Final = Base.metadata.tables[DagRun.__tablename__]
TI: Final = Base.metadata.tables[TaskInstance.__tablename__]

THE_RUN: Final = ""
"""The ``task_id`` of a deadline that is not a task's."""
AT_RISK: Final = 0.8
"""Share of its time after which the metrics count a deadline as at risk. The event of that name is a forecast."""

_DONE: Final = (TaskState.SUCCESS, TaskState.SKIPPED)
_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
_UNDONE: Final = SLA.c.completed_at.is_(None) & or_(SLA.c.state == "open", SLA.c.state == "missed")
_COMPLETE: Final = (
    update(SLA)
    .where(SLA.c.run_pk == bindparam("b_run"), SLA.c.task_id == bindparam("b_task"), _UNDONE)
    .values(
        state=case((SLA.c.due_at >= bindparam("b_end"), "met"), else_=SLA.c.state),
        completed_at=bindparam("b_end"),
    )
)
_CANCEL: Final = (
    update(SLA)
    .where(SLA.c.run_pk.in_(_IDS), SLA.c.state == "open", SLA.c.due_at > bindparam("b_now"), _UNDONE)
    .values(state="cancelled")
)
_OF_RUNS: Final[Select[Any]] = select(SLA).where(SLA.c.run_pk.in_(_IDS)).order_by(SLA.c.id)
_RENEW: Final = (
    update(SLA)
    .where(SLA.c.id == bindparam("b_id"))
    .values(
        state=bindparam("b_state"),
        due_at=bindparam("b_due"),
        at_risk_at=bindparam("b_risk"),
        completed_at=None,
        missed_at=None,
    )
)


# -- making


@dataclass(frozen=True, slots=True)
class Made:
    """A run that was just queued: its DAG version and its columns. `awaited`: somebody waits for its interval."""

    dag: SerializedDag
    columns: Mapping[str, Any]
    awaited: bool = True


def promise(tx: Tx, made: Iterable[Made]) -> None:
    """Write the deadlines of runs that were just queued. Costs nothing where their DAGs promise nothing."""
    due = {(one.columns["dag_id"], one.columns["run_id"]): _due(tx, one) for one in made if promises(one.dag)}
    due = {key: rows for key, rows in due.items() if rows}
    if not due:
        return
    dag_ids, run_ids = {dag_id for dag_id, _ in due}, {run_id for _, run_id in due}
    statement = select(RUN.c.id, RUN.c.dag_id, RUN.c.run_id).where(RUN.c.dag_id.in_(dag_ids), RUN.c.run_id.in_(run_ids))
    found = {(row.dag_id, row.run_id): row.id for row in tx.connection.execute(statement)}
    open_ = {"state": "open", "completed_at": None, "missed_at": None}
    written = [{"run_pk": found[key], "dag_id": key[0], **row, **open_} for key, rows in due.items() for row in rows]
    tx.dialect.insert_rows(tx.connection, SLA, written)


def promises(dag: SerializedDag) -> bool:
    """Whether it has an ``sla=`` or a ``deadline=`` anywhere."""
    return bool(dag.deadlines) or dag.sla_seconds is not None or any(task.sla_seconds is not None for task in dag.tasks)


def _due(tx: Tx, made: Made) -> list[dict[str, Any]]:
    rows = []
    dag, since = made.dag, _counts_from(made, tx.now)
    if since is not None:
        there = present_tasks(dag, made.columns["run_type"], made.columns.get("logical_date"))
        allowed = [(task.task_id, task.sla_seconds) for task in there] + [(THE_RUN, dag.sla_seconds)]
        rows += [_row(task_id, 0, since, seconds) for task_id, seconds in allowed if seconds is not None]
    for position, deadline in enumerate(dag.deadlines, 1):
        if (row := _referred(tx, made, position, deadline)) is not None:
            rows.append(row)
    return rows


def _counts_from(made: Made, now: datetime) -> datetime | None:
    """From when an ``sla=`` counts in this run; None where it does not."""
    dag, columns = made.dag, made.columns
    if columns["run_type"] == RunType.MANUAL:
        counts = dag.sla_runs != "scheduled" or isinstance(dag.schedule, NoSchedule)
    elif _is_awaited(made):
        end: datetime = columns.get("data_interval_end") or columns["run_after"]
        return end
    else:
        counts = dag.sla_runs == "all"
    return now if counts else None


def _is_awaited(made: Made) -> bool:
    return made.awaited and made.columns["run_type"] != RunType.BACKFILL


def _row(task_id: str, position: int, since: datetime, seconds: float) -> dict[str, Any]:
    since = since.astimezone(UTC)
    allowed = timedelta(seconds=seconds)
    due = {"due_at": since + allowed, "at_risk_at": since + allowed * AT_RISK, "allowed_seconds": seconds}
    return {"task_id": task_id, "position": position, **due}


def _referred(tx: Tx, made: Made, position: int, deadline: SerializedDeadline) -> dict[str, Any] | None:
    """One ``deadline=``; None where its reference says nothing of this run, or nobody waits for it."""
    moves = deadline.reference in ("queued_at", "average_runtime")
    if not _is_awaited(made) and not (moves and made.dag.sla_runs == "all"):
        return None
    if moves:
        average = _average_runtime(tx, made.dag.dag_id, deadline) if deadline.reference == "average_runtime" else 0.0
        return None if average is None else _row(THE_RUN, position, tx.now, average + deadline.interval_seconds)
    moment = deadline.at if deadline.reference == "fixed" else made.columns.get("logical_date")
    if moment is None:
        return None
    due = moment.astimezone(UTC) + timedelta(seconds=deadline.interval_seconds)
    left = max(timedelta(0), due - tx.now)
    return {
        "task_id": THE_RUN,
        "position": position,
        "due_at": due,
        "at_risk_at": due - left * (1 - AT_RISK),
        "allowed_seconds": None,
    }


def _average_runtime(tx: Tx, dag_id: str, deadline: SerializedDeadline) -> float | None:
    took = last_runtimes(tx.connection, dag_id, deadline.max_runs)
    if len(took) < deadline.min_runs:
        log.info("a run of DAG %s has no deadline by average: %d of %d runs", dag_id, len(took), deadline.min_runs)
        return None
    return sum(took, timedelta(0)).total_seconds() / len(took)


# -- settling


def settle(tx: Tx, graphs: Graphs, runs: Runs, changes: Changes) -> None:
    """What has ended well meets its deadline, or is late; sends nothing for DAGs that promise nothing."""
    done = [change for change in changes.tasks if _is_done(change)]
    facts = runs.get(tx.connection, (change.run_pk for change in done))
    completed = [
        {"b_run": change.run_pk, "b_task": change.task_id, "b_end": _when(change, tx.now)}
        for change in done
        if change.task_id in graphs.get(tx.connection, change.dag_id, facts[change.run_pk].version).promised
    ]
    given_up = []
    for ended in changes.runs:
        graph = graphs.get(tx.connection, ended.run.dag_id, ended.run.version)
        if ended.end_date is None or not graph.promised:
            continue
        if ended.state == RunState.SUCCESS:
            completed.append({"b_run": ended.run.id, "b_task": THE_RUN, "b_end": _when(ended, tx.now)})
        if graph.dag.sla_after_failure == "cancel":
            given_up.append(ended.run.id)
    if completed:
        tx.connection.execute(_COMPLETE, completed)
    cancel(tx, given_up)


def _when(change: TaskChange | RunChange, now: datetime) -> datetime:
    """Since when somebody may rely on it: what a person says is done is done when it is said."""
    return now if change.by_hand or change.end_date is None else change.end_date


def _is_done(change: TaskChange) -> bool:
    """Not what was skipped because a time limit, or the end of its run, came first."""
    return change.state in _DONE and change.time_limit is None and not change.abandoned


def cancel(tx: Tx, run_pks: Collection[int]) -> None:
    """Nobody is to be told of these runs' deadlines that lie ahead."""
    if run_pks:
        tx.connection.execute(_CANCEL, {"ids": sorted(run_pks), "b_now": tx.now})


def renew(tx: Tx, shapes: Mapping[int, Graph], cleared: Collection[tuple[int, str]]) -> None:
    """Deadlines of cleared tasks, by run and task_id, and of runs that begin anew, whose graphs are `shapes`.

    One that lies ahead stays where it is. One that has passed is so far ahead again as it was at first, except those
    that refer to a fixed moment or to the logical date. Whoever tells a miss at this moment is waited for.
    """
    if not cleared:
        return
    rows = []
    statement = _OF_RUNS.with_for_update() if tx.dialect.locks_rows else _OF_RUNS
    for row in tx.connection.execute(statement, {"ids": sorted(shapes)}):
        is_gone = row.task_id not in shapes[row.run_pk].promised
        if is_gone and row.state == "open":
            rows.append(_renewed(row, "cancelled", row.due_at, row.at_risk_at))
        elif (row.run_pk, row.task_id) in cleared and not is_gone and (due := _due_again(row, tx.now)) is not None:
            rows.append(_renewed(row, "open", *due))
    if rows:
        tx.connection.execute(_RENEW, rows)


def _due_again(row: Row[Any], now: datetime) -> tuple[datetime, datetime] | None:
    if row.due_at > now and row.state != "missed":  # it may have been missed since this transaction began
        return row.due_at, row.at_risk_at
    if row.state == "open" or row.allowed_seconds is None:
        return None  # it is just being missed, or its moment does not come again
    allowed = timedelta(seconds=row.allowed_seconds)
    return now + allowed, now + allowed * AT_RISK


def _renewed(row: Row[Any], state: str, due: datetime, risk: datetime) -> dict[str, Any]:
    return {"b_id": row.id, "b_state": state, "b_due": due, "b_risk": risk}


def deadlines_of_run(connection: Connection, run_pk: int) -> Sequence[Row[Any]]:
    """All deadlines of a run, the earliest first."""
    statement = select(SLA).where(SLA.c.run_pk == run_pk).order_by(SLA.c.due_at, SLA.c.id)
    return connection.execute(statement).all()
