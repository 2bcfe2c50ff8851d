"""TriggerDagRunOperator in Airflow: waits for the other run, passes conf, fails where the other fails."""

from __future__ import annotations

from names import DAG, START, BashOperator, EmptyOperator, PythonOperator, TriggerDagRunOperator, tell


def succeed_or_fail(dag_id: str, status: int) -> None:
    with DAG(dag_id, schedule=None, start_date=START):
        BashOperator(task_id="task", bash_command=f"exit {status}")


with DAG("trigger_dagrun", schedule="@once", start_date=START):
    for target in ("trigger_good", "trigger_bad"):
        wait = TriggerDagRunOperator(
            task_id=target,
            trigger_dag_id=f"trigger_dagrun_{target}",
            conf={"from": "trigger_dagrun"},
            wait_for_completion=True,
            poke_interval=1,
        )
        wait >> EmptyOperator(task_id=f"after_{target}")
    TriggerDagRunOperator(task_id="forget", trigger_dag_id="trigger_dagrun_told", conf={"number": 7})

succeed_or_fail("trigger_dagrun_trigger_good", 0)
succeed_or_fail("trigger_dagrun_trigger_bad", 1)

with DAG("trigger_dagrun_told", schedule=None, start_date=START):
    PythonOperator(
        task_id="task", python_callable=lambda dag_run: tell("trigger_dagrun", f"conf {dag_run.conf['number']}")
    )
