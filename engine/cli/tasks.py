"""``windsock tasks``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engine.cli.errors import Failure
from engine.cli.naming import find_dag, find_run, find_task
from engine.cli.opening import open_store
from engine.cli.output import output_option, show
from engine.config import load

if TYPE_CHECKING:
    from engine.config.sections import Logging

_BLOCK: Final = 1 << 16


@click.group()
def tasks() -> None:
    """List tasks, their states and logs."""


@tasks.command("list")
@click.argument("dag_id", metavar="DAG")
@output_option
def list_tasks(dag_id: str, output: str) -> None:
    """List the tasks of a DAG, upstream first."""
    from alerting.operators import as_written

    with open_store() as store:
        _, dag = find_dag(store, dag_id)
    name = as_written if output == "table" else str  # programs get the name that is the label of metrics
    rows = [
        {"task_id": task.task_id, "operator": name(task.operator), "upstream": task.upstream, "retries": task.retries}
        for task in dag.tasks
    ]
    columns = {"task_id": "task", "operator": "operator", "upstream": "waits for", "retries": "retries"}
    show(rows, output, columns=columns, empty=f"{dag_id} has no tasks.")


@tasks.command()
@click.argument("dag_id", metavar="DAG")
@click.argument("run_id", metavar="[RUN]", required=False)
@output_option
def states(dag_id: str, run_id: str | None, output: str) -> None:
    """Show where each task of a run stands; without RUN, or with `latest`, of the newest."""
    from engine.cli import queries

    with open_store() as store:
        run_id = find_run(store, dag_id, run_id)
        with store.read() as connection:
            rows = queries.task_states(connection, dag_id, run_id)
    shown = [
        row | {"attempt": f"{row['try_number']} of {row['max_tries']}", "below": row["marked"] or row["error"]}
        for row in rows
    ]
    columns = {
        "task_id": "task",
        "state": "state",
        "attempt": "attempt",
        "start_date": "started (UTC)",
        "end_date": "ended (UTC)",
    }
    empty = f"{run_id} has not started yet."
    show(rows if output == "json" else shown, output, columns=columns, empty=empty, below="below")


@tasks.command()
@click.argument("dag_id", metavar="DAG")
@click.argument("run_id", metavar="RUN")
@click.argument("task_id", metavar="TASK")
@click.option("--try", "try_number", type=click.IntRange(min=1), help="Which attempt; the last by default.")
@click.option("--map-index", type=int, default=-1, hidden=True)
def logs(dag_id: str, run_id: str, task_id: str, try_number: int | None, map_index: int) -> None:
    """Print the log of a task's attempt. RUN may be `latest`."""
    from engine.cli import queries

    settings = load()
    with open_store(settings) as store:
        run_id = find_run(store, dag_id, run_id)
        with store.read() as connection:
            found = {(task.task_id, task.map_index): task for task in queries.standings(connection, dag_id, run_id)}
        task = found.get((task_id, map_index))
        if task is None:
            find_task(find_dag(store, dag_id)[1], task_id)
            raise Failure(f"{task_id} has not started yet in {run_id}")
    _print_log(settings.logging, dag_id, run_id, task, try_number)


@tasks.command()
@output_option
def unshipped(output: str) -> None:
    """List the logs that wait to be shipped, oldest first, and why: the first 100."""
    from engine.cli import queries

    with open_store() as store, store.read() as connection:
        rows = queries.unshipped(connection, limit=100)
    columns = {"created_at": "since (UTC)", "attempts": "tries", "reason": "reason"}
    told = [row | {"log": "\n".join(filter(None, (row["path"], row["error"])))} for row in rows]
    empty = "No log waits to be shipped."
    show(rows if output == "json" else told, output, columns=columns, empty=empty, below="log")


@tasks.command()
@click.argument("dag_id", metavar="DAG")
@click.argument("task_id", metavar="TASK")
@click.argument("logical_date", metavar="[DATE]", required=False)
@click.option("--conf", help="What the task reads as dag_run.conf: a JSON object.")
@click.option("--file", type=click.Path(exists=True, dir_okay=False), help="The DAG's file, if not in the DAG folder.")
def test(dag_id: str, task_id: str, logical_date: str | None, conf: str | None, file: str | None) -> None:
    """Run one task once, here and now, whatever it waits for. Writes nothing; exit status 1 when it failed."""
    from engine.cli.rehearse import play
    from engine.cli.trigger import read_conf, read_moment

    settings = load()
    moment = read_moment(logical_date, settings.core.default_timezone)
    path = Path(file) if file else None
    play(settings, dag_id, task_id=task_id, logical_date=moment, conf=read_conf(conf), file=path)


def _print_log(settings: Logging, dag_id: str, run_id: str, task: object, try_number: int | None) -> None:
    from engine.cli.queries import TaskStanding
    from engine.logs.finding import LogFinder
    from engine.logs.paths import attempt_log_path
    from engine.logs.reading import EMPTY_LOG, MissingLog, NoLog

    assert isinstance(task, TaskStanding)  # noqa: S101  (said here, since queries is imported late)
    number = try_number or task.try_number
    if not 1 <= number <= task.try_number:
        raise Failure(
            f"{task.task_id} has had {task.try_number or 'no'} attempts so far; it is {task.state or 'waiting'}"
        )
    path = attempt_log_path(dag_id, run_id, task.task_id, number, task.map_index)
    try:
        log = LogFinder.from_settings(settings).find(path)
    except MissingLog as error:
        where = ", and waits there to be shipped" if settings.remote_logging else ""
        raise Failure(
            f"there is no log at {settings.base_log_folder / path}: attempt {number} wrote none, or it ran on another "
            f"machine{where}"
        ) from error
    except NoLog as error:
        raise Failure(f"attempt {number}: {error}") from error
    is_empty = True
    with log.file as file:
        while block := file.read(_BLOCK):
            click.echo(block, nl=False)
            is_empty = False
    if is_empty:
        click.echo(f"windsock: {EMPTY_LOG}", err=True)


@tasks.command()
@click.argument("dag_id", metavar="DAG")
@click.option("--task-regex", "-t", help="Only tasks whose id matches somewhere; all by default.")
@click.option("--run", "run_id", help="Only this run; `latest` is the newest.")
@click.option("--start-date", "-s", help="Only runs from this logical date on: ISO 8601.")
@click.option("--end-date", "-e", help="Only runs up to this logical date.")
@click.option("--upstream", "-u", is_flag=True, help="Also what the tasks stand behind.")
@click.option("--downstream", "-d", is_flag=True, help="Also what stands behind the tasks.")
@click.option("--only-failed", "-f", is_flag=True, help="Only failed tasks, and those that did not run for it.")
@click.option("--only-running", "-r", is_flag=True, help="Only tasks that run now; they are ended first.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def clear(
    dag_id: str,
    task_regex: str | None,
    run_id: str | None,
    start_date: str | None,
    end_date: str | None,
    upstream: bool,
    downstream: bool,
    only_failed: bool,
    only_running: bool,
    yes: bool,
) -> None:
    """Let tasks run again that have run. Their attempts stay in the history.

    A run that has ended is queued, and takes the newest version of its DAG.
    """
    from engine.cli import clearing
    from engine.cli.trigger import hindrance
    from engine.metastore import by_hand

    settings = load()
    zone = settings.core.default_timezone
    since = clearing.read_date("--start-date", start_date, zone)
    until = clearing.read_date("--end-date", end_date, zone)
    states = (*(by_hand.FAILED if only_failed else ()), *(clearing.RUNNING if only_running else ()))
    with open_store(settings) as store:
        _, dag = find_dag(store, dag_id)
        chosen = clearing.chosen_tasks(dag, task_regex, upstream=upstream, downstream=downstream)
        if run_id:
            run_id = find_run(store, dag_id, run_id)
        rows = clearing.instances(store, dag_id, chosen, run_id=run_id, since=since, until=until, states=states)
        if not rows:
            click.echo("Nothing to clear.", err=True)
        elif yes or clearing.ask(rows):
            by_hand.clear(store, settings.webserver.url, rows)
            click.echo(f"Cleared {clearing.counted(rows)}.")
            if reason := hindrance(store, settings, dag_id):
                click.echo(f"windsock: {reason}", err=True)


@tasks.command("set-state")
@click.argument("dag_id", metavar="DAG")
@click.argument("run_id", metavar="RUN")
@click.argument("task_id", metavar="TASK")
@click.argument("state", type=click.Choice(["success", "failed", "skipped"]))
def set_state(dag_id: str, run_id: str, task_id: str, state: str) -> None:
    """Give a task a final state without running it; RUN may be `latest`.

    A running one is ended first. What failed behind it is cleared, so that the run goes on from there.
    """
    from engine.cli import clearing
    from engine.metastore import by_hand
    from engine.metastore.states import TaskState

    settings = load()
    with open_store(settings) as store:
        run_id = find_run(store, dag_id, run_id)
        rows = clearing.instances(store, dag_id, {task_id}, run_id=run_id)
        if not rows:
            find_task(find_dag(store, dag_id)[1], task_id)
            raise Failure(f"{task_id} has not started yet in {run_id}, so there is nothing to mark")
        by_hand.mark(store, settings.webserver.url, rows, TaskState(state))
    ending = " as soon as its attempt has ended" if rows[0].state == "running" else ""
    click.echo(f"{task_id} of {run_id} is marked as {state}{ending}.")
