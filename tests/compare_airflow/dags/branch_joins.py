"""Joins after a branch, one for each of Airflow's rules, and a join that the branch itself may choose."""

from __future__ import annotations

from names import DAG, START, BranchPythonOperator, EmptyOperator

with DAG("branch_joins", schedule="@once", start_date=START):
    branch = BranchPythonOperator(task_id="branch", python_callable=lambda: "a")
    a, b = EmptyOperator(task_id="a"), EmptyOperator(task_id="b")
    branch >> [a, b]
    for rule in ("all_success", "all_done", "none_failed", "none_skipped", "one_success", "all_skipped"):
        [a, b] >> EmptyOperator(task_id=f"join_{rule}", trigger_rule=rule)

    to_join = BranchPythonOperator(task_id="to_join", python_callable=lambda: "direct")
    direct = EmptyOperator(task_id="direct", trigger_rule="none_failed_min_one_success")
    to_join >> EmptyOperator(task_id="detour") >> direct
    to_join >> direct
