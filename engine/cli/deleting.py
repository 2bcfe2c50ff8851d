"""``windsock dags delete``: say what there is of a DAG, ask, delete it, and say what stays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engine.cli import queries
from engine.cli.errors import Failure
from engine.cli.naming import closest
from engine.logs.paths import dag_log_folder
from engine.metastore import deletion

if TYPE_CHECKING:
    from engine.config import Settings
    from engine.metastore.store import Store

_SHOWN: Final = {"dag_run": "run", "task_instance": "task instance", "backfill": "backfill", "alert_event": "alert"}


def delete(store: Store, settings: Settings, dag_id: str, *, yes: bool, logs: bool) -> None:
    """Raises Failure where there is no such DAG or its file is there, and InUse while something of it runs."""
    with store.read() as connection:
        counts = deletion.counts(connection, dag_id)
        file = deletion.file_of(connection, dag_id)
        if not counts:
            raise Failure(f"there is no DAG {dag_id}{closest(dag_id, queries.active_dag_ids(connection))}")
        deletion.refuse_while_active(connection, dag_id)
    if file and Path(file).exists():
        raise Failure(
            f"{dag_id} is still defined by {file}, so it would come back, without its past, while it is deleted. "
            "Remove the file first; or take the DAG out of it, and wait until the scheduler has read the file again"
        )
    told = ", ".join(_counted(number, _SHOWN[name]) for name, number in counts.items() if name in _SHOWN)
    also = " and its logs" if logs else ""
    if not yes:
        click.confirm(f"Delete {dag_id}{also}? It has {told or 'no runs'}. Nothing brings them back", abort=True)
    deletion.delete_dag(store, dag_id)
    click.echo(f"Deleted {dag_id}{f': {told}' if told else ''}.")
    _tell_of_logs(store, settings, dag_id, remove=logs)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _tell_of_logs(store: Store, settings: Settings, dag_id: str, *, remove: bool) -> None:
    relative = dag_log_folder(dag_id)
    folder = settings.logging.base_log_folder / relative
    if not remove:
        if folder.exists():
            click.echo(f"Its logs stay: {folder}")
        return
    store.run(lambda tx: deletion.forget_shipments(tx, str(relative)))
    if folder.exists():
        shutil.rmtree(folder)
        click.echo(f"Deleted {folder}")
    if settings.logging.remote_logging:
        click.echo(f"What was shipped stays: {settings.logging.remote_base_log_folder}/{relative}")
