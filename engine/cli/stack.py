"""``windsock up``, ``down``, ``restart``, ``status``, ``standalone``."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from engine.cli.errors import Failure
from engine.cli.output import output_option
from engine.config import find_home, load
from engine.config.fingerprint import fingerprint, matches
from engine.stack import stay
from engine.stack.component import Component, Plan
from engine.stack.control import (
    Ended,
    Outcome,
    block_taken,
    call_supervisor,
    hand_over,
    sent_away_on_failure,
    stop,
    take_stack,
    wait_until_healthy,
)
from engine.stack.health import ReadBeats, Report, all_core_healthy, examine
from engine.stack.state import read_state, running_pid
from engine.stack.supervise import last_lines, log_path

if TYPE_CHECKING:
    from engine.cli.started_elsewhere import Elsewhere
    from engine.config import Settings
    from engine.metastore.store import Store


_PROMPT = timedelta(seconds=10)  # what is delivered within it is no news


class Interrupted(Exception):
    """Ctrl-C, TERM or a closed terminal."""


@click.command()
@click.option("--detach", "-d", is_flag=True, help="Return when everything is healthy; stop it with windsock down.")
def up(detach: bool) -> None:
    """Start everything on this machine, with monitoring.

    Windsock itself, and Prometheus, Alertmanager and Grafana where they are installed. Without --detach it stays in
    the foreground, and Ctrl-C stops everything.
    """
    from engine.stack.inventory import all_components

    settings = load()
    _up(settings, all_components(settings), detach=detach)


@click.command()
def standalone() -> None:
    """Start the core only, in the foreground; Ctrl-C stops it."""
    from engine.stack.inventory import core_components

    settings = load()
    _up(settings, core_components(settings), detach=False)


@click.command()
def down() -> None:
    """Stop what up started, and wait until it is gone."""
    home = find_home()
    is_stopped = stop(home)  # whatever became of the settings since the start
    if is_stopped:
        click.echo("Windsock is stopped.")  # before the metastore is asked, which may not answer
    found, waiting = _left()
    if is_stopped:
        if waiting:
            click.echo(waiting)
    elif found:
        click.echo(f"Nothing was stopped: the stack of this home ({home}) is not running.")
    else:
        click.echo("Windsock is not running.")
    _tell_elsewhere(found, with_remedy=True)


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Only look for mistakes in the settings and in alerting.yml.")
def restart(only_check: bool) -> None:
    """Stop what up started, and start it with the present settings, detached.

    Nothing is stopped where windsock.toml, the environment or alerting.yml has a mistake.
    """
    from engine.stack.inventory import all_components

    settings = _without_mistakes()
    if only_check:
        return
    stop(settings.home)
    _up(settings, all_components(settings), detach=True)


def _left() -> tuple[list[Elsewhere], str | None]:
    """Who works on this metastore all the same, and what alerts wait in it; nothing where neither can be said.

    That is where the settings are wrong, or the metastore cannot be asked: what was asked for is done.
    """
    from engine.cli.opening import if_there
    from engine.cli.standing import kept
    from engine.cli.started_elsewhere import beating_elsewhere
    from engine.config import ConfigError

    try:
        settings = load()
    except ConfigError:
        return [], None
    seen = if_there(settings, lambda connection: [(beating_elsewhere(connection, settings), kept(connection))])
    return seen[0] if seen else ([], None)


def _tell_elsewhere(found: Sequence[Elsewhere], *, with_remedy: bool = False) -> None:
    from engine.cli.started_elsewhere import how_to_stop, named

    for line in named(found):
        click.echo(line)
    if found and with_remedy:
        click.echo(how_to_stop(found))


def _without_mistakes() -> Settings:
    """The present settings; raises Failure that says that nothing was stopped for that."""
    from alerting.config import ConfigError as RoutingError
    from alerting.config import load as load_routing
    from engine.config import ConfigError

    try:
        settings = load()
        load_routing(settings.alerting.config_file)  # its variables, too: the notifier is started with ours
    except (ConfigError, RoutingError) as error:
        raise Failure(f"{error}\nNothing was stopped. Correct this first") from error
    return settings


@click.command()
@output_option
def status(output: str) -> None:
    """Ask each component how it is. Exit status 0 only when the whole core is healthy."""
    from engine.config import ConfigError

    try:
        settings = load()
    except ConfigError as error:
        _show_blindly(find_home(), error, output)
    from engine.cli.started_elsewhere import started_elsewhere

    found = started_elsewhere(settings)
    if running_pid(settings.home) is None:
        _not_running(settings, found, output)
    if read_state(settings.home) is None:
        raise Failure("the stack is just starting or stopping; ask again in a moment: windsock status")
    with _beats(settings) as read_beats:
        reports = _look(settings, read_beats)
    if output == "json":
        _echo_json(reports, found)
    else:
        _show(settings, reports, with_uptime=True)
        _tell_elsewhere(found)
        refused, lines = _standing(settings)
        for line in (*refused, *lines):
            click.echo(line)
        _tell_other_settings(settings)
        _warn(settings, alerting_file=not refused)
    sys.exit(0 if all_core_healthy(reports) else 1)


def _show_blindly(home: Path, mistakes: Exception, output: str) -> NoReturn:
    """What can be told of a running stack without its settings; raises Failure with what is wrong with them."""
    from engine.cli import blind_status

    reports = blind_status.look(home)
    if output == "json":
        _echo_json(reports)
    elif reports:
        from engine.screen import screen
        from engine.stack.table import briefly, stack_table

        console = screen()
        console.print(stack_table(reports, with_uptime=True))
        console.print()
        if text := briefly(reports):
            console.print(text, soft_wrap=True)
    raise blind_status.failure(mistakes, reports) from mistakes


def _up(settings: Settings, components: Sequence[Component], *, detach: bool) -> None:
    from engine.config import prepare_home
    from engine.stack.prepare import prepare

    gc.disable()  # it ends soon, or becomes another program: there is no time to win by collecting
    prepare_home(settings)
    lock = take_stack(settings.home)
    if lock is None:
        _already_running(settings, detach=detach)
        return
    supervisor = call_supervisor(settings.home, settings.logging.base_log_folder, lock, foreground=not detach)
    with sent_away_on_failure(supervisor):
        _warn(settings)
        startable = block_taken(components)
        store = prepare(settings)
        plan = _plan(settings, startable, store, detach=detach)
    with _stops(), contextlib.closing(store):
        hand_over(plan, supervisor)
        try:
            outcome = wait_until_healthy(settings.home, supervisor, _reader(store))
            _tell(settings, plan, outcome, detach=detach)
            if not detach:
                _stay(supervisor)
        except Interrupted:
            _stop_foreground(supervisor)


def _plan(settings: Settings, components: Sequence[Component], store: Store, *, detach: bool) -> Plan:
    from engine.stack.inventory import watched_files

    logs = settings.logging.base_log_folder
    return Plan(
        home=str(settings.home),
        logs=str(logs),
        components=tuple(components),
        foreground=not detach,
        settings=fingerprint(settings),
        watched=watched_files(settings, components),
        imports=store.modules,
    )


def _tell(settings: Settings, plan: Plan, outcome: Outcome, *, detach: bool) -> None:
    """Show the table. Where the core is not healthy a detached stack is stopped; in the foreground it tries on."""
    if outcome.ended is Ended.SUPERVISOR_DIED:
        path = log_path(plan.logs, "stack")
        raise Failure(
            "\n".join(["the supervisor ended before the stack was healthy:", *last_lines(path), f"Log: {path}"])
        )
    _show(settings, outcome.reports, with_uptime=False)
    if outcome.ended is Ended.HEALTHY:
        click.echo("Stop it with: windsock down" if detach else "Ctrl-C stops everything.")
    elif detach:
        stop(settings.home)
        raise Failure("the core is not healthy (see above), so everything was stopped again")
    else:
        click.echo("Not healthy yet (see above); still trying. Ctrl-C stops everything.", err=True)


def _stay(supervisor: subprocess.Popen[bytes]) -> NoReturn:
    """Become the slim process that waits for the supervisor's end (:mod:`engine.stack.stay`)."""
    if supervisor.stdin is not None:
        os.set_inheritable(supervisor.stdin.fileno(), True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-I", "-S", stay.__file__, str(supervisor.pid)])  # noqa: S606 - ourselves


def _stop_foreground(supervisor: subprocess.Popen[bytes]) -> None:
    click.echo("\nStopping...", err=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    supervisor.terminate()
    supervisor.wait()
    click.echo("Windsock is stopped.")


@contextlib.contextmanager
def _stops() -> Iterator[None]:
    """Ctrl-C, TERM and a closed terminal raise Interrupted inside."""

    def interrupt(*_: object) -> NoReturn:
        raise Interrupted

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _already_running(settings: Settings, *, detach: bool) -> None:
    pid = running_pid(settings.home)
    if pid is None or read_state(settings.home) is None:
        raise Failure("another `windsock up` is just starting the stack; see how it is with: windsock status")
    click.echo(f"Windsock is running already (pid {pid}).")
    with _beats(settings) as read_beats:
        _show(settings, _look(settings, read_beats), with_uptime=False)
    _tell_other_settings(settings)
    if not detach:
        raise Failure("to run it in the foreground, stop it first: windsock down")


def _warn(settings: Settings, *, alerting_file: bool = True) -> None:
    from engine.config import suspicions
    from engine.stack.inventory import warnings

    for warning in (*suspicions(), *warnings(settings, alerting_file=alerting_file)):
        click.echo(f"windsock: {warning}", err=True)


def _standing(settings: Settings) -> tuple[list[str], list[str]]:
    """What the notifier refuses of alerting.yml, and a line each for what waits too long, was given up, is silenced."""
    from sqlalchemy.exc import SQLAlchemyError

    from engine.cli.standing import standing
    from engine.cli.verdicts import verdict
    from engine.metastore.errors import MetastoreError
    from engine.metastore.store import Store

    with contextlib.closing(Store.from_settings(settings)) as store:
        try:
            with store.read() as connection:
                lines = list(standing(connection, prompt=_PROMPT, with_logs=bool(settings.logging.remote_logging)))
                return verdict(connection, settings), lines
        except (SQLAlchemyError, MetastoreError):
            return [], []  # the table says already that there is no metastore


def _tell_other_settings(settings: Settings) -> None:
    state = read_state(settings.home)
    if state is not None and not matches(state.settings, settings):
        click.echo(
            "windsock: the running stack was started with other settings than these; to use these: windsock restart",
            err=True,
        )


def _not_running(settings: Settings, found: Sequence[Elsewhere], output: str) -> NoReturn:
    if found and output == "json":
        _echo_json([], found)
    elif found:
        _tell_elsewhere(found)
    if read_state(settings.home) is not None:
        raise Failure("Windsock is not running: its supervisor was killed. Start it again: windsock up --detach")
    if found:
        raise Failure(f"the stack of this home ({settings.home}) is not running. Start it: windsock up --detach")
    raise Failure("Windsock is not running. Start it: windsock up --detach")


def _look(settings: Settings, read_beats: ReadBeats) -> list[Report]:
    state = read_state(settings.home)
    return examine(state, read_beats) if state else []


@contextlib.contextmanager
def _beats(settings: Settings) -> Iterator[ReadBeats]:
    from engine.metastore.store import Store

    with contextlib.closing(Store.from_settings(settings)) as store:
        yield _reader(store)


def _reader(store: Store) -> ReadBeats:
    from engine.stack.heartbeats import read_beats

    return partial(read_beats, store)


def _show(settings: Settings, reports: Sequence[Report], *, with_uptime: bool) -> None:
    from engine.screen import screen
    from engine.stack.table import footer, full_disks, late, past_ends, problems, stack_table

    console = screen()
    console.print(stack_table(reports, with_uptime=with_uptime))
    console.print()
    logs = settings.logging.base_log_folder
    full = full_disks([logs, settings.home])
    ends = past_ends(reports) if with_uptime else ""
    for text in (full, ends, late(reports, logs), problems(reports, logs), footer(reports, settings.home)):
        if text:
            console.print(text, soft_wrap=True)


def _echo_json(reports: Sequence[Report], found: Sequence[Elsewhere] = ()) -> None:
    from engine.cli.started_elsewhere import as_json

    click.echo(json.dumps([*map(_as_json, reports), *map(as_json, found)], indent=2))


def _as_json(report: Report) -> dict[str, object]:
    state = report.state
    return {
        "component": report.name,
        "address": state.component.address,
        "state": report.health.value,
        "detail": report.detail,
        "core": report.is_core,
        "pid": state.pid,
        "started_at": state.started_at,
        "restarts": state.restarts,
        "last_exit": state.last_exit,
        "of_this_stack": True,
    }
