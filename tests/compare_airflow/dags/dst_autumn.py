"""Airflow's cron at 02:30 in Berlin over the night in which that time comes twice."""

from __future__ import annotations

from datetime import datetime

import pendulum
from names import DAG, EmptyOperator

BERLIN = pendulum.timezone("Europe/Berlin")

with DAG(
    "dst_autumn",
    schedule="30 2 * * *",
    start_date=datetime(2025, 10, 24, tzinfo=BERLIN),
    end_date=datetime(2025, 10, 27, 23, tzinfo=BERLIN),
    catchup=True,
):
    EmptyOperator(task_id="task")

with DAG(
    "dst_autumn_hourly",
    schedule="30 * * * *",
    start_date=datetime(2025, 10, 26, tzinfo=BERLIN),
    end_date=datetime(2025, 10, 26, 5, tzinfo=BERLIN),
    catchup=True,
):
    EmptyOperator(task_id="task")
