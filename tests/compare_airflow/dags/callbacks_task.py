"""Callbacks of Airflow's tasks: which are called, and how often."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from names import DAG, START, AirflowSkipException, BashOperator, PythonOperator, tell


def called(kind: str, context: dict[str, Any]) -> None:
    tell("callbacks_task", f"{context['ti'].task_id} {kind}")


def skip() -> None:
    raise AirflowSkipException("nothing to do")


CALLBACKS: dict[str, Any] = {
    f"on_{kind}_callback": partial(called, kind) for kind in ("execute", "success", "retry", "failure")
}

with DAG("callbacks_task", schedule="@once", start_date=START, default_args=CALLBACKS):
    BashOperator(task_id="succeeds", bash_command="true")
    BashOperator(task_id="fails", bash_command="exit 1")
    BashOperator(task_id="fails_twice", bash_command="exit 1", retries=1, retry_delay=timedelta(seconds=1))
    PythonOperator(task_id="skips", python_callable=skip)
