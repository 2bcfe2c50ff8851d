"""The databases that are measured on, and what they say was asked of them.

The servers flush to disk at each commit (the tests' servers do not). The benchmark itself looks at a metastore as
another user, so that its own questions are not counted. PostgreSQL counts statements without BEGIN and COMMIT
(pg_stat_statements); MariaDB counts what reads and what writes; SQLite counts nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import psycopg
import pymysql
import pymysql.cursors

from tests.servers.databases import MariaDB, PostgreSQL

NAMES = ("sqlite", "postgresql", "mariadb")
_WATCHER = "watcher"


@dataclass(frozen=True)
class Counted:
    """Since the server began. None where a database cannot say."""

    statements: int | None
    log_bytes: int | None

    def __sub__(self, other: Counted) -> Counted:
        return Counted(_less(self.statements, other.statements), _less(self.log_bytes, other.log_bytes))


def _less(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else now - before


class Database(ABC):
    """One database for one engine; `url` is what the engine is given, `watched` what the benchmark uses."""

    name: str
    url: str | None
    watched: str | None

    @abstractmethod
    def counted(self, writers: Sequence[psutil.Process] = ()) -> Counted:
        """What was asked and written; `writers` are the processes that write, for a database without a server."""


class SQLiteFile(Database):
    """In the home of the engine. Its log is what its writers have written."""

    name, url, watched = "sqlite", None, None

    def counted(self, writers: Sequence[psutil.Process] = ()) -> Counted:
        return Counted(None, sum(process.io_counters().write_chars for process in writers))


class PostgreSQLDatabase(Database):
    """One database of a PostgreSQL server."""

    name = "postgresql"

    def __init__(self, server: PostgreSQL) -> None:
        self.address = server.create()
        self.url = self.address
        self.watched = self.url.replace("windsock:windsock@", f"{_WATCHER}@")
        self._server = server

    def counted(self, writers: Sequence[psutil.Process] = ()) -> Counted:  # noqa: ARG002
        """Statements of this database; the log is the whole server's."""
        name = self.address.rpartition("/")[2]
        asked = """
            SELECT coalesce(sum(calls), 0)::bigint, (pg_current_wal_insert_lsn() - '0/0')::bigint
            FROM pg_stat_statements AS s JOIN pg_database AS d ON d.oid = s.dbid JOIN pg_roles AS r ON r.oid = s.userid
            WHERE d.datname = %s AND r.rolname <> %s
        """
        with psycopg.connect(self._server.url("postgres"), connect_timeout=5) as connection:
            found = connection.execute(asked, (name, _WATCHER)).fetchone()
        assert found is not None
        return Counted(*found)


class MariaDBDatabase(Database):
    """One database of a MariaDB server."""

    name = "mariadb"

    def __init__(self, server: MariaDB) -> None:
        self.url = server.create()
        self.watched = self.url.replace("windsock:windsock@", f"{_WATCHER}:{_WATCHER}@")
        self._server = server

    def counted(self, writers: Sequence[psutil.Process] = ()) -> Counted:  # noqa: ARG002
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT coalesce(sum(select_commands + update_commands), 0) FROM information_schema.user_statistics"
                " WHERE user = 'windsock'"
            )
            statements = int(_one(cursor))
            cursor.execute(
                "SELECT variable_value FROM information_schema.global_status"
                " WHERE variable_name = 'innodb_os_log_written'"
            )
            return Counted(statements, int(_one(cursor)))

    def _connect(self) -> pymysql.Connection[pymysql.cursors.Cursor]:
        return pymysql.connect(host="127.0.0.1", port=self._server.port, user="root", connect_timeout=5)


def _one(cursor: pymysql.cursors.Cursor) -> str:
    found = cursor.fetchone()
    assert found is not None
    return str(found[0])


@contextmanager
def postgresql_server() -> Iterator[PostgreSQL]:
    """A server as durable as one that people keep, with its statistics."""
    server = PostgreSQL()
    try:
        server.stop_process()
        server.command += _POSTGRESQL_OPTIONS
        server.start()
        server.run(f"CREATE ROLE {_WATCHER} SUPERUSER LOGIN")
        server.run("CREATE EXTENSION pg_stat_statements")
        yield server
    finally:
        server.stop()


@contextmanager
def mariadb_server() -> Iterator[MariaDB]:
    """A server as durable as one that people keep, with its statistics."""
    server = MariaDB()
    try:
        server.stop_process()
        server.command += _MARIADB_OPTIONS
        server.start()
        server.run(f"GRANT ALL ON *.* TO '{_WATCHER}'@'127.0.0.1' IDENTIFIED BY '{_WATCHER}'")
        yield server
    finally:
        server.stop()


@contextmanager
def database(name: str) -> Iterator[Database]:
    """A new database of this kind, on a server of its own where it needs one."""
    match name:
        case "sqlite":
            yield SQLiteFile()
        case "postgresql":
            with postgresql_server() as server:
                yield PostgreSQLDatabase(server)
        case "mariadb":
            with mariadb_server() as server:
                yield MariaDBDatabase(server)
        case _:
            raise ValueError(f"no such database: {name}")


_POSTGRESQL_OPTIONS = [
    "-c", "fsync=on",
    "-c", "full_page_writes=on",
    "-c", "autovacuum=on",
    "-c", "shared_buffers=128MB",
    "-c", "max_wal_size=2GB",
    "-c", "shared_preload_libraries=pg_stat_statements",
    "-c", "pg_stat_statements.track_utility=off",
    "-c", "pg_stat_statements.max=10000",
]  # fmt: skip
_MARIADB_OPTIONS = [
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-flush-method=fsync",
    "--innodb-doublewrite=1",
    "--innodb-buffer-pool-size=128M",
    "--userstat=1",
]
