"""weight_rule downstream: of Airflow's tasks that are ready, the one with most behind it goes first."""

from __future__ import annotations

from names import DAG, START, BashOperator, EmptyOperator

with DAG("priority_downstream", schedule="@once", start_date=START):
    gate = BashOperator(task_id="gate", bash_command="true")
    for number in (2, 4, 1, 3):
        head = BashOperator(task_id=f"head_{number}", bash_command="true", pool="compare_one_more")
        gate >> head
        for follower in range(number):
            head >> EmptyOperator(task_id=f"after_{number}_{follower}")
