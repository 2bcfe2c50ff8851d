"""XCom as in Airflow: what a task returns or pushes, others pull, by task, key, list and template."""

from __future__ import annotations

from typing import Any

from names import DAG, START, BashOperator, PythonOperator, tell


def give(ti: Any) -> dict[str, Any]:
    ti.xcom_push(key="extra", value=[1, 2.5, None, True, "é"])
    return {"n": 1, "list": [1, 2], "text": "a"}


def take(ti: Any) -> None:
    tell("xcom", repr(ti.xcom_pull(task_ids="give")))
    tell("xcom", repr(ti.xcom_pull(task_ids="give", key="extra")))
    tell("xcom", repr(list(ti.xcom_pull(task_ids=["bash", "echo"]))))
    tell("xcom", repr(ti.xcom_pull(task_ids="give", key="never")))
    tell("xcom", repr(ti.xcom_pull(task_ids="silent")))


with DAG("xcom", schedule="@once", start_date=START):
    giver = PythonOperator(task_id="give", python_callable=give)
    bash = BashOperator(task_id="bash", bash_command="echo first; echo last")
    echo = BashOperator(task_id="echo", bash_command="echo {{ ti.xcom_pull(task_ids='give')['text'] }}")
    silent = BashOperator(task_id="silent", bash_command="echo unheard", do_xcom_push=False)
    taker = PythonOperator(task_id="take", python_callable=take)
    giver >> echo >> taker
    [bash, silent] >> taker
