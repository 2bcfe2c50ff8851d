"""Exit status 99, or the one that is given, skips Airflow's BashOperator; another is a failure."""

from __future__ import annotations

from names import DAG, START, BashOperator

with DAG("bash_skip_code", schedule="@once", start_date=START):
    BashOperator(task_id="usual", bash_command="exit 99")
    BashOperator(task_id="own", bash_command="exit 7", skip_on_exit_code=7)
    BashOperator(task_id="one_of_two", bash_command="exit 8", skip_on_exit_code=[7, 8])
    BashOperator(task_id="usual_is_off", bash_command="exit 99", skip_on_exit_code=7)
