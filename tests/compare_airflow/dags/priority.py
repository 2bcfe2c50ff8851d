"""The highest priority_weight goes first through an Airflow pool of one slot."""

from __future__ import annotations

from names import DAG, START, BashOperator

with DAG("priority", schedule="@once", start_date=START):
    gate = BashOperator(task_id="gate", bash_command="true")
    for number in (2, 4, 1, 3):
        gate >> BashOperator(
            task_id=f"weight_{number}",
            bash_command="true",
            pool="compare_one",
            priority_weight=number,
            weight_rule="absolute",
        )
