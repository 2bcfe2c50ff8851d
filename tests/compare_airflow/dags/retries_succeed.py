"""A task whose second try succeeds, in Airflow's way of counting."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, BashOperator, EmptyOperator

with DAG("retries_succeed", schedule="@once", start_date=START):
    second = BashOperator(
        task_id="second",
        bash_command="test '{{ ti.try_number }}' = 2",
        retries=3,
        retry_delay=timedelta(seconds=1),
    )
    second >> EmptyOperator(task_id="after")
