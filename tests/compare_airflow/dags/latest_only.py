"""LatestOnlyOperator in Airflow's runs of past intervals: what is behind it is skipped, unless its rule lets it run."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, EmptyOperator, LatestOnlyOperator

with DAG("latest_only", schedule="@daily", start_date=START, end_date=START + timedelta(days=1), catchup=True):
    latest = LatestOnlyOperator(task_id="latest")
    latest >> EmptyOperator(task_id="child") >> EmptyOperator(task_id="rule_all_done", trigger_rule="all_done")
    EmptyOperator(task_id="beside")
