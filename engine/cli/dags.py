"""``windsock dags``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.naming import PARSED_WITHIN_SECONDS, find_dag
from engine.cli.opening import open_store
from engine.cli.output import output_option, show, shown
from engine.config import load

if TYPE_CHECKING:
    from engine.config import Settings

_MOST_WARNED = 5


@click.group()
def dags() -> None:
    """List, trigger, pause DAGs; show import errors."""


@dags.command("list")
@output_option
def list_dags(output: str) -> None:
    """List the DAGs that the DAG processor found."""
    from engine.cli import queries
    from engine.metastore.dag_warnings import all_warnings

    settings = load()
    with open_store(settings) as store, store.read() as connection:
        rows = queries.list_dags(connection)
        errors = len(queries.import_errors(connection))
        warnings = _redacted(settings, all_warnings(connection))
    rows = [row | {"warnings": warnings.get(row["dag_id"], [])} for row in rows]
    columns = {"dag_id": "DAG", "is_paused": "paused", "last_state": "last run", "next_run": "next run (UTC)"}
    empty = f"No DAGs yet. Put a DAG file into {settings.core.dags_folder}, and see that all runs: windsock status"
    show(rows, output, columns=columns, empty=empty)
    if output == "table":
        _tell_warnings(warnings)
    if errors and output == "table":
        files = "1 file" if errors == 1 else f"{errors} files"
        click.echo(f"\n{files} cannot be imported: windsock dags errors", err=True)


def _redacted(settings: Settings, warnings: dict[str, list[str]]) -> dict[str, list[str]]:
    """What a DAG file gives for an address may be anything, and a secret of the settings too."""
    from engine.logs.redaction import Redactor

    redact = Redactor.from_settings(settings).redact
    return {dag_id: [redact(warning) for warning in told] for dag_id, told in warnings.items()}


def _tell_warnings(warnings: dict[str, list[str]]) -> None:
    """Below a list: what its DAGs ask for and hardly mean, in full for the first few."""
    if warnings:
        click.echo(err=True)
    for dag_id in [*warnings][:_MOST_WARNED]:
        for warning in warnings[dag_id]:
            click.echo(f"{dag_id}: {warning}.", err=True)
    if more := [*warnings][_MOST_WARNED:]:
        count = "1 more DAG has" if len(more) == 1 else f"{len(more)} more DAGs have"
        click.echo(f"{count} warnings: windsock dags show {more[0]}", err=True)


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
@click.argument("logical_date", metavar="[DATE]", required=False)
@click.option("--conf", help="What the tasks read as dag_run.conf: a JSON object.")
@click.option("--file", type=click.Path(exists=True, dir_okay=False), help="The DAG's file, if not in the DAG folder.")
def test(dag_id: str, logical_date: str | None, conf: str | None, file: str | None) -> None:
    """Play one run of a DAG here and now, without a scheduler. Writes nothing; exit status 1 when it failed."""
    from engine.cli.rehearse import play
    from engine.cli.trigger import read_conf, read_moment

    settings = load()
    moment = read_moment(logical_date, settings.core.default_timezone)
    play(settings, dag_id, logical_date=moment, conf=read_conf(conf), file=Path(file) if file else None)


@dags.command()
@click.argument("dag_id", metavar="DAG")
@click.argument("run_id", metavar="[RUN]", default="latest")
@click.argument("task_id", metavar="[TASK]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Short for --output json.")
@output_option
def why(dag_id: str, run_id: str, task_id: str | None, as_json: bool, output: str) -> None:
    """Say why a task is not running, in one sentence; without TASK of each that has not ended.

    RUN may be `latest`, as without one.
    """
    from engine.cli.why import tell

    tell(load(), dag_id, run_id, task_id, as_json=as_json or output == "json")


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

    from alerting.operators import as_written
    from engine.metastore.dag_warnings import warnings_of

    settings = load()
    with open_store(settings) as store:
        version, dag = find_dag(store, dag_id)
        with store.read() as connection:
            warnings = _redacted(settings, warnings_of(connection, {dag_id: msgspec.json.encode(dag)})).get(dag_id, [])
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(dag), indent=2).decode())
        return
    click.secho(dag.dag_id, bold=True)
    facts = {
        "file": dag.fileloc,
        "version": version,
        "schedule": describe_schedule(dag.schedule),
        "start date": f"{shown(dag.start_date)} UTC" if dag.start_date else "-",
        "limits": f"{dag.max_active_runs} runs, {dag.max_active_tasks} tasks at once",
        "tags": shown(dag.tags),
        "description": shown(dag.description),
    }
    for name, value in facts.items():
        click.echo(f"  {name + ':':<13} {value}")
    for warning in warnings:
        click.echo(f"  {'warning:':<13} {warning}")
    click.echo()
    rows = [
        {"task": task.task_id, "operator": as_written(task.operator), "waits for": task.upstream} for task in dag.tasks
    ]
    show(rows, output, empty="No tasks.")


def describe_schedule(schedule: object) -> str:
    """A schedule in words."""
    from datetime import timedelta

    from engine.authoring.serialized import ContinuousSchedule, CronSchedule, DeltaSchedule, OnceSchedule

    match schedule:
        case CronSchedule(expression, timezone):
            return f"{expression} ({timezone})"
        case DeltaSchedule(seconds):
            return f"every {timedelta(seconds=seconds)}"
        case OnceSchedule():
            return "once, at the start date"
        case ContinuousSchedule():
            return "one run after the other"
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


@dags.command()
@click.argument("dag_id", metavar="DAG")
@click.option("--start-date", "-s", help="The first logical date: ISO 8601.")
@click.option("--end-date", "-e", help="The last logical date, included.")
@click.option("--max-active-runs", type=click.IntRange(min=1), default=10, show_default=True, help="Runs at once.")
@click.option(
    "--reprocess",
    type=click.Choice(["none", "failed", "completed"]),
    default="none",
    show_default=True,
    help="Which of the runs that have ended already run again.",
)
@click.option("--run-backwards", is_flag=True, help="The newest interval first.")
@click.option("--conf", help="What the tasks of new runs read as dag_run.conf: a JSON object.")
@click.option("--dry-run", is_flag=True, help="Show what would happen, and do nothing.")
@click.option("--no-wait", is_flag=True, help="Do not watch the runs.")
@click.option("--cancel", is_flag=True, help="Start no more runs of the DAG's backfill; what runs goes on.")
@output_option
def backfill(
    dag_id: str,
    start_date: str | None,
    end_date: str | None,
    max_active_runs: int,
    reprocess: str,
    run_backwards: bool,
    conf: str | None,
    dry_run: bool,
    no_wait: bool,
    cancel: bool,
    output: str,
) -> None:
    """Run a DAG for intervals of the past. Ctrl-C stops the watching, not the backfill."""
    from engine.cli import backfill as backfilling
    from engine.cli.clearing import read_date
    from engine.cli.errors import Misuse
    from engine.cli.trigger import hindrance, read_conf
    from engine.metastore.backfills import Reprocess, Wish

    settings = load()
    zone = settings.core.default_timezone
    since, until = read_date("--start-date", start_date, zone), read_date("--end-date", end_date, zone)
    values = read_conf(conf)
    with open_store(settings) as store:
        _, dag = find_dag(store, dag_id)
        if cancel:
            number, dropped = backfilling.cancel(store, dag_id)
            rest = f"{dropped} of its runs will not start" if dropped else "all of its runs had begun"
            click.echo(f"Backfill {number} of {dag_id} is cancelled: {rest}; what runs goes on.")
            return
        if since is None or until is None:
            raise Misuse("a backfill needs --start-date and --end-date")
        who = backfilling.who()
        wish = Wish(dag_id, since, until, max_active_runs, Reprocess(reprocess), run_backwards, values, who)
        if dry_run:
            backfilling.tell_plan(store, dag, wish, output)
            return
        number = backfilling.begin(store, settings, wish)
        if output == "json":
            show([backfilling.summary(store, number)], output)
        else:
            facts = backfilling.summary(store, number)
            count = "1 run" if facts["runs"] == 1 else f"{facts['runs']} runs"
            click.echo(f"Backfill {number} of {dag_id}: {count}, {facts['left_out']} left out.")
            if reason := hindrance(store, settings, dag_id):
                click.echo(f"windsock: {reason}", err=True)
        if not no_wait and output != "json":
            backfilling.follow(store, settings, dag_id, number)


@dags.command("set-state")
@click.argument("dag_id", metavar="DAG")
@click.argument("run_id", metavar="RUN")
@click.argument("state", type=click.Choice(["success", "failed"]))
def set_state(dag_id: str, run_id: str, state: str) -> None:
    """End a run by hand; RUN may be `latest`. Tasks that run are ended first."""
    from engine.cli.naming import find_run
    from engine.metastore import by_hand

    settings = load()
    with open_store(settings) as store:
        run_id = find_run(store, dag_id, run_id)
        end = by_hand.succeed_run if state == "success" else by_hand.fail_run
        end(store, settings.webserver.url, dag_id, run_id)
    click.echo(f"{run_id} of {dag_id} is marked as {state}.")


@dags.command()
@click.argument("dag_id", metavar="DAG")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--logs", is_flag=True, help="Delete its logs in the log folder too.")
def delete(dag_id: str, yes: bool, logs: bool) -> None:
    """Delete all that is known of a DAG: runs, tasks, XCom values, alerts. Its file stays, and brings it back."""
    from engine.cli import deleting

    settings = load()
    with open_store(settings) as store:
        deleting.delete(store, settings, dag_id, yes=yes, logs=logs)
