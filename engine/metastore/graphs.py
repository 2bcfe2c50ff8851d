"""Serialised DAG versions, read once and kept: what the transitions need to know of a DAG's shape."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from engine.authoring.serialized import SerializedDag, SerializedTask, TriggerRule, decode_dag
from engine.metastore.errors import NotFound
from engine.metastore.states import TaskState
from engine.metastore.tables import DagVersion

_CAPACITY: Final = 1000


@dataclass(frozen=True, slots=True)
class Graph:
    """One DAG version with its edges turned round."""

    dag: SerializedDag
    tasks: dict[str, SerializedTask]
    children: dict[str, tuple[str, ...]]
    leaves: frozenset[str]
    past: frozenset[str] = frozenset()  # tasks that depend on the run before theirs
    promised: frozenset[str] = frozenset()  # tasks with an sla, and "" where the run has one, or a deadline
    calls_back: bool = False  # it, or a task of it, has callbacks
    whole_from: datetime | None = None  # logical dates from here on are after every task's own start_date,
    whole_until: datetime | None = None  # and up to here before every task's own end_date

    def blocked_by(self, task_id: str) -> tuple[str, ...]:
        """The tasks that will not run since `task_id` failed, whatever becomes of the others; in topological order."""
        known = {task_id: TaskState.FAILED}
        behind = self.downstream_of([task_id])
        for task in self.dag.tasks:
            if task.task_id not in behind:
                continue
            seen = Counter(known[parent] for parent in task.upstream if parent in known)
            verdict = judge(
                task.trigger_rule,
                len(task.upstream),
                failed=seen[TaskState.FAILED],
                blocked=seen[TaskState.UPSTREAM_FAILED],
                skipped=seen[TaskState.SKIPPED],
            )
            if seen and verdict in (TaskState.UPSTREAM_FAILED, TaskState.SKIPPED):
                known[task.task_id] = verdict
        return tuple(known)[1:]

    def downstream_of(self, task_ids: Iterable[str]) -> set[str]:
        """All that stands behind tasks, at any distance, without them."""
        return _reached(task_ids, self.children)

    def upstream_of(self, task_ids: Iterable[str]) -> set[str]:
        """All that tasks stand behind, at any distance, without them."""
        return _reached(task_ids, {task_id: task.upstream for task_id, task in self.tasks.items()})


def _reached(start: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    begun = list(start)
    reached: set[str] = set()
    ahead = [name for task_id in begun for name in edges.get(task_id, ())]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += edges.get(name, ())
    return reached.difference(begun)


def build_graph(dag: SerializedDag) -> Graph:
    """Turn a DAG's upstream lists into children lists."""
    children: dict[str, list[str]] = {task.task_id: [] for task in dag.tasks}
    for task in dag.tasks:
        for parent in task.upstream:
            children[parent].append(task.task_id)
    return Graph(
        dag,
        {task.task_id: task for task in dag.tasks},
        {task_id: tuple(names) for task_id, names in children.items()},
        frozenset(task_id for task_id, names in children.items() if not names),
        frozenset(task.task_id for task in dag.tasks if task.depends_on_past),
        _promised(dag),
        bool(dag.callbacks) or any(task.callbacks for task in dag.tasks),
        max((task.start_date for task in dag.tasks if task.start_date), default=None),
        min((task.end_date for task in dag.tasks if task.end_date), default=None),
    )


def _promised(dag: SerializedDag) -> frozenset[str]:
    whole = [""] if dag.sla_seconds is not None or dag.deadlines else []
    return frozenset([*whole, *(task.task_id for task in dag.tasks if task.sla_seconds is not None)])


class Blocked:
    """What failed tasks block, for one transaction: it is found once for all that have the same children."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, tuple[str, ...]], tuple[str, ...]] = {}

    def by(self, graph: Graph, version: str, task_id: str) -> tuple[str, ...]:
        key = (graph.dag.dag_id, version, graph.children[task_id])
        if key not in self._found:
            self._found[key] = graph.blocked_by(task_id)
        return self._found[key]


class Graphs:
    """A cache of graphs by (dag_id, version); versions never change. Not shared between threads."""

    def __init__(self) -> None:
        self._graphs: OrderedDict[tuple[str, str], Graph] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._graphs)

    def known(self, dag_id: str, version: str) -> Graph | None:
        """One that has been read already."""
        return self._graphs.get((dag_id, version))

    def get(self, connection: Connection, dag_id: str, version: str) -> Graph:
        """One graph; raises NotFound when that version is not stored, or cannot be read by this program."""
        key = (dag_id, version)
        if graph := self._graphs.get(key):
            self.hits += 1
            self._graphs.move_to_end(key)
            return graph
        self.misses += 1
        statement = select(DagVersion.data).where(DagVersion.dag_id == dag_id, DagVersion.version == version)
        data = connection.execute(statement).scalar()
        if data is None:
            raise NotFound(f"version {version} of DAG {dag_id!r} is not in the metastore")
        try:
            graph = self._graphs[key] = build_graph(decode_dag(data))
        except msgspec.MsgspecError as error:
            raise NotFound(
                f"version {version} of DAG {dag_id!r} cannot be read ({error}); it was stored by another version of "
                "Windsock. Let the DAG processor parse its file again"
            ) from error
        if len(self._graphs) > _CAPACITY:
            self._graphs.popitem(last=False)
        return graph


def judge(
    rule: TriggerRule, total: int, success: int = 0, failed: int = 0, blocked: int = 0, skipped: int = 0
) -> TaskState | None:
    """What becomes of a task that waits, from the outcomes of its direct upstream tasks.

    `blocked` counts upstream_failed ones: failures to every rule but one_done, for which they are not done.
    Returns SCHEDULED, SKIPPED or UPSTREAM_FAILED, or None: wait. The table is Airflow's
    (airflow.ti_deps.deps.trigger_rule_dep).
    """
    ran = success + failed
    failed += blocked
    all_done = success + failed + skipped >= total
    go, skip, fail = TaskState.SCHEDULED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED
    if total == 0:
        return go
    match rule:
        case TriggerRule.ALWAYS:
            return go
        case TriggerRule.ALL_SUCCESS:
            verdict = fail if failed else skip if skipped else go if all_done else None
        case TriggerRule.ALL_FAILED:
            verdict = skip if success or skipped else go if all_done else None
        case TriggerRule.ALL_DONE:
            verdict = go if all_done else None
        case TriggerRule.ALL_SKIPPED:
            verdict = skip if success or failed else go if all_done else None
        case TriggerRule.ONE_SUCCESS:
            verdict = go if success else None if not all_done else skip if skipped == total else fail
        case TriggerRule.ONE_FAILED:
            verdict = go if failed else skip if all_done else None
        case TriggerRule.ONE_DONE:
            verdict = go if ran else skip if all_done else None
        case TriggerRule.NONE_FAILED:
            verdict = fail if failed else go if all_done else None
        case TriggerRule.NONE_SKIPPED:
            verdict = skip if skipped else go if all_done else None
        case TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS:
            verdict = fail if failed else None if not all_done else go if success else skip
    return verdict
