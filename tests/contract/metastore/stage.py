"""A metastore with DAGs in it, and the few moves that tests make: what a scheduler would do, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, update

from engine.authoring.serialized import NoSchedule, SerializedDag, SerializedTask, encode_dag, version_of
from engine.metastore import advance, budgets, clearing, deadlines, endings, past, sla
from engine.metastore.begun import Begun
from engine.metastore.changes import Changes, Claimed, Finished
from engine.metastore.graphs import Graphs
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.runs import Runs
from engine.metastore.states import TaskState
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Budget, Dag, DagRun, DagSchedule, DagVersion, TaskAttempt, TaskInstance
from engine.metastore.transitions import claiming, creating, finishing, promoting, returning, starting

OWNER = "supervisor-1"
SUCCESS = Outcome(Cause.SUCCESS)
FAILURE = Outcome(Cause.EXIT, exit_code=1)
SKIP = Outcome(Cause.SKIP)
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def bash(task_id: str, *upstream: str, **more: Any) -> SerializedTask:
    """A task that needs a process. Never retried unless `more` says so."""
    return SerializedTask(task_id=task_id, operator="BashOperator", kind="bash", upstream=upstream, **more)


def empty(task_id: str, *upstream: str, **more: Any) -> SerializedTask:
    """A task that needs none."""
    return SerializedTask(task_id=task_id, operator="EmptyOperator", kind="empty", upstream=upstream, **more)


class Stage:
    """One scheduler's view of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.graphs = Graphs()
        self.runs = Runs()
        self.begun = Begun()

    def beside(self) -> Stage:
        """Another scheduler of the same metastore, with connections of its own. Close its store."""
        return Stage(Store(self.store.url.render_as_string(hide_password=False), run_dir=self.store.run_dir))

    # -- setting up

    def dag(self, dag_id: str, *tasks: SerializedTask, paused: bool = False, **more: Any) -> str:
        """Store a DAG with its budgets, as parsing and the scheduler's preparation do; returns its version."""
        dag = SerializedDag(dag_id=dag_id, fileloc="/dags/x.py", tasks=tasks, **{"schedule": NoSchedule()} | more)
        data = encode_dag(dag)
        version = version_of(data)
        budget = [(budgets.DAG_TASKS, dag.max_active_tasks), (budgets.DAG_RUNS, dag.max_active_runs)]
        with self.store.begin() as tx:
            about = {"path_hash": "0", "fileloc": dag.fileloc, "is_active": True, "updated_at": tx.now}
            tx.connection.execute(insert(Dag).values(dag_id=dag_id, version=version, **about))
            text = {"data": data.decode(), "created_at": tx.now}
            tx.connection.execute(insert(DagVersion).values(dag_id=dag_id, version=version, **text))
            tx.connection.execute(insert(DagSchedule).values(dag_id=dag_id, is_paused=paused))
            rows = [{"kind": kind, "name": dag_id, "slots": slots, "used": 0} for kind, slots in budget]
            tx.connection.execute(insert(Budget), rows)
        return version

    def new_version(self, dag_id: str, *tasks: SerializedTask, **more: Any) -> str:
        """Change a DAG, as parsing its changed file does; returns the new version."""
        dag = SerializedDag(dag_id=dag_id, fileloc="/dags/x.py", schedule=NoSchedule(), tasks=tasks, **more)
        data = encode_dag(dag)
        version = version_of(data)
        with self.store.begin() as tx:
            text = {"data": data.decode(), "created_at": tx.now}
            tx.connection.execute(insert(DagVersion).values(dag_id=dag_id, version=version, **text))
            tx.connection.execute(update(Dag).where(Dag.dag_id == dag_id).values(version=version))
        return version

    def pool(self, name: str, slots: int) -> None:
        """Make a pool."""
        with self.store.begin() as tx:
            tx.connection.execute(insert(Budget).values(kind=budgets.POOL, name=name, slots=slots, used=0))

    def set_slots(self, kind: str, name: str, slots: int) -> None:
        """Change a limit."""
        statement = update(Budget).where(Budget.kind == kind, Budget.name == name).values(slots=slots)
        with self.store.begin() as tx:
            tx.connection.execute(statement)

    def create(self, dag_id: str, run_id: str = "run", **values: Any) -> bool:
        """Queue a run of the DAG's current version."""

        def work(tx: Tx) -> bool:
            version = tx.connection.execute(select(Dag.version).where(Dag.dag_id == dag_id)).scalar_one()
            row = {"dag_id": dag_id, "run_id": run_id, "run_type": "manual", "version": version, "conf": {}}
            row |= {"run_after": tx.now, **values}
            made = creating.insert_run(tx, row)
            sla.promise(tx, [sla.Made(self.graphs.get(tx.connection, dag_id, version).dag, row)] if made else [])
            return made

        return self.store.run(work)

    def trigger(self, dag_id: str, *run_ids: str) -> Changes:
        """Queue runs and start them."""
        for run_id in run_ids or ("run",):
            assert self.create(dag_id, run_id)
        return self.start_runs()

    # -- the verbs, a transaction each

    def settled(self, verb: Callable[[Tx], Changes]) -> Changes:
        """A verb, and what it means to deadlines, as the ledger does it."""

        def work(tx: Tx) -> Changes:
            changes = verb(tx)
            sla.settle(tx, self.graphs, self.runs, changes)
            return changes

        return self.store.run(work)

    def start_runs(self, limit: int = 1000) -> Changes:
        return self.settled(lambda tx: starting.start_runs(tx, self.graphs, limit))

    def claim(self, slots: int = 1000, owner: str = OWNER) -> list[Claimed]:
        return self.claim_with_changes(slots, owner)[0]

    def claim_with_changes(self, slots: int = 1000, owner: str = OWNER) -> tuple[list[Claimed], Changes]:
        claimed, changes = self.store.run(lambda tx: claiming.claim(tx, self.graphs, self.runs, owner, slots))
        self.begun.add(claimed)
        return claimed, changes

    def release(self, *tokens: str) -> int:
        return self.store.run(lambda tx: returning.release(tx, tokens))

    def start(self, *tokens: str) -> set[str]:
        return self.store.run(lambda tx: claiming.start(tx, tokens))

    def report(self, token: str, outcome: Outcome) -> Finished:
        """What a supervisor would say."""
        return Finished(token, outcome, "host")

    def finish(self, *ends: tuple[str, Outcome]) -> Changes:
        reports = [Finished(token, outcome, "host") for token, outcome in ends]
        begun = self.begun.take(token for token, _ in ends)
        return self.settled(lambda tx: finishing.finish(tx, self.graphs, self.runs, reports, begun))

    def reconsider_overlooked(self) -> Changes:
        def work(tx: Tx) -> Changes:
            return advance.reconsider(tx, self.graphs, self.runs, past.overlooked(tx, 1000))

        return self.store.run(work)

    def expire(self, limit: int = 1000) -> Changes:
        return self.settled(lambda tx: deadlines.expire_runs(tx, self.graphs, self.runs, limit))

    def clear(self, *task_ids: str, run_id: str = "run") -> Changes:
        """Clear tasks of a run."""
        ids = [row.id for task_id, row in self.rows(run_id).items() if task_id in task_ids]
        return self.settled(lambda tx: clearing.clear(tx, self.graphs, self.runs, ids))

    def begin_anew(self, ids: list[int]) -> Changes:
        return self.settled(lambda tx: clearing.begin_anew(tx, self.graphs, self.runs, ids))

    def mark(self, state: TaskState, *task_ids: str, run_id: str = "run") -> Changes:
        """Mark tasks of a run."""
        ids = {row.id for task_id, row in self.rows(run_id).items() if task_id in task_ids}
        return self.settled(lambda tx: clearing.mark(tx, self.graphs, self.runs, ids, state))

    def requested(self, owner: str = OWNER) -> dict[str, str]:
        """The attempts that the owner is to end."""
        return self.store.run(lambda tx: endings.requested(tx, owner))

    def promote(self, limit: int = 1000) -> int:
        return self.store.run(lambda tx: promoting.promote(tx, limit))

    def rescue(self, *owners: str, limit: int = 1000) -> tuple[int, Changes]:
        return self.store.run(lambda tx: returning.rescue(tx, self.graphs, self.runs, owners, limit))

    def disown(self, owner: str, known: Iterable[str]) -> int:
        return self.store.run(lambda tx: returning.disown(tx, owner, set(known)))

    # -- longer moves

    def begin(self, slots: int = 1000, owner: str = OWNER) -> dict[str, str]:
        """Claim and start; returns the running tokens by task."""
        claimed = self.claim(slots, owner)
        assert self.start(*(one.token for one in claimed)) == {one.token for one in claimed}
        return {one.task_id: one.token for one in claimed}

    def play(self, outcomes: Callable[[Claimed], Outcome] | dict[str, Outcome] | None = None) -> list[list[str]]:
        """Claim, start and finish until nothing moves any more; returns the task ids of each round."""
        if not callable(outcomes):
            by_task = outcomes or {}

            def outcomes(one: Claimed) -> Outcome:
                return by_task.get(one.task_id, SUCCESS)

        rounds = []
        while True:
            claimed, changes = self.claim_with_changes()
            if not claimed and not changes.tasks:
                return rounds
            if claimed:
                self.start(*(one.token for one in claimed))
                self.finish(*((one.token, outcomes(one)) for one in claimed))
                rounds.append(sorted(one.task_id for one in claimed))

    # -- looking

    def rows(self, run_id: str = "run", dag_id: str | None = None) -> dict[str, Any]:
        """The task instances of a run by task id."""
        statement = select(*TaskInstance.__table__.c).where(TaskInstance.run_id == run_id)
        if dag_id:
            statement = statement.where(TaskInstance.dag_id == dag_id)
        with self.store.read() as connection:
            return {row.task_id: row for row in connection.execute(statement)}

    def states(self, run_id: str = "run") -> dict[str, str | None]:
        return {task_id: row.state for task_id, row in self.rows(run_id).items()}

    def run_row(self, run_id: str = "run", dag_id: str | None = None) -> Any:
        statement = select(*DagRun.__table__.c).where(DagRun.run_id == run_id)
        if dag_id:
            statement = statement.where(DagRun.dag_id == dag_id)
        with self.store.read() as connection:
            return connection.execute(statement).one()

    def attempts(self) -> Sequence[Any]:
        """Every ended attempt."""
        statement = select(*TaskAttempt.__table__.c).order_by(TaskAttempt.ti_id, TaskAttempt.try_number)
        with self.store.read() as connection:
            return connection.execute(statement).all()

    def used(self) -> dict[tuple[str, str], int]:
        """Budgets in use; unused ones left out."""
        with self.store.read() as connection:
            rows = connection.execute(select(Budget.kind, Budget.name, Budget.used))
            return {(row.kind, row.name): row.used for row in rows if row.used}
