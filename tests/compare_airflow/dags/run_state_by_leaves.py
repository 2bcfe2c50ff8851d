"""An Airflow run's state comes from its leaves: a failure before a leaf that succeeded does not count."""

from __future__ import annotations

from names import DAG, START, BashOperator, EmptyOperator

with DAG("leaf_failed", schedule="@once", start_date=START):
    EmptyOperator(task_id="root") >> [EmptyOperator(task_id="good"), BashOperator(task_id="bad", bash_command="exit 1")]

with DAG("leaf_succeeded", schedule="@once", start_date=START):
    BashOperator(task_id="bad", bash_command="exit 1") >> EmptyOperator(task_id="leaf", trigger_rule="all_done")

with DAG("leaf_upstream_failed", schedule="@once", start_date=START):
    BashOperator(task_id="bad", bash_command="exit 1") >> EmptyOperator(task_id="leaf")

with DAG("leaf_skipped", schedule="@once", start_date=START):
    BashOperator(task_id="bad", bash_command="exit 1") >> EmptyOperator(task_id="leaf", trigger_rule="none_failed")
    EmptyOperator(task_id="beside")

with DAG("leaf_all_failed_rule", schedule="@once", start_date=START):
    BashOperator(task_id="bad", bash_command="exit 1") >> EmptyOperator(task_id="leaf", trigger_rule="all_failed")
