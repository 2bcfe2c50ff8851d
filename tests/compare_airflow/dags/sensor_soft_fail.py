"""The same in Airflow with soft_fail: the sensor is skipped."""

from __future__ import annotations

from names import DAG, START, EmptyOperator, PythonSensor

with DAG("sensor_soft_fail", schedule="@once", start_date=START):
    for mode in ("poke", "reschedule"):
        waits = PythonSensor(
            task_id=mode, python_callable=lambda: False, poke_interval=1, timeout=3, mode=mode, soft_fail=True
        )
        waits >> EmptyOperator(task_id=f"after_{mode}")
