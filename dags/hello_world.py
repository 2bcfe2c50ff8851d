"""The smallest useful DAG: a shell command, then a Python function that sees when it runs.

Start it by hand: ``windsock dags trigger hello_world --wait``, or press the button on its page.
"""

from __future__ import annotations

from engine import DAG, BashOperator, PythonOperator


def greet(name: str, ds: str) -> str:
    """Arguments named like a context value (``ds``: the run's date) are filled in; what is returned becomes XCom."""
    greeting = f"Hello {name}, this is the run of {ds}."
    print(greeting)
    return greeting


with DAG(
    dag_id="hello_world",
    description="Two tasks, one after the other",
    # No schedule: it runs when somebody asks for it, and surprises nobody.
    schedule=None,
    params={"name": "world"},
    tags=["example"],
    doc_md=__doc__,
):
    hello = BashOperator(task_id="hello", bash_command="echo 'Hello from run {{ run_id }}'")
    world = PythonOperator(task_id="world", python_callable=greet, op_kwargs={"name": "{{ params.name }}"})

    hello >> world
