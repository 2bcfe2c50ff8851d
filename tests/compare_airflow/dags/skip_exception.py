"""AirflowSkipException skips the task and, by all_success, what comes after it."""

from __future__ import annotations

from names import DAG, START, AirflowSkipException, EmptyOperator, PythonOperator


def skip() -> None:
    raise AirflowSkipException("nothing to do")


with DAG("skip_exception", schedule="@once", start_date=START):
    skips = PythonOperator(task_id="skips", python_callable=skip, retries=2)
    skips >> EmptyOperator(task_id="child") >> EmptyOperator(task_id="grandchild")
    skips >> EmptyOperator(task_id="cleanup", trigger_rule="all_done")
