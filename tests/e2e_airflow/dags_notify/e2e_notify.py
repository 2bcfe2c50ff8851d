"""A DAG for Airflow 3.3 whose callbacks tell people through Windsock's alerting, by each of its ways."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

from alerting import notify

TEMPLATE = "{{ task_id }} of {{ dag_id }} gave up at try {{ try_number }} of {{ max_tries }}:\n{{ error }}"


def explode() -> None:
    raise ValueError("the table is gone")


with DAG(
    "e2e_notify",
    schedule="@once",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    tags=["nightly"],
    on_failure_callback=notify("ops", template="The run ended: {{ reason }}"),
):
    PythonOperator(
        task_id="by_receiver",
        python_callable=explode,
        retries=1,
        retry_delay=timedelta(seconds=1),
        on_retry_callback=notify("ops"),
        on_failure_callback=notify("ops", template=TEMPLATE, severity="critical"),
    )
    PythonOperator(task_id="by_routes", python_callable=explode, on_failure_callback=notify(template="by the routes"))
    PythonOperator(
        task_id="by_outbox",
        python_callable=explode,
        on_failure_callback=notify("ops", template="kept first", outbox=os.environ["E2E_NOTIFY_OUTBOX"]),
    )
    PythonOperator(
        task_id="by_url",
        python_callable=print,
        on_success_callback=notify(os.environ["E2E_NOTIFY_URL"], template="{{ task_id }}: {{ state }}"),
    )
