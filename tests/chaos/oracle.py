"""Judges what a run of chaos left behind, from the metastore's rows and from what the attempts told themselves.

The rules are written here a second time, as simply as they can be: nothing of the engine decides about itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from tests.chaos.work import DAGS, POOLS, TaskSpec

OWN_ENDS = frozenset({"success", "exit", "skip"})  # causes that an attempt decides itself
KILLED = frozenset({"lost", "signal", "start"})  # causes that only a kill explains


class Key(NamedTuple):
    """One attempt."""

    dag_id: str
    run_id: str
    task_id: str
    try_number: int


Event: TypeAlias = tuple[str, str, str, str | None, int | None]  # kind, DAG, run, task, try number


@dataclass(frozen=True, slots=True)
class Ended:
    """A row of task_attempt."""

    state: str
    cause: str


@dataclass(slots=True)
class Facts:
    """All that is judged."""

    told: list[str]
    attempts: dict[Key, Ended] = field(default_factory=dict)
    states: dict[tuple[str, str], dict[str, str | None]] = field(default_factory=dict)  # of tasks, by DAG and run
    runs: dict[tuple[str, str], str] = field(default_factory=dict)
    events: Counter[Event] = field(default_factory=Counter)
    used: dict[str, int] = field(default_factory=dict)  # budgets that are not empty


def judge(facts: Facts, expected_runs: Iterable[tuple[str, str]]) -> list[str]:
    """What is wrong, in sentences; nothing when all is well."""
    begun, ended = read_told(facts.told)
    return [
        *_run_once(begun, ended, facts.attempts),
        *_nothing_lost(facts, set(expected_runs)),
        *_states_follow(facts),
        *_told_once(facts),
        *_within_limits(begun, ended),
        *(f"budget {name} still has {used} in use" for name, used in sorted(facts.used.items())),
    ]


Moments = dict[Key, list[float]]


def read_told(lines: Iterable[str]) -> tuple[Moments, Moments]:
    """When each attempt says that it began and that it ended."""
    begun: Moments = defaultdict(list)
    ended: Moments = defaultdict(list)
    for line in lines:
        what, dag_id, run_id, task_id, number, moment = line.split()
        (begun if what == "B" else ended)[Key(dag_id, run_id, task_id, int(number))].append(float(moment))
    return begun, ended


def _run_once(begun: Moments, ended: Moments, attempts: Mapping[Key, Ended]) -> Iterator[str]:
    for key, moments in begun.items():
        if len(moments) > 1:
            yield f"{_name(key)} ran {len(moments)} times"
        if key not in attempts:
            yield f"{_name(key)} ran and is not in the metastore"
    for key, row in attempts.items():
        if row.cause in OWN_ENDS and (len(begun.get(key, ())), len(ended.get(key, ()))) != (1, 1):
            yield f"{_name(key)} is recorded as {row.cause} and did not run from beginning to end"


def _nothing_lost(facts: Facts, expected: set[tuple[str, str]]) -> Iterator[str]:
    for run in sorted(expected - facts.runs.keys()):
        yield f"run {' '.join(run)} is gone"
    for (dag_id, run_id), states in facts.states.items():
        for task_id in DAGS[dag_id].tasks.keys() - states.keys():
            yield f"{dag_id} {run_id} {task_id} is gone"
    tries: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for key in facts.attempts:
        tries[key[:3]].append(key.try_number)
    for task, numbers in tries.items():
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            yield f"{' '.join(task)} has attempts {sorted(numbers)}"


def _states_follow(facts: Facts) -> Iterator[str]:
    """Every state is what attempts, trigger rules and leaves imply."""
    rows: dict[tuple[str, str, str], list[tuple[int, Ended]]] = defaultdict(list)
    for key, row in facts.attempts.items():
        rows[key[:3]].append((key.try_number, row))
    for (dag_id, run_id), found in facts.states.items():
        dag = DAGS[dag_id]
        states: dict[str, str | None] = {}
        for task_id, spec in dag.tasks.items():
            verdict = _by_rule(spec, states)
            tried = sorted(rows[dag_id, run_id, task_id], key=lambda item: item[0])
            if verdict == "go":
                yield from (f"{dag_id} {run_id} {task_id}: {wrong}" for wrong in _wrong_attempts(spec, tried))
                states[task_id] = tried[-1][1].state if tried else None
            else:
                states[task_id] = verdict
                if tried:
                    yield f"{dag_id} {run_id} {task_id} ran although it is {verdict}"
            if found.get(task_id) != states[task_id]:
                yield f"{dag_id} {run_id} {task_id} is {found.get(task_id)} and should be {states[task_id]}"
        failed = any(states[leaf] in ("failed", "upstream_failed") for leaf in dag.leaves)
        if facts.runs.get((dag_id, run_id)) != ("failed" if failed else "success"):
            yield f"run {dag_id} {run_id} is {facts.runs.get((dag_id, run_id))}; its tasks imply otherwise"


def _by_rule(spec: TaskSpec, states: Mapping[str, str | None]) -> str:
    above = [states[parent] for parent in spec.upstream]
    failed = any(state in ("failed", "upstream_failed") for state in above)
    skipped = "skipped" in above
    match spec.rule:
        case "all_success":
            return "upstream_failed" if failed else "skipped" if skipped else "go"
        case "none_failed":
            return "upstream_failed" if failed else "go"
        case "one_failed":
            return "go" if failed else "skipped"
        case "all_done":
            return "go"
        case other:
            raise ValueError(other)


def _wrong_attempts(spec: TaskSpec, tried: list[tuple[int, Ended]]) -> Iterator[str]:
    """Attempts that ended otherwise than their task says, unless something killed them."""
    if not tried:
        yield "it never ran"
    for number, row in tried:
        code = spec.exit_of(number)
        own = {0: ("success", "success"), 99: ("skip", "skipped")}
        cause, state = own.get(code, ("exit", "up_for_retry" if number <= spec.retries else "failed"))
        if row.cause in KILLED:
            cause, state = row.cause, "up_for_retry" if number <= spec.retries else "failed"
        if (row.cause, row.state) != (cause, state):
            yield f"attempt {number} ended as {row.cause}, {row.state} and should as {cause}, {state}"
        if (row.state == "up_for_retry") != (number < len(tried)):
            yield f"attempt {number} of {len(tried)} is {row.state}"


def _told_once(facts: Facts) -> Iterator[str]:
    """One event for each failure, each retry, each success after a retry and each failed run, and no other.

    Runs that say that their DAG is well again apart: which run comes first after a failed one is chance.
    """
    due: Counter[Event] = Counter()
    for key, row in facts.attempts.items():
        if row.state in ("failed", "up_for_retry"):
            due["task_failed" if row.state == "failed" else "task_retry", *key] += 1
        elif row.state == "success" and key.try_number > 1:  # what failed before was told
            due["task_recovered", *key] += 1
    due.update(("run_failed", *run, None, None) for run, state in facts.runs.items() if state == "failed")
    recoveries = [event for event in facts.events if event[0] == "run_recovered"]
    for event in sorted((due.keys() | facts.events.keys()) - set(recoveries), key=str):
        if due[event] != facts.events[event]:
            yield f"{' '.join(map(str, event))} was told {facts.events[event]} times instead of {due[event]}"
    yield from _recoveries_follow(facts, sorted(recoveries, key=str))


def _recoveries_follow(facts: Facts, recoveries: Iterable[Event]) -> Iterator[str]:
    """Each is of a run that succeeded, told once, and no DAG has more of them than runs that failed."""
    failed = Counter(dag_id for (dag_id, _), state in facts.runs.items() if state == "failed")
    for event in recoveries:
        _, dag_id, run_id, *_ = event
        failed[dag_id] -= 1
        if facts.events[event] != 1 or facts.runs.get((dag_id, run_id)) != "success" or failed[dag_id] < 0:
            yield f"run_recovered {dag_id} {run_id} was told {facts.events[event]} times, of what had not failed"


def _within_limits(begun: Moments, ended: Moments) -> Iterator[str]:
    """Attempts that ran from beginning to end, by their own clocks: never more at once than a limit allows."""
    spans = [(key, begun[key][0], ended[key][0]) for key in ended if key in begun]
    use: dict[str, list[tuple[float, int]]] = defaultdict(list)
    limits: dict[str, int] = {f"pool {name}": slots for name, slots in POOLS.items()}
    for key, start, end in spans:
        dag, task = DAGS[key.dag_id], DAGS[key.dag_id].tasks[key.task_id]
        needs = {f"pool {task.pool}": task.slots, f"tasks of {dag.dag_id}": 1}
        limits[f"tasks of {dag.dag_id}"] = dag.tasks_at_once
        if task.at_once is not None:
            needs[name := f"{key.task_id} of {dag.dag_id}"] = 1
            limits[name] = task.at_once
        for name, slots in needs.items():
            use[name] += [(start, slots), (end, -slots)]
    for name, changes in use.items():
        peak = now = 0
        for _, change in sorted(changes):  # at one moment, ends come first
            now += change
            peak = max(peak, now)
        if peak > limits[name]:
            yield f"{name}: {peak} at once by the attempts' own clocks, of {limits[name]}"


def _name(key: Key) -> str:
    return f"{key.dag_id} {key.run_id} {key.task_id} attempt {key.try_number}"
