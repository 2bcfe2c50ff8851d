"""``windsock users``: who may sign in."""

from __future__ import annotations

import secrets

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
    from engine.stack.prepare import write_password
    from engine.web.users import set_password

    settings = load()
    chosen = click.prompt("New password", hide_input=True, confirmation_prompt=True) if prompt else None
    password = chosen or secrets.token_urlsafe(18)
    with open_store(settings) as store:
        if not set_password(store, username, password):
            raise Failure(f"there is no user {username}")
    if chosen:
        click.echo(f"{username} has a new password.")
        return
    write_password(settings, password)
    click.echo(f"{username} has a new password; it is in {settings.home / 'admin-password'}")
