"""``windsock alerts deliveries``: how many there are of each sort, or those of some alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engine.cli.alert_history import show_lines
from engine.cli.alert_numbers import ALERT_NUMBER, require
from engine.cli.opening import open_store
from engine.cli.output import output_option, show
from engine.config import load

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alerting.numbers import Number


@click.command()
@click.argument("numbers", nargs=-1, type=ALERT_NUMBER, metavar="[NUMBER]...")
@output_option
def deliveries(numbers: tuple[Number, ...], output: str) -> None:
    """Count deliveries by channel and state; with numbers show those of alert 17, or with 17.2 its second line.

    What happened, too: windsock alerts show 17.
    """
    settings = load()
    with open_store(settings) as store, store.read() as connection:
        if not numbers:
            _show_counts(connection, output)
            return
        require(connection, numbers)
        show_lines(connection, settings, tuple(dict.fromkeys(numbers)), output)


def _show_counts(connection: Connection, output: str) -> None:
    from alerting.outbox import counts
    from alerting.state_words import shown

    rows = [
        {"channel": channel or "nobody", "state": shown(state, channel).words, "count": count}
        for channel, state, count in counts(connection)
    ]
    show(rows, output, empty="No deliveries.")
