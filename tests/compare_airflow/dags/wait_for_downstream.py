"""wait_for_downstream: a child that failed in Airflow's first run holds its parent back in the second."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, BashOperator

with DAG(
    "wait_for_downstream",
    schedule="@daily",
    start_date=START,
    end_date=START + timedelta(days=1),
    catchup=True,
    max_active_runs=2,
):
    parent = BashOperator(task_id="parent", bash_command="true", wait_for_downstream=True)
    parent >> BashOperator(task_id="child", bash_command="exit 1")
