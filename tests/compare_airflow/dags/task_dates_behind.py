"""What stands behind a task that a run does not have: Airflow counts that one as a parent which never ends."""

from __future__ import annotations

from datetime import timedelta

from names import DAG, START, BashOperator, EmptyOperator

LATER = START + timedelta(days=400)
RULES = (
    *("all_success", "all_failed", "all_done", "all_skipped", "one_success", "one_failed", "one_done"),
    *("none_failed", "none_skipped", "none_failed_min_one_success", "always"),
)

for rule in RULES:
    with DAG(f"task_dates_behind_{rule}", schedule="@once", start_date=START):
        absent = EmptyOperator(task_id="absent", start_date=LATER)
        parents = {
            "s": EmptyOperator(task_id="s"),
            "f": BashOperator(task_id="f", bash_command="exit 1"),
            "k": BashOperator(task_id="k", bash_command="exit 99"),
        }
        absent >> EmptyOperator(task_id="after_nothing", trigger_rule=rule)
        for letter, parent in parents.items():
            [absent, parent] >> EmptyOperator(task_id=f"after_{letter}", trigger_rule=rule)
