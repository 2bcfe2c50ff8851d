"""A task whose process is killed: Airflow counts it as a failure, and retries it."""

from __future__ import annotations

import os
import signal
from datetime import timedelta

from names import DAG, START, BashOperator, PythonOperator


def kill_first(ti: object) -> None:
    if ti.try_number == 1:  # type: ignore[attr-defined]
        os.kill(os.getpid(), signal.SIGKILL)


with DAG("kill_itself", schedule="@once", start_date=START):
    PythonOperator(task_id="python", python_callable=kill_first, retries=1, retry_delay=timedelta(seconds=1))
    BashOperator(task_id="bash", bash_command="kill -9 $$")
