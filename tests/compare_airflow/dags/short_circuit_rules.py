"""The same in Airflow with ignore_downstream_trigger_rules=False: only the children are skipped, then rules decide."""

from __future__ import annotations

from names import DAG, START, EmptyOperator, ShortCircuitOperator

with DAG("short_circuit_rules", schedule="@once", start_date=START):
    stops = ShortCircuitOperator(task_id="stops", python_callable=lambda: False, ignore_downstream_trigger_rules=False)
    child = EmptyOperator(task_id="child")
    stops >> child >> EmptyOperator(task_id="rule_all_done", trigger_rule="all_done")
    child >> EmptyOperator(task_id="rule_all_success")
