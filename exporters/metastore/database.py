"""Reading somebody else's database: one read-only transaction, one view, a time limit, the database's clock."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from exporters.metastore.errors import DatabaseUrlError, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DRIVERS: Final = {
    "sqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
_EXAMPLES: Final = (
    "sqlite:////path/file.db, postgresql://user:password@host/database or mysql://user:password@host/database"
)
_CHECK_EVERY: Final = 10_000  # SQLite's virtual instructions between two looks at the clock


class ReadOnlyDatabase:
    """One database. Every `read` has a connection of its own, which is closed at its end."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        """Understand `url`, whatever driver it names; raises DatabaseUrlError. Nothing is opened yet."""
        self._timeout = timeout_seconds
        self._url = _understood(url)
        self._engine = self._make_engine()

    def __str__(self) -> str:
        """The URL without password and options, which may hold one."""
        return self._url.set(query={}).render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[tuple[Connection, datetime]]:
        """A transaction and the database's clock; raises ReadError where the database cannot be read."""
        try:
            with self._engine.connect() as connection, connection.begin():
                yield connection, _clock(connection)
        except DBAPIError as error:
            raise ReadError(f"{self} cannot be read: {_reason(error)}") from error

    def _make_engine(self) -> Engine:
        match self._url.get_backend_name():
            case "sqlite":
                engine = create_engine("sqlite+pysqlite://", creator=self._open_file, poolclass=NullPool)
                begin = _begin_sqlite
            case "postgresql":
                arguments = {"connect_timeout": max(2, round(self._timeout)), "application_name": "windsock exporter"}
                engine = create_engine(self._url, poolclass=NullPool, connect_args=arguments)
                begin = self._begin_postgresql
            case _:
                seconds = max(1, round(self._timeout))
                arguments = {"connect_timeout": seconds, "read_timeout": seconds, "charset": "utf8mb4"}
                engine = create_engine(self._url, poolclass=NullPool, connect_args=arguments)
                begin = self._begin_mysql
        event.listen(engine, "begin", begin)
        return engine

    def _open_file(self) -> sqlite3.Connection:
        """Open the file, never create it; give up what takes longer than the time limit."""
        name = quote(self._url.database or "")
        connection = sqlite3.connect(
            f"file:{name}?mode=rw", uri=True, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA query_only = ON")
        deadline = time.monotonic() + self._timeout
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _CHECK_EVERY)
        return connection

    def _begin_postgresql(self, connection: Connection) -> None:
        # In the transaction, not as an option of the connection: poolers such as PgBouncer refuse those.
        limit = round(self._timeout * 1000)
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {limit}")

    def _begin_mysql(self, connection: Connection) -> None:
        # MariaDB counts seconds, MySQL milliseconds.
        if getattr(connection.dialect, "is_mariadb", False):
            limit = f"max_statement_time = {self._timeout:g}"
        else:
            limit = f"max_execution_time = {round(self._timeout * 1000)}"
        connection.exec_driver_sql(f"SET SESSION time_zone = '+00:00', {limit}")
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")


def _understood(url: str) -> URL:
    try:
        parsed = make_url(url)
        driver = _DRIVERS[parsed.drivername.partition("+")[0]]
    except (ArgumentError, KeyError, ValueError):
        raise DatabaseUrlError(
            f"this is no database URL; write {_EXAMPLES}"
        ) from None  # the cause may quote a password
    parsed = parsed.set(drivername=driver)
    if driver.startswith("sqlite") and not Path(parsed.database or "").is_absolute():
        raise DatabaseUrlError("a SQLite URL needs an absolute path: sqlite:////path/file.db")
    return parsed


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _clock(connection: Connection) -> datetime:
    """Now, aware UTC. SQLite lives on this machine, so its clock is ours."""
    match connection.dialect.name:
        case "sqlite":
            return datetime.now(UTC)
        case "postgresql":
            return instant(connection.execute(text("SELECT clock_timestamp()")).scalar_one())
        case _:
            return instant(connection.execute(text("SELECT UTC_TIMESTAMP(6)")).scalar_one())


def instant(value: Any) -> datetime:
    """A column's value as an aware instant; drivers give naive UTC where the column has no time zone."""
    moment: datetime = value
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _reason(error: DBAPIError) -> str:
    """What the driver says, on one line; MySQL's drivers put a number before the sentence."""
    arguments: tuple[Any, ...] = getattr(error.orig, "args", ())
    sentence = str(arguments[1]) if len(arguments) > 1 else str(error.orig)
    lines = [line.strip() for line in sentence.splitlines() if line.strip()]
    return (lines or [type(error.orig).__name__])[0].rstrip(".")
