"""Params and conf as in Airflow: defaults, what a trigger overrides, and a value that the schema refuses."""

from __future__ import annotations

from typing import Any

from names import DAG, START, Param, PythonOperator, tell


def write(params: dict[str, Any], dag_run: Any) -> None:
    tell("params_conf", f"{dag_run.run_id}: {params['number']} {params['text']} {sorted(dag_run.conf or {})}")


with DAG(
    "params_conf",
    schedule=None,
    start_date=START,
    params={"number": Param(3, type="integer", minimum=1), "text": "plain"},
):
    PythonOperator(task_id="write", python_callable=write)
