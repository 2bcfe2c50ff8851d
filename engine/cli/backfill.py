"""``windsock dags backfill``: begin one, watch it, cancel it."""

from __future__ import annotations

import getpass
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from engine.cli.errors import Failure
from engine.cli.output import show
from engine.cli.trigger import hindrance
from engine.metastore import backfills
from engine.metastore.backfills import Plan, Progress, Wish
from engine.metastore.by_hand import perform
from engine.metastore.changes import Changes
from engine.metastore.states import RunState

if TYPE_CHECKING:
    from engine.authoring.serialized import SerializedDag
    from engine.config import Settings
    from engine.metastore.ledger import Ledger
    from engine.metastore.store import Store, Tx

_POLL_SECONDS = 0.2
_HINT_SECONDS = 5.0


def tell_plan(store: Store, dag: SerializedDag, wish: Wish, output: str) -> None:
    """Show what a backfill would do, and do nothing."""
    steps = store.run(lambda tx: backfills.plan(tx, dag, wish))
    words = {Plan.NEW: "new run", Plan.AGAIN: "run again", Plan.EXISTS: "left out: ran already"}
    rows = [{"logical_date": step.interval.start, "plan": words.get(step.plan, "left out: runs now")} for step in steps]
    show(rows, output, columns={"logical_date": "logical date (UTC)", "plan": "what would happen"})


def begin(store: Store, settings: Settings, wish: Wish) -> int:
    """Begin a backfill and wake the scheduler; returns its id."""
    ids: list[int] = []

    def work(ledger: Ledger, tx: Tx) -> Changes:
        backfill_id, changes = ledger.start_backfill(tx, wish)
        ids[:] = [backfill_id]
        return changes

    perform(store, settings.webserver.url, work)
    return ids[0]


def who() -> str:
    """Who asks, for the pages."""
    return f"cli:{getpass.getuser()}"


def cancel(store: Store, dag_id: str) -> tuple[int, int]:
    """Cancel the DAG's backfill: its id, and how many runs were dropped. Raises Failure where none is under way."""

    def work(tx: Tx) -> tuple[int, int] | None:
        backfills.complete(tx)
        backfill_id = backfills.open_backfill(tx.connection, dag_id)
        if backfill_id is None:
            return None
        dropped = backfills.cancel(tx, backfill_id)
        backfills.complete(tx)
        return backfill_id, dropped

    done = store.run(work)
    if done is None:
        raise Failure(f"no backfill of {dag_id} is under way")
    return done


def watch(store: Store, settings: Settings, backfill_id: int) -> Progress:
    """Show the progress until the last run has ended. Ctrl-C ends the watching, not the backfill."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, TextColumn("{task.fields[states]}"), console=Console(stderr=True)) as bar:
        now = _look(store, backfill_id)
        line = bar.add_task(f"backfill {backfill_id}", total=now.total, states="")
        hint_at = time.monotonic() + _HINT_SECONDS
        while now.completed_at is None and now.ended < now.total:
            time.sleep(_POLL_SECONDS)
            before, now = now, _look(store, backfill_id)
            bar.update(line, completed=now.ended, total=now.total, states=states_in_words(now))
            if now.ended != before.ended:
                hint_at = time.monotonic() + _HINT_SECONDS
            elif time.monotonic() > hint_at:
                hint_at = time.monotonic() + _HINT_SECONDS
                if reason := hindrance(store, settings, now.dag_id):
                    bar.console.print(f"windsock: {reason}", highlight=False)
        bar.update(line, completed=now.ended, total=now.total, states=states_in_words(now))
    return now


def _look(store: Store, backfill_id: int) -> Progress:
    with store.read() as connection:
        return backfills.progress(connection, backfill_id)


def states_in_words(progress: Progress) -> str:
    """``3 success, 1 running``."""
    return ", ".join(f"{n} {state}" for state, n in sorted(progress.states.items()))


def follow(store: Store, settings: Settings, dag_id: str, backfill_id: int) -> None:
    """Watch to the end; exit status 1 where a run failed."""
    try:
        end = watch(store, settings, backfill_id)
    except KeyboardInterrupt:
        click.echo(
            f"\nBackfill {backfill_id} goes on. Watch the runs: windsock dags runs {dag_id}. "
            f"Stop it: windsock dags backfill {dag_id} --cancel",
            err=True,
        )
        sys.exit(130)
    click.echo(f"Backfill {backfill_id} is done: {states_in_words(end) or 'no runs'}.")
    if end.states.get(RunState.FAILED):
        click.echo(f"See what failed: windsock dags runs {dag_id}", err=True)
        sys.exit(1)


def summary(store: Store, backfill_id: int) -> dict[str, Any]:
    """A backfill for programs."""
    now = _look(store, backfill_id)
    return {"backfill_id": now.id, "dag_id": now.dag_id, "runs": now.total, "left_out": now.left_out}
