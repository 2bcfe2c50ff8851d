"""``windsock db``: the metastore's tables."""

from __future__ import annotations

import click

from engine.cli.opening import open_store
from engine.config import load, prepare_home


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
    """Drop all of Windsock's tables and create them anew: every run, log of alerts and user is lost."""
    settings = load()
    prepare_home(settings)
    with open_store(settings) as store:
        if not yes:
            click.confirm(f"Everything in {store} will be lost. Go on?", abort=True)
        store.reset()
        click.echo(f"{store} is empty now.")


def _upgrade() -> None:
    settings = load()
    prepare_home(settings)
    with open_store(settings) as store:
        migrations = store.upgrade()
        if migrations:
            click.echo(f"{store} is up to date now ({', '.join(migrations)}).")
        else:
            click.echo(f"{store} was up to date.")
