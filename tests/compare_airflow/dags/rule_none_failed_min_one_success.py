"""The trigger rule none_failed_min_one_success over every mixture of Airflow's final states."""

from __future__ import annotations

from names import DAG, START, combinations

with DAG("rule_none_failed_min_one_success", schedule="@once", start_date=START):
    combinations("none_failed_min_one_success")
