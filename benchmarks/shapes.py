"""The DAGs that are measured."""

from __future__ import annotations

from dataclasses import dataclass

HEADER = """from datetime import datetime
from engine import DAG, BashOperator, PythonOperator

def nothing():
    return None

"""


@dataclass(frozen=True)
class Shape:
    """One DAG: `tasks` in all, written as a DAG file's body."""

    dag_id: str
    title: str
    tasks: int
    body: str

    @property
    def source(self) -> str:
        """The DAG file."""
        opening = f'with DAG("{self.dag_id}", schedule=None, start_date=datetime(2026, 1, 1), max_active_tasks=1000):\n'
        return HEADER + opening + self.body


def fan_out(operator: str, count: int) -> Shape:
    """`count` independent no-op tasks."""
    made = {
        "bash": 'BashOperator(task_id=f"t{n}", bash_command="true")',
        "python": 'PythonOperator(task_id=f"t{n}", python_callable=nothing, do_xcom_push=False)',
    }[operator]
    body = f"    for n in range({count}):\n        {made}\n"
    return Shape(f"fan_out_{operator}_{count}", f"{count} no-op {operator} tasks", count, body)


def chain(length: int) -> Shape:
    """`length` no-op Bash tasks, each waiting for the one before."""
    body = (
        "    before = None\n"
        f"    for n in range({length}):\n"
        '        task = BashOperator(task_id=f"t{n}", bash_command="true")\n'
        "        if before is not None:\n"
        "            before >> task\n"
        "        before = task\n"
    )
    return Shape(f"chain_{length}", f"chain of {length}", length, body)
