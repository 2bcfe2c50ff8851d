"""A branch within a branch, one inner branch followed and one skipped by Airflow's outer branch."""

from __future__ import annotations

from names import DAG, START, BranchPythonOperator, EmptyOperator

with DAG("branch_nested", schedule="@once", start_date=START):
    outer = BranchPythonOperator(task_id="outer", python_callable=lambda: "inner")
    inner = BranchPythonOperator(task_id="inner", python_callable=lambda: "left")
    other = BranchPythonOperator(task_id="other", python_callable=lambda: "never_left")
    join = EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")
    outer >> [inner, other]
    for name in ("left", "right"):
        inner >> EmptyOperator(task_id=name) >> join
    for name in ("never_left", "never_right"):
        other >> EmptyOperator(task_id=name) >> join
