"""A task's own start_date and end_date: in Airflow a run outside of them has no such task."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, BashOperator, EmptyOperator

SECOND = START + timedelta(days=1)
DAYS = {"schedule": "@daily", "start_date": START, "end_date": START + timedelta(days=2), "catchup": True}

with DAG("task_dates", **DAYS):
    EmptyOperator(task_id="always")
    EmptyOperator(task_id="from_second", start_date=SECOND)
    EmptyOperator(task_id="until_second", end_date=SECOND)
    EmptyOperator(task_id="second_only", start_date=SECOND, end_date=SECOND)
    EmptyOperator(task_id="before") >> EmptyOperator(task_id="leaf_from_second", start_date=SECOND)
    failing = BashOperator(task_id="fails", bash_command="exit 1")
    failing >> EmptyOperator(task_id="leaf_of_failed", start_date=SECOND)

with DAG("task_dates_none", **DAYS):
    EmptyOperator(task_id="from_second", start_date=SECOND) >> EmptyOperator(task_id="too", start_date=SECOND)

with DAG("task_dates_past", **DAYS):
    EmptyOperator(task_id="from_second", start_date=SECOND, depends_on_past=True)
    EmptyOperator(task_id="until_second", end_date=SECOND, depends_on_past=True)
