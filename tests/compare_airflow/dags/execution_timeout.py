"""execution_timeout ends a try; Airflow retries it as any other failure."""

from __future__ import annotations

import time
from datetime import timedelta

from names import DAG, START, BashOperator, EmptyOperator, PythonOperator

with DAG("execution_timeout", schedule="@once", start_date=START):
    bash = BashOperator(
        task_id="bash",
        bash_command="sleep 300",
        execution_timeout=timedelta(seconds=2),
        retries=1,
        retry_delay=timedelta(seconds=1),
    )
    bash >> EmptyOperator(task_id="after")
    PythonOperator(task_id="python", python_callable=time.sleep, op_args=[300], execution_timeout=timedelta(seconds=2))
