"""A branch to two of three, given as a list to Airflow."""

from __future__ import annotations

from names import DAG, START, BranchPythonOperator, EmptyOperator

with DAG("branch_several", schedule="@once", start_date=START):
    branch = BranchPythonOperator(task_id="branch", python_callable=lambda: ["a", "c"])
    for name in "abc":
        branch >> EmptyOperator(task_id=name) >> EmptyOperator(task_id=f"after_{name}")
