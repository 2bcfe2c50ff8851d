"""max_active_tis_per_dag=1: one at a time of this task over all of Airflow's runs."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, BashOperator

with DAG(
    "max_active_tis",
    schedule="@daily",
    start_date=START,
    end_date=START + timedelta(days=2),
    catchup=True,
    max_active_runs=3,
):
    BashOperator(task_id="narrow", bash_command="sleep 0.5", max_active_tis_per_dag=1)
