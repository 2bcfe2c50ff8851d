"""Callbacks of Airflow's DAGs: the one that fits, once for each run."""

from __future__ import annotations

from typing import Any

from names import DAG, START, BashOperator, tell


def succeeded(context: dict[str, Any]) -> None:
    tell("callbacks_dag", "success")


def failed(context: dict[str, Any]) -> None:
    tell("callbacks_dag", "failure")


for dag_id, status in (("callbacks_dag_good", 0), ("callbacks_dag_bad", 1)):
    with DAG(dag_id, schedule="@once", start_date=START, on_success_callback=succeeded, on_failure_callback=failed):
        BashOperator(task_id="one", bash_command=f"exit {status}")
        BashOperator(task_id="two", bash_command=f"exit {status}")
