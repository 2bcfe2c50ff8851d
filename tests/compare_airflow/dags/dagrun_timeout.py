"""dagrun_timeout fails Airflow's run and skips what has not ended."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, BashOperator, EmptyOperator

with DAG("dagrun_timeout", schedule="@once", start_date=START, dagrun_timeout=timedelta(seconds=6)):
    (
        EmptyOperator(task_id="done")
        >> BashOperator(task_id="sleeps", bash_command="sleep 300")
        >> EmptyOperator(task_id="after")
    )
