"""``windsock version``."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import click


@click.command()
def version() -> None:
    """Show the version of Windsock and of the Python it runs on."""
    click.echo(f"windsock {own_version()} (Python {platform.python_version()})")


def own_version() -> str:
    """The installed version; from a checkout that was never installed, ``unknown``."""
    try:
        return installed_version("windsock")
    except PackageNotFoundError:
        return "unknown (not installed)"
