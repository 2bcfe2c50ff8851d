"""retry_exponential_backoff with a cap: Airflow's number of tries is the same."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, BashOperator

with DAG("retry_backoff", schedule="@once", start_date=START):
    BashOperator(
        task_id="fails",
        bash_command="exit 1",
        retries=2,
        retry_delay=timedelta(seconds=1),
        retry_exponential_backoff=True,
        max_retry_delay=timedelta(seconds=2),
    )
