"""A task that fails on every try: Airflow makes one more try than there are retries."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, BashOperator, EmptyOperator

with DAG("retries_exhausted", schedule="@once", start_date=START):
    fails = BashOperator(task_id="fails", bash_command="exit 1", retries=2, retry_delay=timedelta(seconds=1))
    fails >> EmptyOperator(task_id="after") >> EmptyOperator(task_id="after_that")
