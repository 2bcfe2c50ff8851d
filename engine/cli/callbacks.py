"""``windsock callbacks list|show``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from engine.cli.errors import Failure
from engine.cli.opening import open_store
from engine.cli.output import output_option, show

if TYPE_CHECKING:
    from engine.metastore.callbacks import CallbackEntry

STATES = ("pending", "done", "dead")


@click.group()
def callbacks() -> None:
    """List the callbacks of tasks and DAGs, and show what became of one."""


@callbacks.command("list")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only these; may be repeated.")
@click.option("--dag", "dag_id", help="Only those of one DAG.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@output_option
def list_callbacks(states: tuple[str, ...], dag_id: str | None, limit: int, output: str) -> None:
    """List callbacks, newest first, with how often they were tried, and why they failed."""
    from engine.metastore.callbacks import listing

    with open_store() as store, store.read() as connection:
        found = listing(connection, limit=limit, states=states, dag_id=dag_id)
    rows = [dataclasses.asdict(entry) for entry in found]
    columns = {"id": "id", "when": "when (UTC)", "kind": "callback", "about": "of", "state": "state", "tries": "tries"}
    shown = [
        row | {"about": _about(entry), "when": f"{entry.created_at:%m-%d %H:%M:%S}", "tries": entry.attempts}
        for row, entry in zip(rows, found, strict=True)
    ]
    show(rows if output == "json" else shown, output, columns=columns, empty="No callbacks.", below="error")


@callbacks.command("show")
@click.argument("id", type=int)
@output_option
def show_callback(id: int, output: str) -> None:  # noqa: A002 - the argument's name is in the usage line
    """Show one callback: its outcome, the end of its output, and where its log is."""
    from engine.metastore.callbacks import get

    with open_store() as store, store.read() as connection:
        entry = get(connection, id)
    if entry is None:
        raise Failure(f"there is no callback {id}; see: windsock callbacks list")
    if output == "json":
        show([dataclasses.asdict(entry)], output)
    else:
        _tell(entry)


def _about(entry: CallbackEntry) -> str:
    return ".".join(part for part in (entry.dag_id, entry.task_id) if part)


def _tell(entry: CallbackEntry) -> None:
    click.echo(f"{entry.kind}_callback of {entry.scope} {_about(entry)}, run {entry.run_id or '(gone)'}: {entry.state}")
    if entry.state == "pending":
        click.echo(f"due:    {entry.due_at:%Y-%m-%d %H:%M:%S} UTC")
    if entry.done_at:
        click.echo(f"ended:  {entry.done_at:%Y-%m-%d %H:%M:%S} UTC")
    click.echo(f"tries:  {entry.attempts}, of which {entry.failures} failed")
    for label, value in (("error", entry.error), ("log", entry.log_path)):
        if value:
            click.echo(f"{label + ':':<8}{value}")
    if entry.output:
        click.echo(f"output, its end:\n{entry.output}")
