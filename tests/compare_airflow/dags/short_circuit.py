"""Airflow's ShortCircuitOperator: everything downstream is skipped, whatever its trigger rule."""

from __future__ import annotations

from names import DAG, START, EmptyOperator, ShortCircuitOperator

with DAG("short_circuit", schedule="@once", start_date=START):
    stops = ShortCircuitOperator(task_id="stops", python_callable=lambda: False)
    stops >> EmptyOperator(task_id="child") >> EmptyOperator(task_id="rule_all_done", trigger_rule="all_done")
    goes_on = ShortCircuitOperator(task_id="goes_on", python_callable=lambda: True)
    goes_on >> EmptyOperator(task_id="runs")
