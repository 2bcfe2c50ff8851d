"""max_active_runs=1: Airflow's runs come one after the other, oldest first."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, BashOperator

with DAG(
    "max_active_runs",
    schedule="@daily",
    start_date=START,
    end_date=START + timedelta(days=2),
    catchup=True,
    max_active_runs=1,
):
    BashOperator(task_id="first", bash_command="true") >> BashOperator(task_id="second", bash_command="sleep 0.2")
