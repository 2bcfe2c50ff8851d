"""How alerts are named on the command line: ``17``, or ``17.2`` for one line of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from engine.cli.errors import Failure, Misuse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from alerting.numbers import Number


class AlertNumber(click.ParamType[Any]):
    """Converts to a Number; refuses what is none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Number:  # noqa: ARG002
        from alerting.numbers import Number, parse

        number = value if isinstance(value, Number) else parse(str(value))
        if number is None:
            raise Misuse(f"{value!r} is no number of an alert: write one such as 17, or 17.2 for its second line")
        return number


ALERT_NUMBER = AlertNumber()


def require(connection: Connection, numbers: Iterable[Number]) -> None:
    """Raise Failure that names those which there are not."""
    from alerting.numbers import is_known

    missing = [number for number in numbers if not is_known(connection, number)]
    if missing:
        raise Failure("\n".join(_not_there(connection, number) for number in missing))


def _not_there(connection: Connection, number: Number) -> str:
    from alerting.numbers import Number, delivery_ids, is_known

    if number.line is None or not is_known(connection, Number(number.event_id)):
        return f"there is no alert {number.event_id}; see: windsock alerts list --all"
    lines = len(delivery_ids(connection, Number(number.event_id)))
    there = f"its last one is {number.event_id}.{lines}" if lines else "it has no lines yet"
    return f"alert {number.event_id} has no line {number.line}: {there}; see: windsock alerts show {number.event_id}"
