"""``windsock db``: the metastore's tables."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from engine.cli.errors import Failure
from engine.cli.opening import open_store
from engine.config import load, prepare_home

if TYPE_CHECKING:
    from engine.config import Settings
    from engine.metastore.store import Store


# Kinds of processes, as the commands are called.
_BEATING: Final = ("scheduler", "dag-processor", "notifier", "log-shipper")


@click.group()
def db() -> None:
    """Create, upgrade, check, reset the metastore."""


@db.command()
def init() -> None:
    """Create the tables. Safe to repeat: it does what upgrade does."""
    _upgrade()


@db.command()
def upgrade() -> None:
    """Bring the tables to this version. A second time it does nothing."""
    _upgrade()


@db.command()
@click.option("--alive", "kind", type=click.Choice(_BEATING), help="Ask also for this process's heartbeat.")
def check(kind: str | None) -> None:
    """Say whether the metastore can be used; exit status 1 where it cannot.

    With --alive, exit status 1 also where no such process of this host (or container) beats.
    """
    settings = load()
    with open_store(settings) as store:
        store.check()
        if kind:
            _require_heartbeat(store, settings, kind)
        click.echo(f"{store} is ready.")


@db.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Drop all of Windsock's tables and create them anew: every run, user and alert is lost."""
    settings = load()
    prepare_home(settings)
    with open_store(settings) as store:
        _refuse_while_in_use(store, settings)
        if not yes:
            click.confirm(f"Everything in {store} will be lost: runs, alerts and users. Go on?", abort=True)
        store.reset()
        click.echo(f"{store} is empty now, without users; the next windsock up makes admin anew.")


def _refuse_while_in_use(store: Store, settings: Settings) -> None:
    """Whoever loses its heartbeat row under its feet neither works on nor stops by itself."""
    from alerting.clock import database_now
    from engine.cli import queries

    store.ping()
    threshold = timedelta(seconds=settings.scheduler.scheduler_health_check_threshold)
    with store.read() as connection:
        kinds = queries.living_kinds(connection, database_now(connection), threshold)
    if kinds:
        names = ", ".join(kind.replace("_", "-") for kind in kinds)
        raise Failure(f"{names} {'is' if len(kinds) == 1 else 'are'} running; first: windsock down")


def _require_heartbeat(store: Store, settings: Settings, kind: str) -> None:
    from engine.stack.heartbeats import read_beats

    ages = [beat.age_seconds for beat in read_beats(store).get(kind.replace("-", "_"), ())]
    threshold = settings.scheduler.scheduler_health_check_threshold
    if not ages:
        raise Failure(f"no {kind} of this host has a heartbeat; start it: windsock {kind}")
    if min(ages) >= threshold:
        raise Failure(f"the {kind} of this host was last heard of {min(ages):.0f} s ago; its log says more")


def _upgrade() -> None:
    settings = load()
    prepare_home(settings)
    with open_store(settings) as store:
        migrations = store.upgrade()
        if migrations:
            click.echo(f"{store} is up to date now ({', '.join(migrations)}).")
        else:
            click.echo(f"{store} was up to date.")
