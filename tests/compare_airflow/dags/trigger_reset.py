"""reset_dag_run in Airflow: a run of the same id is cleared and runs again, with the conf that it had."""

from __future__ import annotations

from names import DAG, START, EmptyOperator, PythonOperator, TriggerDagRunOperator, tell


def trigger(task_id: str, number: int, **more: object) -> TriggerDagRunOperator:
    return TriggerDagRunOperator(
        task_id=task_id,
        trigger_dag_id="trigger_reset_again",
        trigger_run_id="the_run",
        conf={"number": number},
        wait_for_completion=True,
        poke_interval=1,
        **more,
    )


with DAG("trigger_reset", schedule="@once", start_date=START):
    first = trigger("first", 1, reset_dag_run=True)
    second = trigger("second", 2, reset_dag_run=True)
    refused = trigger("refused", 3)
    first >> second >> refused >> EmptyOperator(task_id="after", trigger_rule="all_failed")

with DAG("trigger_reset_again", schedule=None, start_date=START):
    PythonOperator(
        task_id="task", python_callable=lambda dag_run: tell("trigger_reset", f"conf {dag_run.conf['number']}")
    )
