"""One run of a DAG in this process: ``windsock dags test`` and ``windsock tasks test``.

The transitions are the scheduler's own, on a metastore of the rehearsal's own in a temporary folder: what it shows of
trigger rules, branches, retries and sensors is what a scheduler would do. Nothing is written to the real metastore, no
alert is sent and no callback but on_execute is called. Attempts run one at a time, each in a fork of this process that
keeps its terminal, so that ``breakpoint()`` works. A TriggerDagRunOperator makes runs of the DAGs of the same file.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from msgspec.structs import replace
from sqlalchemy import delete, insert, update
from sqlalchemy import select as sql_select

from engine.authoring.loader import LoadedFile
from engine.authoring.serialize import serialize
from engine.authoring.serialized import encode_dag, version_of
from engine.logs.cleaning import one_line
from engine.metastore import budgets
from engine.metastore.announce import Announcer
from engine.metastore.changes import Changes, Claimed, Finished, TaskChange
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.states import FINAL_RUN_STATES, RunState, TaskState
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Base, Budget, Dag, DagRun, DagSchedule, DagVersion, TaskInstance
from engine.metastore.transitions import claiming, creating, promoting
from engine.running import messages
from engine.running.answers import answer
from engine.running.attempt import run_python
from engine.running.in_flight import believable, end_told
from engine.running.messages import AttemptOrder, ImportFailed, Result
from engine.running.wire import BlockingStream, Hangup
from engine.running.zygote import Exited
from engine.scheduling.due import sync_schedules
from engine.scheduling.orders import OrderDesk

OWNER: Final = "rehearsal"
_UNLIMITED: Final = 1_000_000
_GRACE_SECONDS: Final = 5.0
_BATCH: Final = 1000
_BUDGET: Final = Base.metadata.tables[Budget.__tablename__]


@dataclass(frozen=True, slots=True)
class Step:
    """Something that a person is told: a task instance took a state, or the rehearsal waits for one."""

    dag_id: str
    task_id: str
    what: str


class Rehearsal:
    """A metastore of its own with the DAGs of one file; :meth:`run` makes a run and plays it to its end."""

    def __init__(self, store: Store, loaded: LoadedFile, tell: Callable[[Step], None]) -> None:
        self._store = store
        self._loaded = loaded
        self._tell = tell
        self._ledger = Ledger(Announcer(""))
        self._desk = OrderDesk("", str(loaded.path.parent))
        store.run(self._keep_dags)

    def _keep_dags(self, tx: Tx) -> None:
        for dag in map(serialize, self._loaded.dags):
            data = encode_dag(dag)
            version = version_of(data)
            about = {"path_hash": "", "fileloc": dag.fileloc, "is_active": True, "updated_at": tx.now}
            tx.connection.execute(insert(Dag).values(dag_id=dag.dag_id, version=version, **about))
            text = {"data": data.decode(), "created_at": tx.now}
            tx.connection.execute(insert(DagVersion).values(dag_id=dag.dag_id, version=version, **text))
            for pool in {task.pool for task in dag.tasks}:
                row = {"kind": budgets.POOL, "name": pool, "slots": _UNLIMITED, "used": 0}
                tx.connection.execute(tx.dialect.insert_ignore(_BUDGET).values(row))
        sync_schedules(tx, self._ledger.graphs, paused_at_creation=False, limit=_BATCH)
        tx.connection.execute(update(Budget).values(slots=_UNLIMITED))
        tx.connection.execute(update(DagSchedule).values(is_paused=False))

    def run(
        self, dag_id: str, *, task_id: str | None = None, logical_date: datetime | None, conf: dict[str, Any]
    ) -> tuple[dict[str, str], bool]:
        """Play a run to its end, or `task_id` of it alone: one attempt, whatever it waits for.

        Returns the states by task, and whether the run failed. Raises what :func:`create_run` raises.
        """
        run_id = self._store.run(
            lambda tx: creating.create_run(tx, dag_id, logical_date=logical_date, conf=conf, triggered_by="test")
        )
        self._write(lambda tx: self._ledger.start_runs(tx, _BATCH))
        if task_id is not None:
            self._store.run(lambda tx: _single_out(tx, dag_id, run_id, task_id))
        while self._run_state(dag_id, run_id) not in FINAL_RUN_STATES:
            claimed = self._claim()
            if claimed:
                self._attempt(*claimed)
            elif not self._wait():
                break
        states = self._states(dag_id, run_id)
        if task_id is not None:
            return states, states[task_id] == TaskState.FAILED
        return states, self._run_state(dag_id, run_id) != RunState.SUCCESS

    def _write(self, work: Callable[[Tx], Changes]) -> None:
        changes = self._store.run(work)
        self._ledger.forget(changes)
        for change in changes.tasks:
            if change.state is not TaskState.QUEUED:
                self._tell(Step(change.dag_id, change.task_id, _told(change)))

    def _claim(self) -> tuple[Claimed, AttemptOrder] | None:
        def work(tx: Tx) -> tuple[Claimed, AttemptOrder] | None:
            self._ledger.start_runs(tx, _BATCH)
            claimed, _ = self._ledger.claim(tx, OWNER, 1)
            if not claimed and promoting.promote(tx, _BATCH):  # what waits for another task must not go before it
                claimed, _ = self._ledger.claim(tx, OWNER, 1)
            if not claimed:
                return None
            claiming.start(tx, [claimed[0].token])
            run = claimed[0].run
            graph = self._ledger.graphs.get(tx.connection, run.dag_id, run.version)
            return claimed[0], self._desk.order(claimed[0], graph, tx.now)

        return self._store.run(work)

    def _attempt(self, claimed: Claimed, order: AttemptOrder) -> None:
        self._tell(Step(claimed.run.dag_id, claimed.task_id, f"attempt {claimed.try_number} of {claimed.max_tries}"))
        # Everything runs as Python: a Bash command too prints to the terminal and has its last line kept.
        outcome = _fork(replace(order, kind="python"), self._loaded, self._store)
        report = Finished(claimed.token, outcome, self._desk.hostname)
        self._write(lambda tx: self._ledger.finish(tx, [report]))

    def _wait(self) -> bool:
        """Sleep until a retry or a sensor is due; False where nothing ever will be."""
        statement = (
            sql_select(TaskInstance.dag_id, TaskInstance.task_id, TaskInstance.ready_at)
            .where(TaskInstance.ready_at.is_not(None))
            .order_by(TaskInstance.ready_at)
        )
        with self._store.begin() as tx:
            row = tx.connection.execute(statement).first()
            now = tx.now
        if row is None:
            return False
        seconds = max(0.0, (row.ready_at - now).total_seconds())
        if seconds > 1:
            self._tell(Step(row.dag_id, row.task_id, f"goes on in {seconds:.0f} s"))
        time.sleep(seconds)
        return True

    def _run_state(self, dag_id: str, run_id: str) -> RunState:
        statement = sql_select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        with self._store.read() as connection:
            return RunState(connection.execute(statement).scalar_one())

    def _states(self, dag_id: str, run_id: str) -> dict[str, str]:
        statement = sql_select(TaskInstance.task_id, TaskInstance.state).order_by(TaskInstance.id)
        mine = statement.where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        with self._store.read() as connection:
            return {row.task_id: str(row.state) for row in connection.execute(mine)}


@contextmanager
def rehearsal(loaded: LoadedFile, tell: Callable[[Step], None]) -> Iterator[Rehearsal]:
    """A rehearsal of the DAGs of a file; what it wrote is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="windsock-rehearsal-") as folder:
        store = Store(f"sqlite:///{folder}/metastore.db", run_dir=Path(folder))
        try:
            store.upgrade()
            yield Rehearsal(store, loaded, tell)
        finally:
            store.close()


def _single_out(tx: Tx, dag_id: str, run_id: str, task_id: str) -> None:
    """Leave one task in the run, ready, with a single attempt."""
    mine = (TaskInstance.dag_id == dag_id) & (TaskInstance.run_id == run_id)
    tx.connection.execute(delete(TaskInstance).where(mine, TaskInstance.task_id != task_id))
    fresh = {"state": TaskState.SCHEDULED, "max_tries": 1, "try_number": 0, "end_date": None, "scheduled_at": tx.now}
    tx.connection.execute(update(TaskInstance).where(mine).values(fresh))
    run = (DagRun.dag_id == dag_id) & (DagRun.run_id == run_id)
    if tx.connection.execute(sql_select(DagRun.state).where(run)).scalar_one() in FINAL_RUN_STATES:
        budgets.take(tx, {(budgets.DAG_RUNS, dag_id): 1})  # a run of empty tasks ended as it began
    tx.connection.execute(update(DagRun).where(run).values(unfinished=1, state=RunState.RUNNING, end_date=None))


def _told(change: TaskChange) -> str:
    outcome = change.outcome
    if outcome is None or outcome.cause in (Cause.SUCCESS, Cause.RESCHEDULE):
        return str(change.state)
    return f"{change.state}: {outcome.sentence}"


def _fork(order: AttemptOrder, loaded: LoadedFile, store: Store) -> Outcome:
    """Run one attempt in a child of this process, serve its questions, and tell how it ended."""
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_attempt(order, loaded, BlockingStream(theirs))
    theirs.close()
    with ours:
        try:
            result, overran = _serve(ours, order, store, pid)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
    _, status = os.waitpid(pid, 0)
    if overran:
        limit = order.execution_timeout_seconds
        return Outcome(Cause.TIMEOUT, error=f"ran longer than its execution_timeout of {limit:g} s")
    outcome = end_told(order, result, Exited(0, status, 0.0, 0.0, 0))
    return replace(outcome, error=one_line(outcome.error)) if outcome.error else outcome


def _be_attempt(order: AttemptOrder, loaded: LoadedFile, channel: BlockingStream) -> NoReturn:
    code = 1
    try:
        logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s - %(message)s", force=True)
        code = run_python(order, channel, loaded)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _serve(ours: socket.socket, order: AttemptOrder, store: Store, pid: int) -> tuple[Outcome | None, bool]:
    """Hear the attempt until it tells its result or hangs up; the result, and whether it overran and was ended."""
    channel = BlockingStream(ours)
    limit = order.execution_timeout_seconds
    deadline = time.monotonic() + limit if limit else None
    overran = False
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([ours], [], [], left)[0]:
            os.kill(pid, signal.SIGKILL if overran else signal.SIGTERM)
            overran, deadline = True, time.monotonic() + _GRACE_SECONDS
            continue
        try:
            message = messages.from_attempt.decode(channel.receive())
        except (Hangup, OSError):
            return None, overran
        match message:
            case Result(outcome):
                return believable(outcome), overran
            case ImportFailed(error):
                return Outcome(Cause.IMPORT, error=error), overran
            case messages.Ask() | messages.RunsAsk() | messages.TriggerAsk() as ask:
                channel.send(messages.Answer(ask.number, next(answer(store, [ask], ""))))
