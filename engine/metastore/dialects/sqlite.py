"""SQLite: one file, one writer, no row locks, no push."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Engine, Table, create_engine, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Insert

from alerting.database import SQLITE_WAIT_SECONDS, begin_on_sqlite
from engine.metastore.dialects.base import DatabaseDialect
from engine.metastore.dialects.sqlite_troubles import trouble
from engine.metastore.errors import MetastoreError

_WAL_SECONDS: Final = 30.0


class SqliteDialect(DatabaseDialect):
    """WAL with one writer. A writing transaction begins IMMEDIATE, since WAL refuses to upgrade a reader later."""

    name = "sqlite"
    driver = "sqlite+pysqlite"
    locks_rows = False
    is_server = False
    conflict_codes = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_BUSY_SNAPSHOT"})
    when_unreachable = (
        "Its folder must exist and this user must be able to write there; see WINDSOCK_HOME and "
        "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN"
    )

    def engine(self, url: URL, pool_size: int) -> Engine:
        engine = create_engine(url.set(drivername=self.driver), pool_size=pool_size, hide_parameters=True)
        event.listen(engine, "connect", lambda connection, _record: self.on_connect(connection))
        event.listen(engine, "begin", begin_on_sqlite)
        return engine

    def on_connect(self, dbapi_connection: Any) -> None:
        dbapi_connection.isolation_level = None  # we say BEGIN ourselves
        cursor = dbapi_connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {SQLITE_WAIT_SECONDS * 1000}")
        _use_wal(cursor)
        # NORMAL survives the death of any process; only a power cut may take the last commits with it.
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    def insert_ignore(self, table: Table) -> Insert:
        return insert(table).on_conflict_do_nothing()

    def error_code(self, error: DBAPIError) -> str | int | None:
        return getattr(error.orig, "sqlite_errorname", None)

    def trouble(self, error: DBAPIError, url: URL) -> MetastoreError | None:
        code = self.error_code(error)
        return trouble(str(code), Path(url.database)) if code and url.database else None


def _use_wal(cursor: Any) -> None:
    """Turn a new file to WAL. SQLite refuses at once, whatever the busy time-out, while another process does it."""
    deadline = time.monotonic() + _WAL_SECONDS
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
