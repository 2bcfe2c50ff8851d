"""catchup=False makes no Airflow run of the past, but the last interval's; none where end_date is past."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, EmptyOperator

with DAG("no_catchup", schedule="@yearly", start_date=START.replace(year=2020), catchup=False):
    EmptyOperator(task_id="task")

with DAG("no_catchup_ended", schedule="@daily", start_date=START, end_date=START + timedelta(days=2), catchup=False):
    EmptyOperator(task_id="task")
