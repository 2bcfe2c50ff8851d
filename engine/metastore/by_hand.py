"""What people do to runs by hand: from the command line, from the pages, and through a task that clears a run.

Each is a verb of :class:`~engine.metastore.ledger.Ledger` in a transaction of its own, told as the scheduler's are, and
then whoever goes on with it is woken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Row, select

from engine.metastore.announce import Announcer
from engine.metastore.changes import Changes
from engine.metastore.clearing import select_instances
from engine.metastore.errors import Refused
from engine.metastore.ledger import Ledger
from engine.metastore.states import TaskState
from engine.metastore.store import Store, Tx
from engine.metastore.tables import DagRun

_AT_ONCE: Final = 2000  # task instances of one transaction, if no run has more
FAILED: Final = (TaskState.FAILED, TaskState.UPSTREAM_FAILED)


def perform(store: Store, base_url: str, work: Callable[[Ledger, Tx], Changes | None]) -> Changes | None:
    """Change states in one transaction. `base_url` is where the pages are, for what is told of it."""
    ledger = Ledger(Announcer(base_url))

    def transaction(tx: Tx) -> Changes | None:
        ledger.begin()
        return work(ledger, tx)

    changes = store.run(transaction)
    store.wake("scheduler")
    if changes and changes.announced:
        store.wake("notifier")
    return changes


def clear(store: Store, base_url: str, rows: Sequence[Row[Any]]) -> None:
    """Clear task instances, rows of :func:`select_instances`, some runs at a time."""
    for ids in _batches(rows):
        perform(store, base_url, lambda ledger, tx, ids=ids: ledger.clear(tx, ids))  # type: ignore[misc]


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


def mark(store: Store, base_url: str, rows: Sequence[Row[Any]], state: TaskState) -> None:
    """Give task instances of one run a final state."""
    ids = {row.id for row in rows}
    perform(store, base_url, lambda ledger, tx: ledger.mark(tx, ids, state))


def succeed_run(store: Store, base_url: str, dag_id: str, run_id: str) -> None:
    """Mark every task of a run as success; the run then ends so. Raises Refused where it has none yet."""
    with store.read() as connection:
        rows = select_instances(connection, dag_id, None, run_id=run_id)
    if not rows:
        raise Refused(f"{run_id} has not started yet, so it has no tasks to mark")
    mark(store, base_url, [row for row in rows if row.state != TaskState.SUCCESS], TaskState.SUCCESS)


def fail_run(store: Store, base_url: str, dag_id: str, run_id: str) -> None:
    """Fail a running run. Raises Refused where it does not run, or is not there any more."""
    wanted = select(DagRun.id, DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)

    def work(ledger: Ledger, tx: Tx) -> Changes:
        run = tx.connection.execute(wanted).first()
        if run is None:
            raise Refused(f"{run_id} of {dag_id} is not there any more; somebody has deleted it")
        changes = ledger.fail_run(tx, run.id)
        if changes is None:
            raise Refused(f"{run_id} is {run.state}; only a running run can be failed")
        return changes

    perform(store, base_url, work)
