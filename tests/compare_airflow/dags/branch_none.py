"""A branch that follows nothing: in Airflow everything after it is skipped, and the run succeeds."""

from __future__ import annotations

from names import DAG, START, BranchPythonOperator, EmptyOperator

with DAG("branch_none", schedule="@once", start_date=START):
    branch = BranchPythonOperator(task_id="branch", python_callable=lambda: None)
    for name in "ab":
        branch >> EmptyOperator(task_id=name) >> EmptyOperator(task_id=f"after_{name}")
