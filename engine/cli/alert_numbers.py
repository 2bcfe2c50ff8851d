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
        raise Failure(f"there is no alert {', '.join(map(str, missing))}; see: windsock alerts list --all")
