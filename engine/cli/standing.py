"""What `windsock status` says of alerts and logs besides the table: what waits, what was given up, what is silenced."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from alerting import silences
from alerting.cleaning import one_line, shorten
from alerting.clock import database_now
from alerting.state_words import Shown
from engine.cli.queries import pending_by_channel, undelivered, unshipped_logs

if TYPE_CHECKING:
    from sqlalchemy import Connection

_REASON_LIMIT: Final = 160


def standing(connection: Connection, *, prompt: timedelta, with_logs: bool) -> Iterator[str]:
    """A line for each that there is anything to say of, and one for each channel that alerts wait for.

    What is younger than ``prompt`` is about to be delivered.
    """
    yield from _alerts(connection, prompt)
    yield from _silences(connection)
    if with_logs:
        yield from _logs(connection, prompt)


def kept(connection: Connection) -> str | None:
    """What nobody delivers while everything is stopped; None where nothing waits."""
    waiting, _, grouped, _ = undelivered(connection)
    if not waiting and not grouped:
        return None
    in_groups = f", and {grouped} for the message of their group" if grouped else ""
    return (
        f"Alerts that wait to be delivered: {waiting}{in_groups}. They are kept, and go out once Windsock is started "
        f"again: windsock alerts list --state {Shown.PENDING if waiting else Shown.WAITING}"
    )


def _alerts(connection: Connection, prompt: timedelta) -> Iterator[str]:
    waiting, age, grouped, dead = undelivered(connection)
    if waiting and age > prompt:
        oldest = f"the oldest for {age.total_seconds():.0f} s"
        yield f"Alerts pending: {waiting}, {oldest}: windsock alerts list --state {Shown.PENDING}"
        for channel, count, error in pending_by_channel(connection):
            yield f"  {channel}: {count}{f', {shorten(one_line(error), _REASON_LIMIT)}' if error else ''}"
    if grouped:
        yield f"Alerts waiting for the message of their group: {grouped}: windsock alerts list --state {Shown.WAITING}"
    if dead:
        yield f"Alerts dead, given up undelivered: {dead}: windsock alerts list --state {Shown.DEAD}"


def _silences(connection: Connection) -> Iterator[str]:
    count, last = silences.in_force(connection, database_now(connection))
    if last is None:
        return
    until = f"until {last:%Y-%m-%d %H:%M} UTC"
    told = f"1 silence in force {until}" if count == 1 else f"{count} silences in force, the last {until}"
    yield f"{told}: windsock alerts silence list"


def _logs(connection: Connection, prompt: timedelta) -> Iterator[str]:
    count, age, why = unshipped_logs(connection)
    if count and age > prompt:
        reason = f" ({why})" if why else ""
        yield f"Logs not shipped: {count}, the oldest for {age.total_seconds():.0f} s{reason}: windsock tasks unshipped"
