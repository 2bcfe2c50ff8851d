"""``windsock users``: who may sign in."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from engine.cli.errors import Failure
from engine.cli.opening import open_store
from engine.config import load


@click.group()
def users() -> None:
    """Manage who may sign in."""


@users.command("reset-password")
@click.argument("username", default="admin")
@click.option("--prompt", is_flag=True, help="Ask for the new password instead of making one.")
def reset_password(username: str, prompt: bool) -> None:
    """Give a user (admin by default) a new password; every session of the user ends."""
    from engine.web.users import set_password

    settings = load()
    chosen = click.prompt("New password", hide_input=True, confirmation_prompt=True) if prompt else None
    password: str = chosen or secrets.token_urlsafe(18)
    with open_store(settings) as store:
        try:
            set_password(store, username, password)
        except ValueError as error:
            raise Failure(str(error)) from error
    if chosen:
        click.echo(f"{username} has a new password.")
    elif username == "admin":
        click.echo(f"admin has a new password; it is in {_keep(settings.home / 'admin-password', password)}")
    else:
        click.echo(f"{username} has a new password: {password}")


def _keep(path: Path, password: str) -> Path:
    """Write the password where only the owner of the home can read it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(f"{password}\n")
    return path
