"""``windsock db``: the metastore's tables."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from engine.cli.errors import Failure
from engine.cli.opening import open_store
from engine.config import load, prepare_home

if TYPE_CHECKING:
    from engine.config import Settings
    from engine.metastore.store import Store


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
def check() -> None:
    """Say whether the metastore can be used; exit status 1 where it cannot."""
    with open_store() as store:
        store.check()
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


def _upgrade() -> None:
    settings = load()
    prepare_home(settings)
    with open_store(settings) as store:
        migrations = store.upgrade()
        if migrations:
            click.echo(f"{store} is up to date now ({', '.join(migrations)}).")
        else:
            click.echo(f"{store} was up to date.")
