"""A DAG of Airflow's EmptyOperators only: they succeed without a process."""

from __future__ import annotations

from names import DAG, START, EmptyOperator

with DAG("empty_only", schedule="@once", start_date=START):
    EmptyOperator(task_id="a") >> [EmptyOperator(task_id="b"), EmptyOperator(task_id="c")]

with DAG("no_tasks", schedule="@once", start_date=START):
    pass
