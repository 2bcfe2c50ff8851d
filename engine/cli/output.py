"""How lists are shown: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.wrapping import Shape, widest_part, wrapped

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

output_option = click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A table for people, or JSON for programs.",
)

Row = Mapping[str, Any]
_GAP: Final = 2
_INDENT: Final = 4
_NARROWEST: Final = 8  # of a folded column
STATE_STYLES = {
    "success": "green",
    "delivered": "green",
    "running": "cyan",
    "failed": "red",
    "dead": "red",
    "upstream_failed": "yellow",
    "up_for_retry": "yellow",
}


def show(
    rows: Sequence[Row],
    output: str,
    *,
    columns: Mapping[str, str] | None = None,
    empty: str = "",
    below: str = "",
    least: Sequence[str] = (),
    cut: Sequence[str] = (),
) -> None:
    """Show rows. JSON holds every key; the table the `columns` (key → heading), or `empty` where there are no rows.

    `below` is the key of a long text: it has lines of its own below its row, instead of a narrow column. `least` are
    columns that a narrow terminal does without, the first one first. In `cut` columns a word that is wider than its
    column ends in an ellipsis; in others it goes on in the next line, so that it can be copied.
    """
    if output == "json":
        click.echo(json.dumps(rows, indent=2, default=_plain))
    elif not rows:
        click.echo(empty or "Nothing to show.", err=True)
    else:
        _table(rows, columns or {key: key.replace("_", " ") for key in rows[0]}, below, least, cut)


def _table(
    rows: Sequence[Row], columns: Mapping[str, str], below: str, least: Sequence[str], cut: Sequence[str]
) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from engine.screen import screen

    console = screen()
    columns = _that_fit(rows, columns, least, console.width)
    cells = [[_cell(key, row.get(key)) for key in columns] for row in rows]
    heading = [Text(text, style="bold") for text in columns.values()]
    widths = _widths([heading, *cells], list(columns), console.width, cut)
    shapes = [Shape(width, is_list=_is_state(key), cut=key in cut) for key, width in zip(columns, widths, strict=True)]
    console.print(_line(heading, shapes))
    for row, line in zip(rows, cells, strict=True):
        console.print(_line(line, shapes))
        if below and row.get(below):
            console.print(Padding(Text(shown(row[below]), overflow="fold"), (0, 0, 0, _INDENT)))


def _that_fit(rows: Sequence[Row], columns: Mapping[str, str], least: Sequence[str], room: int) -> Mapping[str, str]:
    """Without those of the `least` columns that must go before the others stand side by side."""
    kept = dict(columns)
    for key in least:
        wide = [max(len(heading), *(len(shown(row.get(name))) for row in rows)) for name, heading in kept.items()]
        if sum(wide) + _GAP * (len(wide) - 1) <= room:
            break
        kept.pop(key, None)
    return kept


def _widths(lines: Sequence[Sequence[Text]], keys: Sequence[str], room: int, cut: Sequence[str]) -> list[int]:
    """As wide as the widest cell. Where there is too little room, the widest column but the first one gives way.

    First down to the longest word of each, where words are not cut; then, but for states, on to _NARROWEST.
    """
    places = range(1, len(keys))
    widths = [max(line[place].cell_len for line in lines) for place in range(len(keys))]
    words = {place: max(widest_part(line[place].plain, _is_state(keys[place])) for line in lines) for place in places}
    whole = {place: _NARROWEST if keys[place] in cut else words[place] for place in places}
    narrowest = {place: words[place] if _is_state(keys[place]) else _NARROWEST for place in places}
    for floor in (whole, narrowest):
        while sum(widths) + _GAP * (len(widths) - 1) > room:
            giving = [place for place in places if widths[place] > floor[place]]
            if not giving:
                break
            widths[max(giving, key=widths.__getitem__)] -= 1
    return widths


def _is_state(key: str) -> bool:
    return key.endswith("state")


def _line(cells: Sequence[Text], shapes: Sequence[Shape]) -> Table:
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, _GAP, 0, 0))
    for shape in shapes:
        line.add_column(width=shape.width, no_wrap=True)
    line.add_row(*(Text(wrapped(cell.plain, shape), cell.style) for cell, shape in zip(cells, shapes, strict=True)))
    return line


def _cell(key: str, value: Any) -> Text:
    from rich.text import Text

    text = shown(value)
    return Text(text, style=_style(text) if _is_state(key) else "")


def _style(state: str) -> str:
    """Also of ``dead after 5 attempts``, and of ``1 dead, 2 delivered``, which begins with what matters most."""
    words = state.partition(",")[0].split()
    return next((STATE_STYLES[word] for word in words if word in STATE_STYLES), "")


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
