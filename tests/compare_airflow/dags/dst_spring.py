"""Airflow's cron at 02:30 in Berlin over the night in which that time does not exist."""

from __future__ import annotations

from datetime import datetime

import pendulum
from names import DAG, EmptyOperator

BERLIN = pendulum.timezone("Europe/Berlin")

with DAG(
    "dst_spring",
    schedule="30 2 * * *",
    start_date=datetime(2026, 3, 27, tzinfo=BERLIN),
    end_date=datetime(2026, 3, 30, 23, tzinfo=BERLIN),
    catchup=True,
):
    EmptyOperator(task_id="task")

with DAG(
    "dst_spring_hourly",
    schedule="30 */2 * * *",
    start_date=datetime(2026, 3, 28, 22, tzinfo=BERLIN),
    end_date=datetime(2026, 3, 29, 7, tzinfo=BERLIN),
    catchup=True,
):
    EmptyOperator(task_id="task")
