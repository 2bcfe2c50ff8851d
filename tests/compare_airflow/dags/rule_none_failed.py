"""The trigger rule none_failed over every mixture of Airflow's final states."""

from __future__ import annotations

from names import DAG, START, combinations

with DAG("rule_none_failed", schedule="@once", start_date=START):
    combinations("none_failed")
