"""Functions of your own that are called when something fails: once for the task, once for the DAG as a whole.

Both are called in a process of their own after the failure has been recorded, so that they are called even when the
task's process was killed. Start it by hand; it fails on purpose.
"""

from __future__ import annotations

from typing import Any

from engine import DAG, BashOperator


def task_failed(context: dict[str, Any]) -> None:
    """Called once the task has failed for good, after its last retry."""
    ti = context["ti"]
    print(f"Task {ti.task_id} of {ti.dag_id} failed in attempt {ti.try_number}. Its log: {ti.log_url}")


def dag_failed(context: dict[str, Any]) -> None:
    """Called once the run has failed."""
    print(f"Run {context['run_id']} of {context['dag_run'].dag_id} failed.")


with DAG(
    dag_id="example_failure_callback",
    description="Callbacks when a task and when a DAG run fails",
    schedule=None,
    on_failure_callback=dag_failed,
    tags=["example", "alerts"],
    doc_md=__doc__,
):
    BashOperator(task_id="fail", bash_command="echo 'About to fail.'; exit 1", on_failure_callback=task_failed)
