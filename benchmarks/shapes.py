"""The DAGs that are measured; every file is one that Windsock and Airflow both read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HEADER = '''"""A shape of the benchmark, for Airflow's and for this engine's DAG folder."""
import time
from datetime import datetime
from pathlib import Path

try:
    from engine import DAG, BashOperator, PythonOperator
except ImportError:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk import DAG

CLOCKS = Path(__file__).resolve().parent.parent / "clocks"


def bash(dag, task_id, command="", **more):
    now = f"echo $EPOCHREALTIME >> {CLOCKS}/{dag.dag_id}.{task_id}"
    command = f"{now}; {command}; {now}" if command else now
    return BashOperator(task_id=task_id, bash_command=command, **more)


def python(dag, task_id, n):
    clock = f"{CLOCKS}/{dag.dag_id}.{task_id}"
    return PythonOperator(task_id=task_id, python_callable=timed_fibo, op_args=[clock, n], do_xcom_push=False)


def timed_fibo(clock, n):
    with open(clock, "a") as file:
        print(time.time(), file=file)
        fibo(n)
        print(time.time(), file=file)


def fibo(n):
    return n if n <= 1 else fibo(n - 1) + fibo(n - 2)


'''
"""Each task writes when it began and ended: the peers' own records mean different instants by these words."""
FIBO_LONG, FIBO_SHORT = 33, 10  # as in Windmill's comparison: some seconds, and some milliseconds


@dataclass(frozen=True)
class Shape:
    """DAGs that are triggered together: `tasks` in all; `bodies` are the DAG files' bodies by dag_id."""

    key: str
    title: str
    tasks: int
    bodies: Mapping[str, str]

    @property
    def dag_ids(self) -> tuple[str, ...]:
        return tuple(self.bodies)

    @property
    def sources(self) -> dict[str, str]:
        """The DAG files by name."""
        return {f"{dag_id}.py": HEADER + _opening(dag_id) + body for dag_id, body in self.bodies.items()}


def _opening(dag_id: str) -> str:
    return f'with DAG("{dag_id}", schedule=None, start_date=datetime(2026, 1, 1), max_active_tasks=1000) as dag:\n'


def fan_out(operator: str, count: int) -> Shape:
    """`count` independent no-op tasks."""
    made = {
        "bash": _BASH,
        "python": 'python(dag, f"t{n}", 0)',
    }[operator]
    key = f"fan_out_{operator}_{count}"
    return Shape(
        key, f"{count} no-op {operator} tasks", count, {key: f"    for n in range({count}):\n        {made}\n"}
    )


def _chained(length: int, task: str) -> str:
    return (
        "    before = None\n"
        f"    for n in range({length}):\n"
        f"        task = {task}\n"
        "        if before is not None:\n"
        "            before >> task\n"
        "        before = task\n"
    )


_BASH = 'bash(dag, f"t{n}")'


def chain(length: int) -> Shape:
    """`length` no-op Bash tasks, each waiting for the one before."""
    return Shape(f"chain_{length}", f"chain of {length}", length, {f"chain_{length}": _chained(length, _BASH)})


def fibo_chain(length: int, n: int) -> Shape:
    """A chain as in Windmill's comparison of orchestrators: Python tasks that compute a Fibonacci number naively."""
    key = f"chain_{length}_fibo_{n}"
    return Shape(key, f"chain of {length} fibo({n})", length, {key: _chained(length, f'python(dag, f"t{{n}}", {n})')})


def many(dags: int, length: int) -> Shape:
    """`dags` DAGs, each a chain of `length`, triggered at the same moment."""
    key = f"many_{dags}_{length}"
    return Shape(
        key, f"{dags} DAGs x {length}", dags * length, {f"{key}_{n}": _chained(length, _BASH) for n in range(dags)}
    )


def tree(depth: int) -> Shape:
    """A binary tree: each task starts two others, `depth` levels deep."""
    count = 2**depth - 1
    body = (
        f"    tasks = [{_BASH} for n in range({count})]\n"
        f"    for n in range(1, {count}):\n"
        "        tasks[(n - 1) // 2] >> tasks[n]\n"
    )
    return Shape(f"tree_{depth}", f"binary tree of {count}", count, {f"tree_{depth}": body})


def mixed(dags: int) -> Shape:
    """What a night looks like: loads of several sources, a join in Python, reports, and some waiting for others."""
    body = (
        "    extract = [bash(dag, f'extract_{n}', 'sleep 0.1') for n in range(3)]\n"
        "    join = python(dag, 'join', 18)\n"
        "    load = [bash(dag, f'load_{n}', priority_weight=n + 1) for n in range(5)]\n"
        "    publish = python(dag, 'publish', 0)\n"
        "    extract >> join\n"
        "    join >> load\n"
        "    load >> publish\n"
    )
    return Shape(
        f"mixed_{dags}", f"mixed load, {dags} DAGs x 10", dags * 10, {f"mixed_{dags}_{n}": body for n in range(dags)}
    )


CHAIN = chain(40)
FEW = (fan_out("bash", 200), fan_out("python", 200), CHAIN)
"""What `make bench` runs."""
ALL = (
    *FEW,
    fibo_chain(40, FIBO_SHORT),
    fibo_chain(10, FIBO_LONG),
    fan_out("bash", 1_000),
    fan_out("bash", 10_000),
    many(100, 10),
    many(10, 100),
    tree(7),
    mixed(20),
)
"""What `make bench BENCH_ARGS=--all` runs."""
TOO_LONG_FOR_AIRFLOW = 2_000  # tasks: at 7 a second five minutes for each round
