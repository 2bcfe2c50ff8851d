"""What is run under chaos: three DAGs, and what each attempt of their tasks must do.

Every attempt appends a line to a file outside the metastore when it begins (``B``) and when it ends (``E``): dag, run,
task, try number, and the wall clock in seconds. Appends of one short line are atomic, and a killed attempt leaves
only its first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Final

POOLS: Final = {"narrow": 6, "default_pool": 128}
TASKS_PER_RUN: Final = {"graph": 17, "wide": 20, "single": 8}


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task as the oracle knows it. `exits` are the exit codes by try; the last one holds for all later tries."""

    upstream: tuple[str, ...] = ()
    rule: str = "all_success"
    exits: tuple[int, ...] = (0,)
    retries: int = 2
    pool: str = "default_pool"
    slots: int = 1
    at_once: int | None = None  # max_active_tis_per_dag
    weight: int = 1
    seconds: float = 0.0

    def exit_of(self, try_number: int) -> int:
        return self.exits[min(try_number, len(self.exits)) - 1]


@dataclass(frozen=True, slots=True)
class DagSpec:
    """A DAG as the oracle knows it, tasks in topological order."""

    dag_id: str
    runs_at_once: int
    tasks_at_once: int
    tasks: dict[str, TaskSpec]

    @property
    def leaves(self) -> set[str]:
        return self.tasks.keys() - {parent for task in self.tasks.values() for parent in task.upstream}


def _graph() -> dict[str, TaskSpec]:
    return {
        "start": TaskSpec(),
        "quick1": TaskSpec(("start",)),
        "quick2": TaskSpec(("start",)),
        "quick3": TaskSpec(("start",)),
        "slow": TaskSpec(("start",), seconds=0.4),
        "flaky": TaskSpec(("start",), exits=(1, 0)),
        "flakier": TaskSpec(("start",), exits=(1, 1, 0), retries=4),
        "broken": TaskSpec(("start",), exits=(1,), retries=1),
        "skipper": TaskSpec(("start",), exits=(99,)),
        "joined": TaskSpec(("quick1", "quick2", "flaky")),
        "blocked": TaskSpec(("joined", "broken")),
        "blocked_too": TaskSpec(("blocked",)),
        "alarm": TaskSpec(("broken", "quick3"), "one_failed"),
        "careful": TaskSpec(("skipper", "flakier"), "none_failed"),
        "skipped": TaskSpec(("skipper",)),
        "tidy": TaskSpec(("broken", "slow", "joined"), "all_done"),
        "last": TaskSpec(("tidy", "careful", "alarm"), "all_done"),
    }


def _wide() -> dict[str, TaskSpec]:
    tasks = {f"w{n}": TaskSpec(pool="narrow", slots=1 + (n % 5 == 0), weight=n % 7) for n in range(16)}
    return tasks | {f"s{n}": TaskSpec(pool="narrow", seconds=0.2) for n in range(4)}


def _single() -> dict[str, TaskSpec]:
    limited = {f"only{n}": TaskSpec(at_once=n, seconds=0.02) for n in (1, 2, 3)}
    return limited | {f"free{n}": TaskSpec(tuple(limited)) for n in range(5)}


DAGS: Final = {
    "graph": DagSpec("graph", 5, 12, _graph()),
    "wide": DagSpec("wide", 4, 10, _wide()),
    "single": DagSpec("single", 6, 7, _single()),
}


def runs_for(attempts: int) -> Iterator[tuple[str, str]]:
    """Runs, DAG by DAG in turn, with at least so many tasks in all: dag_id and run_id."""
    made = 0
    for number, dag_id in enumerate(cycle(DAGS)):
        if made >= attempts:
            return
        made += len(DAGS[dag_id].tasks)
        yield dag_id, f"r{number:06}"


def dag_file(dag: DagSpec, told: Path) -> str:
    """The text of a DAG file. The last task of ``graph`` is a Python one, so that file zygotes take part."""
    lines = [
        _HEADER.format(told=str(told)),
        (
            f"with DAG({dag.dag_id!r}, start_date=START, schedule=None, max_active_runs={dag.runs_at_once},"
            f" max_active_tasks={dag.tasks_at_once}) as dag:"
        ),
    ]
    for task_id, task in dag.tasks.items():
        more = (
            f"task_id={task_id!r}, retries={task.retries}, retry_delay=timedelta(0), trigger_rule={task.rule!r},"
            f" pool={task.pool!r}, pool_slots={task.slots}, priority_weight={task.weight}, weight_rule='absolute',"
            f" max_active_tis_per_dag={task.at_once}"
        )
        if (dag.dag_id, task_id) == ("graph", "last"):
            lines.append(f"    {task_id} = PythonOperator(python_callable=tell, {more})")
        else:
            lines.append(f"    {task_id} = BashOperator(bash_command={_command(task, told)!r}, {more})")
    lines += [f"    [{', '.join(task.upstream)}] >> {name}" for name, task in dag.tasks.items() if task.upstream]
    return "\n".join(lines) + "\n"


def _command(task: TaskSpec, told: Path) -> str:
    line = f'"$what {{{{ dag.dag_id }}}} {{{{ run_id }}}} {{{{ ti.task_id }}}} $try $EPOCHREALTIME" >> {told}'
    pause = f"sleep {task.seconds}; " if task.seconds else ""
    exits = " ".join(map(str, task.exits))
    return (
        f"try={{{{ ti.try_number }}}}; exits=({exits}); what=B; echo {line}; {pause}what=E; echo {line}; "
        f"n=$((try < {len(task.exits)} ? try : {len(task.exits)})); exit ${{exits[n-1]}}"
    )


_HEADER = """
import os, time
from datetime import datetime, timedelta, timezone
from engine import DAG, BashOperator, PythonOperator
START = datetime(2026, 1, 1, tzinfo=timezone.utc)

def tell(dag, run_id, ti):
    fd = os.open({told!r}, os.O_WRONLY | os.O_APPEND)
    for what in 'BE':
        os.write(fd, f'{{what}} {{dag.dag_id}} {{run_id}} {{ti.task_id}} {{ti.try_number}} {{time.time()}}\\n'.encode())
    os.close(fd)

"""
