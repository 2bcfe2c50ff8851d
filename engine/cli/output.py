"""How lists are shown: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

output_option = click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A table for people, or JSON for programs.",
)

Row = Mapping[str, Any]
STATE_STYLES = {
    "success": "green",
    "delivered": "green",
    "running": "cyan",
    "failed": "red",
    "dead": "red",
    "upstream_failed": "yellow",
    "up_for_retry": "yellow",
}


def show(rows: Sequence[Row], output: str, *, columns: Mapping[str, str] | None = None, empty: str = "") -> None:
    """Show rows. JSON holds every key; the table the `columns` (key → heading), or `empty` where there are no rows."""
    if output == "json":
        click.echo(json.dumps(rows, indent=2, default=_plain))
    elif not rows:
        click.echo(empty or "Nothing to show.", err=True)
    else:
        _table(rows, columns or {key: key.replace("_", " ") for key in rows[0]})


def _table(rows: Sequence[Row], columns: Mapping[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for position, heading in enumerate(columns.values()):
        table.add_column(heading, overflow="fold", no_wrap=position == 0)  # the first column is what one copies
    for row in rows:
        table.add_row(*(_cell(key, row.get(key)) for key in columns))
    Console(highlight=False, emoji=False).print(table)


def _cell(key: str, value: Any) -> Any:
    from rich.text import Text

    text = shown(value)
    return Text(text, style=STATE_STYLES.get(text, "") if key.endswith("state") else "")


def shown(value: Any) -> str:
    """A value as a person reads it: seconds are enough, nothing is a dash."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        case timedelta():
            return duration(value)
        case float():
            return f"{value:.3g}"
        case list() | tuple():
            return ", ".join(map(str, value)) or "-"
        case _:
            return str(value)


def duration(value: timedelta) -> str:
    """``1:02:03``, below a minute ``4.2 s``."""
    seconds = value.total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _plain(value: Any) -> Any:
    encoders: dict[type, Callable[[Any], Any]] = {datetime: datetime.isoformat, timedelta: timedelta.total_seconds}
    for kind, encode in encoders.items():
        if isinstance(value, kind):
            return encode(value)
    return str(value)
