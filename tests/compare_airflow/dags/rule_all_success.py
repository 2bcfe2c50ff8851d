"""The trigger rule all_success over every mixture of Airflow's final states."""

from __future__ import annotations

from names import DAG, START, combinations

with DAG("rule_all_success", schedule="@once", start_date=START):
    combinations("all_success")
