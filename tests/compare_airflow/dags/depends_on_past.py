"""depends_on_past over three runs: after Airflow's first has failed, the others wait, and go on waiting."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, BashOperator, EmptyOperator

with DAG(
    "depends_on_past",
    schedule="@daily",
    start_date=START,
    end_date=START + timedelta(days=2),
    catchup=True,
    max_active_runs=3,
):
    fails = BashOperator(task_id="fails", bash_command="test '{{ ds }}' != 2026-01-01", depends_on_past=True)
    fails >> EmptyOperator(task_id="after")
    EmptyOperator(task_id="beside")
