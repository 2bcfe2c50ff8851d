"""``windsock dags``."""

from __future__ import annotations

import sys

import click

from engine.cli.naming import PARSED_WITHIN_SECONDS, find_dag
from engine.cli.opening import open_store
from engine.cli.output import output_option, show, shown
from engine.config import load


@click.group()
def dags() -> None:
    """List, trigger, pause DAGs; show import errors."""


@dags.command("list")
@output_option
def list_dags(output: str) -> None:
    """List the DAGs that the DAG processor found."""
    from engine.cli import queries

    settings = load()
    with open_store(settings) as store, store.read() as connection:
        rows = queries.list_dags(connection)
        errors = len(queries.import_errors(connection))
    columns = {"dag_id": "DAG", "is_paused": "paused", "last_state": "last run", "next_run": "next run (UTC)"}
    empty = f"No DAGs yet. Put a DAG file into {settings.core.dags_folder}, and see that all runs: windsock status"
    show(rows, output, columns=columns, empty=empty)
    if errors and output == "table":
        files = "1 file" if errors == 1 else f"{errors} files"
        click.echo(f"\n{files} cannot be imported: windsock dags errors", err=True)


@dags.command()
@click.argument("dag_id", metavar="DAG")
@output_option
def runs(dag_id: str, output: str) -> None:
    """List the newest runs of a DAG."""
    from engine.cli import queries

    with open_store() as store:
        with store.read() as connection:
            rows = queries.list_runs(connection, dag_id, limit=50)
        if not rows:
            find_dag(store, dag_id)
    columns = {"run_id": "run", "state": "state", "start_date": "started (UTC)", "end_date": "ended (UTC)"}
    show(rows, output, columns=columns, empty=f"No runs yet. Make one: windsock dags trigger {dag_id}")


@dags.command()
@click.argument("dag_id", metavar="DAG")
@click.option("--conf", help="What the tasks read as dag_run.conf: a JSON object.")
@click.option("--run-id", help="A name for the run; by default manual__<logical date>.")
@click.option("--logical-date", help="ISO 8601; now by default.")
@click.option("--wait", is_flag=True, help="Follow the run to its end; exit status 1 when it failed.")
@click.option("--timeout", type=click.FloatRange(min=0), help="With --wait: give up after this many seconds.")
@output_option
def trigger(
    dag_id: str,
    conf: str | None,
    run_id: str | None,
    logical_date: str | None,
    wait: bool,
    timeout: float | None,
    output: str,
) -> None:
    """Start a run of a DAG now."""
    from engine.cli.trigger import create, follow, hindrance, read_conf, read_moment
    from engine.links import run_url
    from engine.metastore.states import RunState

    settings = load()
    values, moment = read_conf(conf), read_moment(logical_date, settings.core.default_timezone)
    with open_store(settings) as store:
        find_dag(store, dag_id, patience=PARSED_WITHIN_SECONDS)
        made = create(store, dag_id, run_id=run_id, logical_date=moment, conf=values)
        url = run_url(settings.webserver.url, dag_id, made)
        quiet = output == "json"
        if not quiet:
            click.echo(f"Triggered {dag_id}: {made}\n{url}")
        if reason := hindrance(store, settings, dag_id):
            click.echo(f"windsock: {reason}", err=True)
        state = follow(store, settings, dag_id, made, timeout, quiet=quiet) if wait else RunState.QUEUED
    if quiet:
        show([{"dag_id": dag_id, "run_id": made, "state": state.value, "url": url}], output)
    if state is RunState.FAILED:
        click.echo(f"See why: windsock tasks states {dag_id} {made}", err=True)
        sys.exit(1)


@dags.command()
@click.argument("dag_id", metavar="DAG")
@click.argument("run_id", metavar="RUN")
@click.argument("task_id", metavar="TASK")
@click.option("--json", "as_json", is_flag=True, help="Short for --output json.")
@output_option
def why(dag_id: str, run_id: str, task_id: str, as_json: bool, output: str) -> None:
    """Say in one sentence why a task is not running. RUN may be `latest`."""
    from datetime import timedelta

    from alerting.clock import database_now
    from engine.cli.errors import Failure
    from engine.cli.naming import closest, find_run
    from engine.metastore.why import decide
    from engine.metastore.why_facts import facts_of_run

    settings = load()
    threshold = timedelta(seconds=settings.scheduler.scheduler_health_check_threshold)
    with open_store(settings) as store:
        run_id = find_run(store, dag_id, None if run_id == "latest" else run_id)
        with store.read() as connection:
            facts = facts_of_run(connection, dag_id, run_id, database_now(connection), threshold) or {}
    if task_id not in facts:
        raise Failure(f"{run_id} has no task {task_id}{closest(task_id, facts)}")
    answer = decide(facts[task_id])
    if as_json or output == "json":
        told = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "state": facts[task_id].state}
        show([told | {"reason": answer.reason, "sentence": answer.sentence}], "json")
    else:
        click.echo(f"{task_id}: {answer.sentence}")


@dags.command()
@click.argument("dag_id", metavar="DAG")
def pause(dag_id: str) -> None:
    """Start no more runs and tasks of a DAG; tasks that run go on."""
    _set_paused(dag_id, paused=True)


@dags.command()
@click.argument("dag_id", metavar="DAG")
def unpause(dag_id: str) -> None:
    """Let a DAG run again."""
    _set_paused(dag_id, paused=False)


@dags.command()
@output_option
def errors(output: str) -> None:
    """Show the files that cannot be imported: what, which line, what to do. Exit status 1 where there are any."""
    from engine.cli import queries

    with open_store() as store, store.read() as connection:
        rows = queries.import_errors(connection)
    if output == "json" or not rows:
        show(rows, output, empty="No import errors.")
    else:
        for row in rows:
            place = f"{row['file']}:{row['line']}" if row["line"] else row["file"]
            click.secho(place, bold=True)
            click.echo(f"  {row['error'] or row['traceback'].strip().splitlines()[-1]}")
            if row["remedy"]:
                click.echo(f"  What to do: {row['remedy']}")
            click.echo(f"  Since {shown(row['since'])} UTC")
    sys.exit(1 if rows else 0)


@dags.command("show")
@click.argument("dag_id", metavar="DAG")
@output_option
def show_dag(dag_id: str, output: str) -> None:
    """Show a DAG: its schedule, its limits, and its tasks with what each waits for."""
    import msgspec

    with open_store() as store:
        version, dag = find_dag(store, dag_id)
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(dag), indent=2).decode())
        return
    click.secho(dag.dag_id, bold=True)
    facts = {
        "file": dag.fileloc,
        "version": version,
        "schedule": describe_schedule(dag.schedule),
        "start date": shown(dag.start_date),
        "limits": f"{dag.max_active_runs} runs, {dag.max_active_tasks} tasks at once",
        "tags": shown(dag.tags),
        "description": shown(dag.description),
    }
    for name, value in facts.items():
        click.echo(f"  {name + ':':<13} {value}")
    click.echo()
    rows = [{"task": task.task_id, "operator": task.operator, "waits for": task.upstream} for task in dag.tasks]
    show(rows, output, empty="No tasks.")


def describe_schedule(schedule: object) -> str:
    """A schedule in words."""
    from datetime import timedelta

    from engine.authoring.serialized import CronSchedule, DeltaSchedule, OnceSchedule

    match schedule:
        case CronSchedule(expression, timezone):
            return f"{expression} ({timezone})"
        case DeltaSchedule(seconds):
            return f"every {timedelta(seconds=seconds)}"
        case OnceSchedule():
            return "once, at the start date"
        case _:
            return "none: only when triggered"


def _set_paused(dag_id: str, *, paused: bool) -> None:
    from engine.metastore.pausing import set_paused

    with open_store() as store:
        find_dag(store, dag_id)
        changed = store.run(lambda tx: set_paused(tx, dag_id, paused=paused))
        store.wake("scheduler")
    word = "paused" if paused else "unpaused"
    click.echo(f"{dag_id} is {word}." if changed else f"{dag_id} was {word} already.")
