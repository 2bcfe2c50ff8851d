"""What follows from the end of tasks: their children are counted and advanced, complete runs are closed.

The verbs of :mod:`engine.metastore.transitions`, of deadlines and of clearing are made of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Row, Select, Update, bindparam, func, select, update

from engine.authoring.serialized import SerializedTask
from engine.metastore import absent, budgets, past
from engine.metastore.changes import Changes, RunChange, RunFacts, TaskChange
from engine.metastore.database import Tx
from engine.metastore.graphs import Graphs, judge
from engine.metastore.one_of import one_of
from engine.metastore.runs import FACT_COLUMNS, Runs, facts_of
from engine.metastore.states import RunState, TaskState
from engine.metastore.tables import Base, DagRun, TaskInstance
from engine.metastore.writes import Writes

TI: Final = Base.metadata.tables[TaskInstance.__tablename__]
RUN: Final = Base.metadata.tables[DagRun.__tablename__]


# In whatever state: somebody who clears one at this moment has counted without the ends of this transaction. It is
# locked and read as he leaves it. PostgreSQL passes over a row whose state did not fit before the wait for that lock.
CHILDREN: Final = (
    select(TI)
    .where(
        one_of(TI.c.run_pk, "runs"),
        one_of(TI.c.task_id, "tasks"),
    )
    .order_by(TI.c.id)
)
SETTLED = (
    select(TI)
    .where(one_of(TI.c.run_pk, "ids"), TI.c.state == TaskState.SUCCESS)
    .order_by(TI.c.id)  # in runs just started
)
_COUNT_DOWN = update(RUN).where(one_of(RUN.c.id, "ids")).values(unfinished=RUN.c.unfinished - bindparam("b_n"))
# MySQL's way to give back what an UPDATE of one row has written: the answer's insert id (LAST_INSERT_ID(expr)).
_COUNT_ONE_DOWN = (
    update(RUN)
    .where(RUN.c.id == bindparam("b_run"))
    .values(unfinished=func.last_insert_id(RUN.c.unfinished - bindparam("b_n")))
)
_COMPLETE = (
    select(*FACT_COLUMNS)
    .where(one_of(DagRun.id, "ids"), DagRun.unfinished == 0, DagRun.state == RunState.RUNNING)
    .order_by(DagRun.id)
)
_BROKEN = select(TI.c.run_pk, TI.c.task_id, TI.c.state).where(
    one_of(TI.c.run_pk, "ids"), TI.c.state.in_([TaskState.FAILED, TaskState.UPSTREAM_FAILED])
)
_CLOSE = (
    update(RUN)
    .where(one_of(RUN.c.id, "ids"), RUN.c.state == RunState.RUNNING)
    .values(state=bindparam("b_state"), end_date=bindparam("b_now"))
)


@cache
def _advance(ending: str) -> Update:
    return (
        update(TI)
        .where(one_of(TI.c.id, f"ids{ending}"), TI.c.state.is_(None))
        .values(
            up_success=TI.c.up_success + bindparam(f"b_success{ending}"),
            up_failed=TI.c.up_failed + bindparam(f"b_failed{ending}"),
            up_blocked=TI.c.up_blocked + bindparam(f"b_blocked{ending}"),
            up_skipped=TI.c.up_skipped + bindparam(f"b_skipped{ending}"),
            state=bindparam(f"b_state{ending}"),
            try_number=TI.c.try_number + bindparam(f"b_try{ending}"),
            scheduled_at=bindparam(f"b_scheduled{ending}"),
            start_date=bindparam(f"b_start{ending}"),
            end_date=bindparam(f"b_end{ending}"),
            past_run_pk=None,
        )
    )


@cache
def _counted(ending: str) -> Update:
    counted_down = RUN.c.unfinished - bindparam(f"b_n{ending}")
    statement = update(RUN).where(one_of(RUN.c.id, f"ids{ending}")).values(unfinished=counted_down)
    return statement.returning(RUN.c.id, RUN.c.unfinished)


def locked(tx: Tx, statement: Select[Any], *, skip: bool = False) -> Select[Any]:
    return _for_update(statement, skip) if tx.dialect.locks_rows else statement


@lru_cache(maxsize=64)  # the same object each time is found again among what has been compiled
def _for_update(statement: Select[Any], skip: bool) -> Select[Any]:
    return statement.with_for_update(skip_locked=skip)


def changed(row: Row[Any], state: TaskState, **more: Any) -> TaskChange:
    columns = row._mapping
    known = {
        "try_number": columns["try_number"],
        "scheduled_at": columns.get("scheduled_at"),
        "queued_at": columns.get("queued_at"),
        "start_date": columns.get("start_date"),
        "owner": columns.get("owner"),
    }
    return TaskChange(
        ti_id=columns["id"],
        run_pk=columns["run_pk"],
        dag_id=columns["dag_id"],
        run_id=columns["run_id"],
        task_id=columns["task_id"],
        map_index=columns["map_index"],
        operator=columns["operator"],
        queue=columns["queue"],
        state=state,
        max_tries=columns["max_tries"],
        **(known | more),
    )


class Waiting(NamedTuple):
    """What was asked for, by run and task_id, and the rows of it that wait, locked."""

    asked: Collection[tuple[int, str]] = ()
    rows: Sequence[Row[Any]] = ()

    @property
    def parameters(self) -> dict[str, Any]:
        """Of :data:`CHILDREN`; it may find some that were not asked for."""
        return {"runs": sorted({run for run, _ in self.asked}), "tasks": sorted({task for _, task in self.asked})}


NOTHING_READ: Final = Waiting()


class Delta(NamedTuple):
    """Upstream tasks by outcome, in :func:`judge`'s order."""

    success: int = 0
    failed: int = 0
    blocked: int = 0
    skipped: int = 0

    def plus(self, other: Delta) -> Delta:
        a, b, c, d = other
        return Delta(self.success + a, self.failed + b, self.blocked + c, self.skipped + d)


def _delta(state: TaskState) -> Delta:
    return Delta(
        int(state == TaskState.SUCCESS),
        int(state == TaskState.FAILED),
        int(state == TaskState.UPSTREAM_FAILED),
        int(state == TaskState.SKIPPED),
    )


def advance(
    tx: Tx,
    graphs: Graphs,
    runs: Runs,
    final: Sequence[TaskChange],
    writes: Writes | None = None,
    behind: Waiting = NOTHING_READ,
) -> Changes:
    """Count newly final tasks into their children, wave by wave, and close runs that have become complete.

    `writes` are the ends of `final`, where they are not sent yet: one wave, and the counting, go with them. `behind` is
    what waits for `final`, where it has been read.
    """
    changes, writes = Changes(), writes or Writes(tx)
    done: Counter[int] = Counter(change.run_pk for change in final)
    wave = list(final)
    while wave:
        deltas = _child_deltas(tx, graphs, runs, wave)
        for one in past.successors(tx, graphs, runs, wave):
            deltas.setdefault(one, Delta())
        step = advance_wave(tx, graphs, runs, deltas, writes, behind) if deltas else Changes()
        behind = NOTHING_READ
        changes.add(step)
        done.update(change.run_pk for change in step.tasks)
        wave = step.tasks
        if wave:
            writes.send()  # the next wave reads it
    changes.add(close_runs(tx, graphs, done, writes))
    changes.add(absent.fail_stuck(tx, graphs, runs, done))
    return changes


def _child_deltas(tx: Tx, graphs: Graphs, runs: Runs, wave: Sequence[TaskChange]) -> dict[tuple[int, str], Delta]:
    facts = runs.get(tx.connection, (change.run_pk for change in wave))
    deltas: dict[tuple[int, str], Delta] = {}
    for change in wave:
        graph = graphs.get(tx.connection, change.dag_id, facts[change.run_pk].version)
        delta = _delta(change.state)
        for child in graph.children.get(change.task_id, ()):
            deltas[change.run_pk, child] = deltas.get((change.run_pk, child), Delta()).plus(delta)
    return deltas


def advance_wave(
    tx: Tx,
    graphs: Graphs,
    runs: Runs,
    deltas: Mapping[tuple[int, str], Delta],
    writes: Writes,
    waiting: Waiting = NOTHING_READ,
) -> Changes:
    """One wave; its writes are added to `writes`, which the caller sends."""
    if not deltas.keys() <= set(waiting.asked):
        asked = Waiting(deltas.keys())
        waiting = asked._replace(rows=tx.connection.execute(locked(tx, CHILDREN), asked.parameters).all())
    rows = [row for row in waiting.rows if row.state is None and (row.run_pk, row.task_id) in deltas]
    facts = runs.get(tx.connection, (row.run_pk for row in rows))
    groups: dict[tuple[Delta, TaskState | None], list[int]] = defaultdict(list)
    changes = Changes()
    verdicts: dict[int, TaskState | None] = {}
    concerned = []
    for row in rows:
        task = graphs.get(tx.connection, row.dag_id, facts[row.run_pk].version).tasks[row.task_id]
        up = Delta(row.up_success, row.up_failed, row.up_blocked, row.up_skipped).plus(deltas[row.run_pk, row.task_id])
        verdicts[row.id] = TaskState.SKIPPED if row.skipped_by else verdict_of(task, row.up_total, up)
        if past.concerns(task, verdicts[row.id]):
            concerned.append(row)
    if concerned:
        writes.send()  # the run before may be one that has just gone on
    held = past.held_back(tx, graphs, runs, concerned)
    for row in rows:
        delta = deltas[row.run_pk, row.task_id]
        verdict = None if row.id in held else verdicts[row.id]
        groups[delta, verdict].append(row.id)
        if verdict == TaskState.SCHEDULED:
            changes.scheduled += 1
        elif verdict is not None:
            ran = verdict == TaskState.SUCCESS
            began = {"try_number": row.try_number + 1, "scheduled_at": tx.now, "start_date": tx.now} if ran else {}
            changes.tasks.append(changed(row, verdict, **began, end_date=tx.now))
    for (delta, verdict), ids in groups.items():
        writes.add(_advance, _advanced(tx, ids, delta, verdict))
    if held:
        writes.send()
        past.remember(tx, held)
    return changes


def reconsider(tx: Tx, graphs: Graphs, runs: Runs, waiting: Collection[tuple[int, str]]) -> Changes:
    """Judge waiting tasks (run and task_id) by their counters as they stand, and go on from there."""
    changes = Changes()
    if waiting:
        writes = Writes(tx)
        changes.add(advance_wave(tx, graphs, runs, dict.fromkeys(waiting, Delta()), writes))
        writes.send()
        changes.add(advance(tx, graphs, runs, list(changes.tasks)))
    return changes


def verdict_of(task: SerializedTask, up_total: int, up: Delta) -> TaskState | None:
    """What becomes of a waiting task; an empty one succeeds as soon as it may start, for it needs no process."""
    verdict = judge(task.trigger_rule, up_total, *up)
    return TaskState.SUCCESS if verdict == TaskState.SCHEDULED and task.kind == "empty" else verdict


def _advanced(tx: Tx, ids: list[int], delta: Delta, verdict: TaskState | None) -> dict[str, Any]:
    ran = verdict == TaskState.SUCCESS
    ready = verdict == TaskState.SCHEDULED
    return {
        "ids": ids,
        "b_success": delta.success,
        "b_failed": delta.failed,
        "b_blocked": delta.blocked,
        "b_skipped": delta.skipped,
        "b_state": verdict,
        "b_try": int(ran),
        "b_scheduled": tx.now if ready or ran else None,
        "b_start": tx.now if ran else None,
        "b_end": None if ready or verdict is None else tx.now,
    }


def close_runs(tx: Tx, graphs: Graphs, done: Mapping[int, int], writes: Writes | None = None) -> Changes:
    """Count finished tasks down; a run with none left ends: failed where a leaf failed, else in success.

    Sends `writes` with it.
    """
    changes = Changes()
    by_count: dict[int, list[int]] = defaultdict(list)
    for run_id, n in done.items():
        by_count[n].append(run_id)
    candidates = _count_down(tx, by_count, writes or Writes(tx))
    if not candidates:
        return changes
    complete = [facts_of(row) for row in tx.connection.execute(_COMPLETE, {"ids": candidates})]
    if not complete:
        return changes
    failed = verdicts_of(tx, graphs, complete)
    for state in (RunState.SUCCESS, RunState.FAILED):
        ending = [run for run in complete if failed[run.id][0] == state]
        if ending:
            tx.connection.execute(_CLOSE, {"ids": [run.id for run in ending], "b_state": state, "b_now": tx.now})
            changes.runs += [RunChange(run, state, tx.now, failed[run.id][1]) for run in ending]
    budgets.give(tx, Counter((budgets.DAG_RUNS, run.budget) for run in complete))
    return changes


def _count_down(tx: Tx, by_count: Mapping[int, list[int]], writes: Writes) -> list[int]:
    """Count so many tasks down in these runs; returns the runs that may have none left, all of them if in doubt."""
    maybe: list[int] = []
    for n, ids in sorted(by_count.items()):
        if tx.dialect.returns_updated:
            writes.add(_counted, {"ids": sorted(ids), "b_n": n})
            maybe += [row.id for row in writes.send() if row.unfinished == 0]
        else:
            writes.send()
            maybe += _counted_in_mysql(tx, sorted(ids), n)
    writes.send()
    return sorted(maybe)


def _counted_in_mysql(tx: Tx, ids: list[int], n: int) -> list[int]:
    if n and len(ids) == 1:
        left = tx.connection.execute(_COUNT_ONE_DOWN, {"b_run": ids[0], "b_n": n}).lastrowid
        return [] if left else ids
    if n:
        tx.connection.execute(_COUNT_DOWN, {"ids": ids, "b_n": n})
    return ids


def verdicts_of(tx: Tx, graphs: Graphs, complete: Sequence[RunFacts]) -> dict[int, tuple[RunState, tuple[str, ...]]]:
    """By run in which every task has ended: the state that follows, and the tasks that failed."""
    broken: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for row in tx.connection.execute(_BROKEN, {"ids": [run.id for run in complete]}):
        broken[row.run_pk].append((row.task_id, row.state))
    verdicts = {}
    for run in complete:
        leaves = graphs.get(tx.connection, run.dag_id, run.version).leaves
        failed = any(task_id in leaves for task_id, _ in broken[run.id])
        names = tuple(task_id for task_id, state in broken[run.id] if state == TaskState.FAILED)
        verdicts[run.id] = (RunState.FAILED if failed else RunState.SUCCESS, names)
    return verdicts
