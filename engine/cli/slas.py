"""``windsock sla``."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.naming import find_dag
from engine.cli.opening import open_store
from engine.cli.output import output_option, show

_COLUMNS = {
    "dag_id": "DAG",
    "run_id": "run",
    "task": "task",
    "state": "state",
    "due_at": "due (UTC)",
    "completed_at": "done (UTC)",
}


@click.group()
def sla() -> None:
    """Show by when tasks and runs are to be done, and which were not."""


@sla.command("list")
@click.option("--dag", "dag_id", help="Of this DAG only.")
@click.option("--state", type=click.Choice(["open", "met", "missed", "cancelled"]), help="In this state only.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="So many at most.")
@output_option
def list_deadlines(dag_id: str | None, state: str | None, limit: int, output: str) -> None:
    """List deadlines: open ones by when they are due, others with the latest first."""
    from engine.cli import queries

    with open_store() as store:
        if dag_id is not None:
            find_dag(store, dag_id)
        with store.read() as connection:
            rows = queries.list_deadlines(connection, dag_id, state, limit)
    show([row | {"task": _what(row)} for row in rows], output, columns=_COLUMNS, empty="No deadlines here.")


def _what(row: dict[str, Any]) -> str:
    if row["task_id"]:
        return str(row["task_id"])
    return f"the run (deadline {row['position']})" if row["position"] else "the run"
