"""A branch to one of three, as in Airflow: the two others are skipped, the join runs by its rule."""

from __future__ import annotations

from names import DAG, START, BranchPythonOperator, EmptyOperator

with DAG("branch_one", schedule="@once", start_date=START):
    branch = BranchPythonOperator(task_id="branch", python_callable=lambda: "b")
    join = EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")
    for name in "abc":
        branch >> EmptyOperator(task_id=name) >> join
