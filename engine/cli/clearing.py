"""``windsock tasks clear`` and the two ``set-state`` commands: choose, ask, do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import click
from sqlalchemy import Row, select

from engine.cli.errors import Failure, Misuse
from engine.cli.naming import closest
from engine.metastore import clearing
from engine.metastore.announce import Announcer
from engine.metastore.changes import Changes
from engine.metastore.graphs import build_graph
from engine.metastore.ledger import Ledger
from engine.metastore.states import TaskState
from engine.metastore.tables import DagRun

if TYPE_CHECKING:
    from engine.authoring.serialized import SerializedDag
    from engine.config import Settings
    from engine.metastore.store import Store, Tx

_AT_ONCE: Final = 2000  # task instances of one transaction, if no run has more
_SHOWN: Final = 20
FAILED: Final = (TaskState.FAILED, TaskState.UPSTREAM_FAILED)
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


def clear(store: Store, settings: Settings, rows: Sequence[Row[Any]]) -> None:
    """Clear task instances, some runs at a time, and wake whoever goes on with them."""
    for ids in _batches(rows):
        perform(store, settings, lambda ledger, tx, ids=ids: ledger.clear(tx, ids))  # type: ignore[misc]


def _batches(rows: Sequence[Row[Any]]) -> Iterator[list[int]]:
    batch: list[int] = []
    last = None
    for row in rows:  # by run
        if len(batch) >= _AT_ONCE and row.run_id != last:
            yield batch
            batch = []
        batch.append(row.id)
        last = row.run_id
    if batch:
        yield batch


def perform(store: Store, settings: Settings, work: Callable[[Ledger, Tx], Changes | None]) -> Changes | None:
    """Change states in one transaction, as a scheduler does: what follows from it is told."""
    ledger = Ledger(Announcer(settings.webserver.url))

    def transaction(tx: Tx) -> Changes | None:
        ledger.begin()
        return work(ledger, tx)

    changes = store.run(transaction)
    store.wake("scheduler")
    if changes and changes.announced:
        store.wake("notifier")
    return changes


def mark(store: Store, settings: Settings, rows: Sequence[Row[Any]], state: TaskState) -> None:
    """Give task instances of one run a final state."""
    ids = {row.id for row in rows}
    perform(store, settings, lambda ledger, tx: ledger.mark(tx, ids, state))


def succeed_run(store: Store, settings: Settings, dag_id: str, run_id: str) -> None:
    """Mark every task of a run as success; the run then ends so."""
    rows = instances(store, dag_id, None, run_id=run_id)
    if not rows:
        raise Failure(f"{run_id} has not started yet, so it has no tasks to mark")
    mark(store, settings, [row for row in rows if row.state != TaskState.SUCCESS], TaskState.SUCCESS)


def fail_run(store: Store, settings: Settings, dag_id: str, run_id: str) -> None:
    """Fail a running run. Raises Failure where it does not run."""
    wanted = select(DagRun.id, DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    with store.read() as connection:
        run = connection.execute(wanted).one()
    if perform(store, settings, lambda ledger, tx: ledger.fail_run(tx, run.id)) is None:
        raise Failure(f"{run_id} is {run.state}; only a running run can be failed")
