"""Opening a database and writing to it: what an engine must be told, and which conflicts are expected."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, Insert, Table, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from alerting.clock import database_now

Result = TypeVar("Result")
Item = TypeVar("Item")

MAX_TRIES: Final = 20
SQLITE_WAIT_SECONDS: Final = 30
_QUICK_LOOKS: Final = 500
_QUICK_SECONDS: Final = 0.0005
BATCH: Final = 500  # rows per INSERT: SQLite allows 32 766 parameters in one statement
_POSTGRESQL_CONFLICTS: Final = {"40001", "40P01", "55P03"}  # serialisation, deadlock, lock not available
_MYSQL_CONFLICTS: Final = {1020, 1205, 1213}  # record changed, lock wait time-out, deadlock


def batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """In order, BATCH of them at a time: as many as one statement takes."""
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def connect(url: str) -> Engine:
    """An engine for a programme that uses this package alone; the caller disposes of it."""
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": SQLITE_WAIT_SECONDS})
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", begin_on_sqlite)
        return engine
    # Under REPEATABLE READ, MySQL takes gap locks and two deliverers would deadlock for nothing.
    return create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True)


def begin_on_sqlite(connection: Connection) -> None:
    """A transaction that may write takes the lock: one that reads first cannot be upgraded while another writes."""
    if connection.get_execution_options().get("read_only", False):
        connection.exec_driver_sql("BEGIN")
    else:
        _begin_writing_to_sqlite(connection)


def _begin_writing_to_sqlite(connection: Connection) -> None:
    """Take the file's write lock, looking for it often where somebody has it.

    SQLite's own waiting grows by each look, up to 100 ms, while a lock is held for a few: whoever came second would
    be told late.
    """
    raw: Any = connection.connection.driver_connection
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        for _ in range(_QUICK_LOOKS):
            try:
                raw.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
                time.sleep(_QUICK_SECONDS)
            else:
                return
    finally:
        raw.execute(f"PRAGMA busy_timeout = {SQLITE_WAIT_SECONDS * 1000}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # waits for long; what is wrong is raised as SQLAlchemy raises it


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we emit our own BEGIN
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def transact(engine: Engine, verb: Callable[[Connection, datetime], Result]) -> Result:
    """Runs ``verb(connection, now)`` in one transaction; deadlocks, lock time-outs and a busy file are tried again."""
    for attempt in range(1, MAX_TRIES):
        try:
            return _once(engine, verb)
        except DBAPIError as error:
            if not is_conflict(error):
                raise
            time.sleep(random.uniform(0, 0.01 * attempt))  # noqa: S311 - jitter, not a secret
    return _once(engine, verb)


def read(engine: Engine, verb: Callable[[Connection], Result]) -> Result:
    """Runs ``verb(connection)``, which writes nothing, and waits for nobody who does."""
    with engine.connect().execution_options(read_only=True) as connection, connection.begin():
        return verb(connection)


def _once(engine: Engine, verb: Callable[[Connection, datetime], Result]) -> Result:
    with engine.begin() as connection:
        return verb(connection, database_now(connection))


def is_conflict(error: DBAPIError) -> bool:
    """Whether the database only asks to try the transaction again."""
    cause = error.orig
    if getattr(cause, "sqlstate", None) in _POSTGRESQL_CONFLICTS:
        return True
    number = cause.args[0] if cause is not None and cause.args else None
    return number in _MYSQL_CONFLICTS or "database is locked" in str(number)


def insert_new(connection: Connection, table: Table, *key: str) -> Insert:
    """An INSERT that passes over rows whose unique key exists, and over nothing else (INSERT IGNORE hides more).

    Executed with rows as its parameters; with ``values`` it would be compiled anew each time.
    """
    return _insert_new(connection.dialect.name, table, key)


@cache  # a statement that is the same object each time is worked out once
def _insert_new(dialect: str, table: Table, key: tuple[str, ...]) -> Insert:
    match dialect:  # each imports its own only: they are large
        case "postgresql":
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table).on_conflict_do_nothing(index_elements=key)
        case "mysql" | "mariadb":
            from sqlalchemy.dialects import mysql

            return mysql.insert(table).on_duplicate_key_update({key[0]: table.c[key[0]]})
        case _:
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table).on_conflict_do_nothing(index_elements=key)
