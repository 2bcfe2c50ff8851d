"""Whether a database has the tables that are read from it; asked at the first read, and again after one that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sqlalchemy import Connection, TableClause


def columns_of(connection: Connection, tables: Iterable[TableClause]) -> dict[str, frozenset[str]]:
    """The columns of those of `tables` that there are."""
    names = {table.name for table in tables} & set(inspect(connection).get_table_names())
    return {name: frozenset(_columns(connection, name)) for name in sorted(names)}


def _columns(connection: Connection, name: str) -> Iterable[str]:
    return connection.execute(text(f"SELECT * FROM {name} WHERE 1 = 0")).keys()  # noqa: S608 - a name of our own


def missing(
    found: Mapping[str, Collection[str]], tables: Iterable[TableClause], optional: Collection[str] = ()
) -> list[str]:
    """What is not there: ``table`` or ``table.column``; those named in `optional` need not be."""
    lost = []
    for table in tables:
        if table.name not in found:
            lost.append(table.name)
        else:
            names = (f"{table.name}.{column.name}" for column in table.c if column.name not in found[table.name])
            lost += [name for name in names if name not in optional]
    return lost
