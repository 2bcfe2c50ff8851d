"""Listening in on a metastore: every statement that is sent to the database."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event

from engine.metastore.store import Store


@dataclass(frozen=True)
class Sent:
    """One statement as the driver got it, and when (monotonic)."""

    sql: str
    parameters: Any
    at: float

    @property
    def verb(self) -> str:
        return self.sql.split(maxsplit=1)[0].upper()


@contextmanager
def recorded(store: Store) -> Iterator[list[Sent]]:
    """The statements that are sent while this goes on; an INSERT of many rows counts once."""
    sent: list[Sent] = []

    def note(_connection: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, many: bool) -> None:
        is_each = many and not isinstance(parameters, Mapping)  # not where all rows are in one statement
        sent.append(Sent(sql, parameters[0] if is_each else parameters, time.monotonic()))

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
