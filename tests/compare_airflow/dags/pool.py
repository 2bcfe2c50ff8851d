"""A pool of two slots: as many of Airflow's tasks at a time as their pool_slots allow."""

from __future__ import annotations

from names import DAG, START, BashOperator

with DAG("pool", schedule="@once", start_date=START):
    for number in range(3):
        BashOperator(task_id=f"both_slots_{number}", bash_command="sleep 0.3", pool="compare_two", pool_slots=2)
