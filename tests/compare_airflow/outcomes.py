"""What came of a DAG file, in a form in which Airflow and Windsock can be held against one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.compare_airflow.rows import POOLS, Row

FINAL_RUN_STATES = ("success", "failed")
_WITHOUT_PROCESS = "EmptyOperator"


@dataclass(frozen=True)
class RunRow:
    """A run as a metastore has it."""

    dag_id: str
    run_id: str
    run_type: str
    state: str
    logical_date: datetime | None
    interval: tuple[datetime | None, datetime | None]


@dataclass(frozen=True)
class TaskRow:
    """A task instance as a metastore has it."""

    dag_id: str
    run_id: str
    task_id: str
    state: str | None
    tries: int
    operator: str
    pool: str
    start: datetime | None
    end: datetime | None


@dataclass(frozen=True)
class Seen:
    """Everything that one engine had at the end."""

    runs: Sequence[RunRow]
    tasks: Sequence[TaskRow]
    scratch: Path

    def outcome(self, row: Row) -> dict[str, Any]:
        """What came of one DAG file, as JSON."""
        tasks = [task for task in self.tasks if task.dag_id in row.dag_ids]
        found: dict[str, Any] = {"runs": {dag_id: self._runs(dag_id) for dag_id in row.dag_ids}}
        if lines := _lines(self.scratch / f"{row.name}.lines"):
            found["lines"] = lines
        if row.ordered:
            began = sorted((task for task in tasks if task.pool in POOLS), key=lambda task: task.start or _never())
            found["order"] = [task.task_id for task in began]
        if row.overlapping:
            found["most_at_once"] = _most_at_once(tasks)
        return found

    def _runs(self, dag_id: str) -> dict[str, Any]:
        runs = [run for run in self.runs if run.dag_id == dag_id]
        return {key: self._run(run) for key, run in _keyed(runs)}

    def _run(self, run: RunRow) -> dict[str, Any]:
        tasks = [task for task in self.tasks if (task.dag_id, task.run_id) == (run.dag_id, run.run_id)]
        told: dict[str, Any] = {"state": run.state}
        if run.run_type == "scheduled":
            told["interval"] = [_text(moment) for moment in run.interval]
        told["tasks"] = {task.task_id: _ending(task) for task in sorted(tasks, key=lambda task: task.task_id)}
        return told


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Each place at which two outcomes are not the same, with both sides."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in dict.fromkeys([*expected, *found]):
            yield from differences(expected.get(key), found.get(key), f"{path}/{key}")
    elif expected != found:
        yield f"{path}: Airflow {expected!r}, here {found!r}"


def undeclared(row: Row, version: str, expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """The differences that no line of the row explains."""
    known = tuple(difference.at for difference in row.differences if version in difference.versions)
    return [each for each in differences(expected, found) if not (known and each.startswith(known))]


def unneeded(row: Row, version: str, expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Declared differences of this version that are none."""
    seen = list(differences(expected, found))
    declared = [difference.at for difference in row.differences if version in difference.versions]
    return [at for at in declared if not any(each.startswith(at) for each in seen)]


def all_ended(rows: Iterable[Row], runs: Iterable[RunRow]) -> bool:
    """Whether as many runs have ended as shall, and those that stay are there."""
    ended, made = Counter[str](), Counter[str]()
    for run in runs:
        made[run.dag_id] += 1
        ended[run.dag_id] += run.state in FINAL_RUN_STATES
    return all(
        ended[dag_id] >= row.endings.get(dag_id, 0)
        and made[dag_id] >= row.endings.get(dag_id, 0) + row.stays.get(dag_id, 0)
        for row in rows
        for dag_id in row.dag_ids
    )


def _keyed(runs: Sequence[RunRow]) -> Iterator[tuple[str, RunRow]]:
    """Runs under names that are the same everywhere: the date of those on a schedule, a number for what DAGs make."""
    number = 0
    for run in sorted(runs, key=lambda run: (run.logical_date or _never(), run.run_id)):
        if run.run_type == "scheduled":
            yield _text(run.logical_date) or "without a date", run
        elif "__" not in run.run_id:
            yield f"unscheduled {run.run_id}", run
        else:
            number += 1
            yield f"unscheduled number {number}", run


def _ending(task: TaskRow) -> str | None:
    """The state, and the tries of what had a process and came to its own end."""
    if task.state in ("success", "failed") and task.operator != _WITHOUT_PROCESS:
        return f"{task.state}, tries: {task.tries}"
    return task.state


def _most_at_once(tasks: Sequence[TaskRow]) -> int:
    spans = [(task.start, task.end) for task in tasks if task.start and task.end]
    return max((sum(start <= moment < end for start, end in spans) for moment, _ in spans), default=0)


def _lines(file: Path) -> dict[str, int]:
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return dict(sorted(Counter(text.splitlines()).items()))


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def _never() -> datetime:
    return datetime.max.replace(tzinfo=UTC)
