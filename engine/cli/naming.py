"""Names given on the command line: found, or refused with the closest right one."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from engine.cli.errors import Failure
from engine.metastore.states import ProcessKind

if TYPE_CHECKING:
    from engine.authoring.serialized import SerializedDag
    from engine.metastore.store import Store

_FRESH = timedelta(seconds=20)  # a DAG processor of this age has looked at every file
PARSED_WITHIN_SECONDS = 10.0


def closest(name: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` for the closest of `known`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def find_dag(store: Store, dag_id: str, *, patience: float = 0.0) -> tuple[str, SerializedDag]:
    """The current version of a DAG, and the DAG.

    Right after start its file may not be parsed yet: with `patience` (seconds) and a young DAG processor it is waited
    for, unless the name looks like a slip of the pen. Raises Failure with a hint where there is none.
    """
    from engine.cli import queries

    deadline = time.monotonic() + patience
    told = False
    while True:
        with store.read() as connection:
            found = queries.current_dag(connection, dag_id)
        if found is not None:
            return found
        if time.monotonic() >= deadline or not _may_come(store, dag_id):
            raise Failure(_no_dag(store, dag_id))
        if not told:
            click.echo(f"{dag_id} has not been parsed yet; waiting for the DAG processor...", err=True)
            told = True
        time.sleep(0.1)


def find_run(store: Store, dag_id: str, run_id: str | None) -> str:
    """A run's id; without one, and for `latest`, the newest. Raises Failure where the DAG has no such run."""
    from engine.cli import queries

    with store.read() as connection:
        chosen = queries.newest_run_id(connection, dag_id) if run_id in (None, "latest") else run_id
        known = chosen is not None and queries.run_state(connection, dag_id, chosen) is not None
        others = [] if known else queries.run_ids(connection, dag_id)
    if known and chosen is not None:
        return chosen
    if not others:
        find_dag(store, dag_id)
        raise Failure(f"{dag_id} has no runs yet; make one: windsock dags trigger {dag_id}")
    raise Failure(f"{dag_id} has no run {run_id}{closest(run_id or '', others) or f'; its newest is {others[0]}'}")


def find_task(dag: SerializedDag, task_id: str) -> None:
    """Raise Failure where the DAG has no such task."""
    if task_id not in dag.by_id:
        hint = closest(task_id, dag.by_id) or f"; its tasks are {', '.join(dag.by_id)}"
        raise Failure(f"{dag.dag_id} has no task {task_id}{hint}")


def _may_come(store: Store, dag_id: str) -> bool:
    from alerting.clock import database_now
    from engine.cli import queries

    with store.read() as connection:
        known = queries.active_dag_ids(connection)
        if dag_id in known:
            return True  # it came between two looks
        if closest(dag_id, known):
            return False
        return queries.started_since(connection, ProcessKind.DAG_PROCESSOR, database_now(connection) - _FRESH)


def _no_dag(store: Store, dag_id: str) -> str:
    from engine.cli import queries

    with store.read() as connection:
        known = queries.active_dag_ids(connection)
        errors = queries.import_errors(connection)
    sentence = f"there is no DAG {dag_id}{closest(dag_id, known)}"
    if errors:
        files = "1 DAG file" if len(errors) == 1 else f"{len(errors)} DAG files"
        stop = "" if sentence.endswith("?") else "."
        return f"{sentence}{stop} {files} cannot be imported: windsock dags errors"
    if not known:
        return f"{sentence}: no DAG has been parsed yet. Is the DAG processor running? windsock status"
    return sentence if sentence.endswith("?") else f"{sentence}; see all with: windsock dags list"
