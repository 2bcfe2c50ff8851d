"""Writes that follow one another. PostgreSQL takes several in one statement: each but the last in its ``WITH``.

A turn of the scheduler costs by its statements far more than by its rows. All parts of such a statement see what was
there before it, so none may read, or change once more, what an earlier one of the same batch writes. Whoever is about
to read that sends the batch first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Insert, Row, Table, Update

if TYPE_CHECKING:
    from engine.metastore.database import Tx

Write = Callable[[str], Update | Insert]
"""Makes a statement whose parameters' names end in the given text: the same object each time for the same text."""

_MOST: Final = 6  # in one statement; each mixture of them is compiled and planned once


class Writes:
    """The writes of one transaction that have not been sent yet. They are sent in the order in which they came."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._kept: list[tuple[Write, Mapping[str, Any]]] = []

    def add(self, write: Write, parameters: Mapping[str, Any]) -> None:
        """Keep a statement, with its parameters by their names without the ending."""
        self._kept.append((write, parameters))

    def insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep new rows, that all name the same columns, where the database takes them in one parameter."""
        joined = self._tx.dialect.insert_in_one(table, rows)
        if joined is None:
            self.send()
            self._tx.dialect.insert_rows(self._tx.connection, table, rows)
        else:
            self.add(*joined)

    def send(self) -> Sequence[Row[Any]]:
        """Execute what is kept; returns the rows that the last write gives back."""
        kept, self._kept = self._kept, []
        together = _MOST if self._tx.dialect.joins_writes else 1
        rows: Sequence[Row[Any]] = []
        for start in range(0, len(kept), together):
            rows = self._send_together(kept[start : start + together])
        return rows

    def _send_together(self, kept: Sequence[tuple[Write, Mapping[str, Any]]]) -> Sequence[Row[Any]]:
        if len(kept) == 1:
            ((write, parameters),) = kept
            return self._execute(write(""), parameters)
        named = {f"{name}_{n}": value for n, (_, values) in enumerate(kept) for name, value in values.items()}
        return self._execute(_joined(tuple(write for write, _ in kept)), named)

    def _execute(self, statement: Update | Insert, parameters: Mapping[str, Any]) -> Sequence[Row[Any]]:
        result = self._tx.connection.execute(statement, parameters)
        return result.all() if result.returns_rows else []


@lru_cache(maxsize=256)
def _joined(writes: tuple[Write, ...]) -> Update | Insert:
    *first, last = [write(f"_{n}") for n, write in enumerate(writes)]
    return last.add_cte(*(one.cte(f"write_{n}") for n, one in enumerate(first)))
