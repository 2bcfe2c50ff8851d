"""An Airflow sensor in poke mode that is true at its third look; it was one try."""

from __future__ import annotations

from names import DAG, START, EmptyOperator, PythonSensor, counted


def third() -> bool:
    return counted("sensor_poke") >= 3


with DAG("sensor_poke", schedule="@once", start_date=START):
    waits = PythonSensor(task_id="waits", python_callable=third, poke_interval=1, timeout=120, mode="poke")
    waits >> EmptyOperator(task_id="after")
