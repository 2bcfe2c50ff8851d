"""MySQL 8+ and MariaDB 10.6+ through PyMySQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, text
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.sql.dml import Insert

from engine.metastore.dialects.base import DatabaseDialect
from engine.metastore.errors import MetastoreError

_DUPLICATE_KEY = 1062


class MysqlDialect(DatabaseDialect):
    """READ COMMITTED (its default brings gap locks, and with them deadlocks); SKIP LOCKED; no RETURNING, no push."""

    name = "mysql"
    driver = "mysql+pymysql"
    returns_updated = False
    conflict_codes = frozenset({1205, 1213, 3572})
    denied_codes = frozenset({1044, 1045, 1698})
    missing_codes = frozenset({1049})
    creation = "CREATE DATABASE {name}"

    def engine_options(self) -> dict[str, Any]:
        return {"connect_args": {"connect_timeout": 10, "charset": "utf8mb4"}}

    def on_connect(self, dbapi_connection: Any) -> None:
        with dbapi_connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00', innodb_lock_wait_timeout = 10")

    def insert_ignore(self, table: Table) -> Insert:
        # INSERT IGNORE would also swallow truncation and bad values; a no-op upsert ignores duplicates only.
        statement = insert(table)
        first = next(iter(table.primary_key.columns))
        return statement.on_duplicate_key_update({first.name: first})

    def insert_new(self, connection: Connection, table: Table, row: dict[str, Any]) -> bool:
        # The upsert above counts one row either way, and there is no RETURNING to tell them apart. A refused INSERT
        # undoes itself and leaves the transaction alone.
        try:
            connection.execute(table.insert().values(row))
        except IntegrityError as error:
            if self.error_code(error) != _DUPLICATE_KEY:
                raise
            return False
        return True

    def error_code(self, error: DBAPIError) -> str | int | None:
        arguments = getattr(error.orig, "args", ())
        return arguments[0] if arguments else None

    def reason(self, error: DBAPIError) -> str:
        """The sentence without the code before it."""
        match getattr(error.orig, "args", ()):
            case (_, sentence, *_):
                return " ".join(str(sentence).split())
            case _:
                return super().reason(error)

    @contextmanager
    def migration_lock(self, connection: Connection) -> Iterator[None]:
        if not connection.execute(text("SELECT GET_LOCK('windsock_migrate', 60)")).scalar():
            raise MetastoreError("another process has been migrating this metastore for a minute; try again later")
        try:
            yield
            connection.exec_driver_sql("COMMIT")  # the next one in line must see what was done
        finally:
            connection.execute(text("SELECT RELEASE_LOCK('windsock_migrate')"))
