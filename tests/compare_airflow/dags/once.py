"""@once: one Airflow run, at the start date."""

from __future__ import annotations

from names import DAG, START, EmptyOperator

with DAG("once", schedule="@once", start_date=START):
    EmptyOperator(task_id="task")

with DAG("once_catchup", schedule="@once", start_date=START, catchup=True):
    EmptyOperator(task_id="task")
