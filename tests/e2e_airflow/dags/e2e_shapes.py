"""DAGs for Airflow 2.11 and 3.3 whose tasks end in every way that there is. Schedules start them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow import DAG
from airflow.exceptions import AirflowSkipException
from airflow.utils.task_group import TaskGroup

try:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.operators.python import PythonOperator
except ImportError:  # 2.11 brings its own
    from airflow.operators.bash import BashOperator
    from airflow.operators.python import PythonOperator

START = datetime(2026, 1, 1, tzinfo=UTC)


def skip() -> None:
    raise AirflowSkipException("skipped on purpose")


def fail_first(ti: object) -> None:
    if ti.try_number == 1:  # type: ignore[attr-defined]
        raise ValueError("the first try fails on purpose")


with DAG("e2e_success", schedule="@daily", start_date=START, end_date=datetime(2026, 1, 3, tzinfo=UTC), catchup=True):
    BashOperator(task_id="bash", bash_command="true") >> PythonOperator(task_id="python", python_callable=print)

with DAG("e2e_fail", schedule="@once", start_date=START):
    BashOperator(task_id="fails", bash_command="false") >> BashOperator(task_id="waits", bash_command="true")

with DAG("e2e_retry", schedule="@once", start_date=START):
    PythonOperator(task_id="second_try", python_callable=fail_first, retries=2, retry_delay=timedelta(seconds=1))

with DAG("e2e_skip", schedule="@once", start_date=START):
    PythonOperator(task_id="skips", python_callable=skip)

with DAG("e2e_groups", schedule="@once", start_date=START), TaskGroup("outer"), TaskGroup("inner"):
    BashOperator(task_id="load", bash_command="sleep 2")

with DAG("e2e_pool", schedule="@once", start_date=START):
    for number in range(3):
        BashOperator(task_id=f"narrow_{number}", bash_command="sleep 4", pool="e2e_pool")

with DAG("e2e.dotted-id", schedule="@once", start_date=START):
    BashOperator(task_id="plain", bash_command="true")

with DAG("e2e_later", schedule="@yearly", start_date=datetime(2100, 1, 1, tzinfo=UTC)):
    BashOperator(task_id="waits_for_its_time", bash_command="true")
