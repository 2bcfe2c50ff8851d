"""AirflowFailException: the task fails at once, its retries are not used."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, AirflowFailException, PythonOperator


def give_up() -> None:
    raise AirflowFailException("trying again would not help")


with DAG("fail_without_retry", schedule="@once", start_date=START):
    PythonOperator(task_id="gives_up", python_callable=give_up, retries=3, retry_delay=timedelta(seconds=1))
