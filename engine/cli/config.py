"""``windsock config``: what holds, and where it was set."""

from __future__ import annotations

import difflib

import click

from engine.cli.errors import Misuse
from engine.cli.output import output_option, show
from engine.config import Setting, describe, load, suspicions


@click.group()
def config() -> None:
    """Show the settings and where they come from."""


@config.command("list")
@click.option("--section", help="Only this section.")
@click.option("--changed", is_flag=True, help="Only what somebody set.")
@output_option
def list_settings(section: str | None, changed: bool, output: str) -> None:
    """Show every setting with its value and origin; secrets are masked."""
    settings = describe(load())
    for suspicion in suspicions():
        click.echo(f"windsock: {suspicion}", err=True)
    if section is not None:
        _require(section, [setting.name.partition(".")[0] for setting in settings], "section")
    rows = [
        setting._asdict()
        for setting in settings
        if (section is None or setting.name.startswith(f"{section}.")) and (not changed or setting.origin != "default")
    ]
    columns = {"name": "setting", "value": "value", "origin": "set by"}
    show(rows, output, columns=columns, empty="Every setting has its default.")


@config.command("get")
@click.argument("name")
@click.option("--show-origin", is_flag=True, help="Say where it was set, too.")
def get(name: str, show_origin: bool) -> None:
    """Show one setting, such as core.parallelism."""
    settings: dict[str, Setting] = {setting.name: setting for setting in describe(load())}
    _require(name, settings, "setting")
    found = settings[name]
    click.echo(f"{found.value}  ({found.origin})" if show_origin else found.value)


def _require(name: str, known: dict[str, Setting] | list[str], what: str) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    hint = f"; did you mean {close[0]}?" if close else "; see all with: windsock config list"
    raise Misuse(f"there is no {what} {name}{hint}")
