"""An Airflow sensor in reschedule mode: a process for each look, and still one try."""

from __future__ import annotations

from names import DAG, START, EmptyOperator, PythonSensor, counted


def third() -> bool:
    return counted("sensor_reschedule") >= 3


with DAG("sensor_reschedule", schedule="@once", start_date=START):
    waits = PythonSensor(task_id="waits", python_callable=third, poke_interval=1, timeout=300, mode="reschedule")
    waits >> EmptyOperator(task_id="after")
