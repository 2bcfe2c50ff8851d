"""catchup makes Airflow's run of every interval from start_date to end_date, the last included."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, EmptyOperator

with DAG("catchup_end_date", schedule="@daily", start_date=START, end_date=START + timedelta(days=2), catchup=True):
    EmptyOperator(task_id="task")

with DAG(
    "catchup_delta",
    schedule=timedelta(hours=8),
    start_date=START,
    end_date=START + timedelta(hours=20),
    catchup=True,
):
    EmptyOperator(task_id="task")

with DAG(
    "catchup_between",
    schedule="30 4 * * *",
    start_date=START,
    end_date=START + timedelta(days=2),
    catchup=True,
):
    EmptyOperator(task_id="task")
