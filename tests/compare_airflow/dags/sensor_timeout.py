"""A sensor that is never true: in Airflow its timeout fails it at once, retries or not."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, EmptyOperator, PythonSensor

with DAG("sensor_timeout", schedule="@once", start_date=START):
    for mode in ("poke", "reschedule"):
        waits = PythonSensor(
            task_id=mode,
            python_callable=lambda: False,
            poke_interval=1,
            timeout=3,
            mode=mode,
            retries=1,
            retry_delay=timedelta(seconds=1),
        )
        waits >> EmptyOperator(task_id=f"after_{mode}")
