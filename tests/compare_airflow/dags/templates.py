"""What Airflow's templates say of a run whose dates are known."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, PythonOperator, tell

FIELDS = {
    "ds": "{{ ds }}",
    "ds_nodash": "{{ ds_nodash }}",
    "ts": "{{ ts }}",
    "ts_nodash": "{{ ts_nodash }}",
    "interval": "{{ data_interval_start }} {{ data_interval_end }}",
    "logical": "{{ logical_date }}",
    "run_id": "{{ run_id }} {{ dag_run.run_type }}",
    "names": "{{ dag.dag_id }} {{ task.task_id }} {{ ti.task_id }} {{ ti.try_number }}",
    "params": "{{ params.greeting }}",
    "macro": "{{ macros.ds_add(ds, 5) }} {{ macros.ds_format(ds, '%Y-%m-%d', '%d.%m.%y') }}",
    "filter": "{{ logical_date | ds }} {{ logical_date | ts_nodash }}",
    "key": "{{ task_instance_key_str }}",
}


def write(wanted: dict[str, str]) -> None:
    for name in FIELDS:
        tell("templates", f"{name}: {wanted[name]}")


with DAG(
    "templates",
    schedule="@daily",
    start_date=START,
    end_date=START + timedelta(days=1),
    catchup=True,
    params={"greeting": "hello"},
):
    PythonOperator(task_id="write", python_callable=write, op_kwargs={"wanted": FIELDS})
