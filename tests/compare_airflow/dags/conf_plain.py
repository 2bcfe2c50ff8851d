"""Conf of a run that somebody triggers, in Airflow's params and dag_run.conf."""

from __future__ import annotations

from typing import Any

from names import DAG, START, PythonOperator, tell


def write(params: dict[str, Any], dag_run: Any) -> None:
    tell("conf_plain", f"{dag_run.run_id} {dag_run.run_type}: {params['text']} {sorted((dag_run.conf or {}).items())}")


with DAG("conf_plain", schedule=None, start_date=START, params={"text": "plain"}):
    PythonOperator(task_id="write", python_callable=write)
