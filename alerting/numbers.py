"""The numbers that people see and type: ``17`` is an alert, ``17.2`` the second line below it.

An alert's number is that of its event. The lines below an alert are its deliveries in the order in which they were
written. They are only ever added, so a line keeps its number. A line stands for the message that it was told by, which
may tell of other alerts too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, ScalarSelect, func, select

from alerting.tables import alert_delivery, alert_event

LONGEST: Final = 15  # digits: what every database takes
_WRITTEN: Final = re.compile(rf"#?(\d{{1,{LONGEST}}})(?:\.(\d{{1,6}}))?")
_d, _e = alert_delivery.c, alert_event.c


@dataclass(frozen=True)
class Number:
    """An alert, or one line of it; the first line is 1."""

    event_id: int
    line: int | None = None

    def __str__(self) -> str:
        return str(self.event_id) if self.line is None else f"{self.event_id}.{self.line}"


def parse(text: str) -> Number | None:
    """None for what is no number of an alert or of a line."""
    found = _WRITTEN.fullmatch(text.strip())
    return None if found is None else Number(int(found[1]), int(found[2]) if found[2] else None)


def line() -> ScalarSelect[int]:
    """Which line of its alert a row of ``alert_delivery`` is, for a statement that selects from it."""
    other = alert_delivery.alias()
    so_far = (other.c.event_id == _d.event_id, other.c.id <= _d.id)
    return select(func.count()).select_from(other).where(*so_far).correlate(alert_delivery).scalar_subquery()


def of_delivery(connection: Connection, delivery_id: int) -> Number:
    """Raises NoResultFound where there is no such delivery."""
    row = connection.execute(select(_d.event_id, line().label("line")).where(_d.id == delivery_id)).one()
    return Number(row.event_id, row.line)


def is_known(connection: Connection, number: Number) -> bool:
    """Whether there is such an alert, or such a line of it."""
    if number.line is not None:
        return bool(delivery_ids(connection, number))
    return connection.execute(select(_e.id).where(_e.id == number.event_id)).first() is not None


def delivery_ids(connection: Connection, number: Number) -> list[int]:
    """All of an alert's deliveries, or the one of its line; empty where there is none."""
    query = select(_d.id).where(_d.event_id == number.event_id).order_by(_d.id)
    if number.line is not None:
        query = query.offset(max(number.line - 1, 0)).limit(1 if number.line else 0)
    return list(connection.execute(query).scalars())
