"""The trigger rule always over every mixture of Airflow's final states."""

from __future__ import annotations

from names import DAG, START, combinations

with DAG("rule_always", schedule="@once", start_date=START):
    combinations("always")
