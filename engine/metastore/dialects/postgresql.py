"""PostgreSQL 13+ through psycopg 3."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import JSON, Connection, Table, Text, bindparam, cast, column, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Insert

from engine.metastore.dialects.base import DatabaseDialect
from engine.metastore.writes import Write

_NO_DATABASE = re.compile(r'database ".*" does not exist')
_MIGRATION_LOCK = 7_091_983  # any number, so long as nothing else in this database takes it
# To read JSON takes the server twelve times its size in memory, and a parameter must stay below 1 GiB.
_PIECE_BYTES = 1 << 20
_LONG_ROW_BYTES = 1 << 16


class PostgresqlDialect(DatabaseDialect):
    """The one with everything: SKIP LOCKED, advisory locks, LISTEN/NOTIFY."""

    name = "postgresql"
    driver = "postgresql+psycopg"
    joins_writes = True
    conflict_codes = frozenset({"40001", "40P01", "55P03"})
    denied_codes = frozenset({"28P01", "28000"})
    missing_codes = frozenset({"3D000"})
    creation = "createdb {name}"

    def engine_options(self) -> dict[str, Any]:
        return {"connect_args": {"connect_timeout": 10, "application_name": "windsock", "options": "-c timezone=UTC"}}

    def insert_ignore(self, table: Table) -> Insert:
        return insert(table).on_conflict_do_nothing()

    def insert_in_one(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> tuple[Write, dict[str, Any]] | None:
        encoded = [msgspec.json.encode(row) for row in rows]
        if not encoded or max(map(len, encoded)) > _LONG_ROW_BYTES or sum(map(len, encoded)) > _PIECE_BYTES:
            return None
        return _recordset_into(table, tuple(rows[0])), {"rows": _list_of(encoded)}

    def insert_rows(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Many in one statement with one parameter: the driver would send, and the server execute, one for each row.

        That is what long rows get: their bytes cost more than their statements.
        """
        encoded = [msgspec.json.encode(row) for row in rows]
        statement = _recordset_into(table, tuple(rows[0]))("")
        for piece in _pieces(one for one in encoded if len(one) <= _LONG_ROW_BYTES):
            connection.execute(statement, {"rows": piece})
        long = [row for row, one in zip(rows, encoded, strict=True) if len(one) > _LONG_ROW_BYTES]
        if long:
            super().insert_rows(connection, table, long)

    def error_code(self, error: DBAPIError) -> str | int | None:
        return getattr(error.orig, "sqlstate", None)

    def reason(self, error: DBAPIError) -> str:
        """The first line: others repeat it for each address of the host, or ask whether the server is running."""
        lines = [line.strip() for line in str(error.orig).splitlines() if line.strip()]
        failures = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
        return " ".join((failures or lines or [""])[0].removeprefix("connection failed: ").split())

    def is_denied(self, error: DBAPIError) -> bool:
        # A refused connection carries no SQLSTATE, only the server's sentence. A statement's error has both, and its
        # "does not exist" is a table's.
        if super().is_denied(error) or error.statement is not None:
            return super().is_denied(error)
        words = str(error.orig)
        return "authentication failed" in words or "does not exist" in words

    def is_missing(self, error: DBAPIError) -> bool:
        if super().is_missing(error) or error.statement is not None:
            return super().is_missing(error)
        return _NO_DATABASE.search(str(error.orig)) is not None

    @contextmanager
    def migration_lock(self, connection: Connection) -> Iterator[None]:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        yield

    def notify(self, connection: Connection, topic: str) -> bool:
        connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": f"windsock_{topic}"})
        return True


def _pieces(encoded: Iterable[bytes]) -> Iterator[str]:
    """Lists of JSON, none much longer than _PIECE_BYTES."""
    piece: list[bytes] = []
    size = 0
    for one in encoded:
        piece.append(one)
        size += len(one)
        if size >= _PIECE_BYTES:
            yield _list_of(piece)
            piece, size = [], 0
    if piece:
        yield _list_of(piece)


def _list_of(encoded: Sequence[bytes]) -> str:
    return f"[{b','.join(encoded).decode()}]"


@cache
def _recordset_into(table: Table, names: tuple[str, ...]) -> Write:
    @cache
    def write(ending: str) -> Insert:
        rows = func.json_to_recordset(cast(bindparam(f"rows{ending}", type_=Text()), JSON()))
        columns = rows.table_valued(*(column(name, table.c[name].type) for name in names))
        return insert(table).from_select(names, select(columns.render_derived(with_types=True)))

    return write
