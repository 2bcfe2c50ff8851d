"""depends_on_past after a run in which Airflow's task was skipped: that is as good as a success."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, BashOperator

with DAG(
    "depends_on_past_skipped",
    schedule="@daily",
    start_date=START,
    end_date=START + timedelta(days=2),
    catchup=True,
    max_active_runs=3,
):
    BashOperator(
        task_id="task", bash_command="test '{{ ds }}' != 2026-01-01 || exit 99; echo '{{ ds }}'", depends_on_past=True
    )
