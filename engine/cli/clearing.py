"""``windsock tasks clear`` and ``tasks set-state``: choose and ask. :mod:`engine.metastore.by_hand` does it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import click
from sqlalchemy import Row

from engine.cli.errors import Misuse
from engine.cli.naming import closest
from engine.metastore import clearing
from engine.metastore.graphs import build_graph
from engine.metastore.states import TaskState

if TYPE_CHECKING:
    from engine.authoring.serialized import SerializedDag
    from engine.metastore.store import Store

_SHOWN: Final = 20
RUNNING: Final = (TaskState.QUEUED, TaskState.RUNNING)


def read_date(option: str, text: str | None, timezone: str) -> datetime | None:
    """A date or moment, ISO 8601; without an offset in the default time zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Misuse(f"{option} must look like 2026-11-23 or 2026-11-23T14:00:00+00:00, not {text}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))


def chosen_tasks(dag: SerializedDag, regex: str | None, *, upstream: bool, downstream: bool) -> set[str]:
    """The tasks whose id matches somewhere, with what is around them. Raises Misuse where none does."""
    try:
        pattern = re.compile(regex or "")
    except re.error as error:
        raise Misuse(f"--task-regex {regex} is not a regular expression: {error}") from error
    matching = {task_id for task_id in dag.by_id if pattern.search(task_id)}
    if not matching:
        raise Misuse(f"no task of {dag.dag_id} matches {regex}{closest(regex or '', dag.by_id)}")
    graph = build_graph(dag)
    above = graph.upstream_of(matching) if upstream else set()
    below = graph.downstream_of(matching) if downstream else set()
    return matching | above | below


def instances(store: Store, dag_id: str, tasks: set[str] | None, **which: Any) -> list[Row[Any]]:
    """See :func:`clearing.select_instances`."""
    with store.read() as connection:
        return clearing.select_instances(connection, dag_id, tasks, **which)


def ask(rows: Sequence[Row[Any]]) -> bool:
    """Show what is to be cleared, and ask."""
    for row in rows[:_SHOWN]:
        click.echo(f"  {row.run_id}  {row.task_id}  {row.state or 'waiting'}")
    if len(rows) > _SHOWN:
        click.echo(f"  ... and {len(rows) - _SHOWN} more")
    return click.confirm(f"Clear {counted(rows)}?")


def counted(rows: Sequence[Row[Any]]) -> str:
    """``3 tasks of 2 runs``."""
    tasks, runs = len(rows), len({row.run_id for row in rows})
    return f"{tasks} task{'s' if tasks != 1 else ''} of {runs} run{'s' if runs != 1 else ''}"
