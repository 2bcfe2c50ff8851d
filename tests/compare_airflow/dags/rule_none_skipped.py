"""The trigger rule none_skipped over every mixture of Airflow's final states."""

from __future__ import annotations

from names import DAG, START, combinations

with DAG("rule_none_skipped", schedule="@once", start_date=START):
    combinations("none_skipped")
