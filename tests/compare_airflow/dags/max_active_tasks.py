"""max_active_tasks=1: one task of the Airflow DAG at a time."""

from __future__ import annotations

from names import DAG, START, BashOperator

with DAG("max_active_tasks", schedule="@once", start_date=START, max_active_tasks=1):
    for number in range(3):
        BashOperator(task_id=f"task_{number}", bash_command="sleep 0.3")
