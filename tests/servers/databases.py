"""PostgreSQL, MariaDB and SQLite: a template with the schema each, and a database per test cloned from it."""

from __future__ import annotations

import shutil
import signal
import uuid
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Protocol

import psycopg
import pymysql
import pymysql.cursors

from engine.metastore.store import Store
from tests.servers.binaries import require
from tests.servers.processes import ServerFolder, ServerProcess, free_port, run_as, service_user


class DatabaseServer(Protocol):
    """What the fixtures ask of a kind of database. A URL names one database of it."""

    def create(self) -> str:
        """A new, empty database."""

    def clone(self) -> str:
        """A new database with the schema in it."""

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""

    def stop(self) -> None:
        """End the server and remove its files."""


class SQLite:
    """Files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def template(self) -> Path:
        path = self.folder / "template.db"
        _with_schema(f"sqlite:///{path}")
        return path

    def create(self) -> str:
        return f"sqlite:///{self.folder / _name()}.db"

    def clone(self) -> str:
        url = self.create()
        shutil.copyfile(self.template, url.removeprefix("sqlite:///"))
        return url

    def drop(self, url: str) -> None:
        path = Path(url.removeprefix("sqlite:///"))
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink(missing_ok=True)

    def stop(self) -> None:
        """Nothing runs; the folder is pytest's."""


class PostgreSQL:
    """A server of its own; durable against a killed server, not against a killed machine."""

    def __init__(self) -> None:
        postgres, initdb = require("postgres"), require("initdb")
        user = service_user("postgres")
        self.port = free_port()
        self.folder = ServerFolder("postgresql", user)
        data = self.folder.path / "data"
        run_as(
            user,
            [initdb, "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=windsock", data],
            self.folder.path,
        )
        self.command = [postgres, "-D", data, "-p", str(self.port), "-k", self.folder.path, *_POSTGRESQL_OPTIONS]
        self.user = user
        self.start()

    def start(self) -> None:
        """Start it, or start it again after stop_process()."""
        self.server = ServerProcess(self.command, self.folder.path, self.user)
        self.server.wait_ready(lambda: _answers(lambda: self.run("SELECT 1"), psycopg.OperationalError), "PostgreSQL")

    def stop_process(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End the server, at once by default, and keep its data."""
        self.server.stop(how)

    @cached_property
    def template(self) -> str:
        url = self.create()
        _with_schema(url)
        return url

    def create(self) -> str:
        name = _name()
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def clone(self) -> str:
        name = _name()
        self.run(f"CREATE DATABASE {name} TEMPLATE {_database(self.template)} STRATEGY FILE_COPY")
        return self.url(name)

    def drop(self, url: str) -> None:
        self.run(f"DROP DATABASE IF EXISTS {_database(url)} WITH (FORCE)")

    def stop(self) -> None:
        self.server.stop(signal.SIGQUIT)
        self.folder.remove()

    def url(self, database: str) -> str:
        return f"postgresql://windsock:windsock@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=30) as connection:
            connection.execute(statement.encode())


class MariaDB:
    """A server of its own; durable against a killed server, not against a killed machine."""

    def __init__(self) -> None:
        mariadbd, install = require("mariadbd"), require("mariadb-install-db")
        user = service_user("mysql")
        self.port = free_port()
        self.folder = ServerFolder("mariadb", user)
        data = self.folder.path / "data"
        # A server that starts takes away the temporary tables of all others in the same folder, an installer's too.
        tmpdir = f"--tmpdir={self.folder.path}"
        run_as(
            user,
            [install, "--no-defaults", f"--datadir={data}", tmpdir, "--auth-root-authentication-method=normal",
             "--skip-test-db", "--skip-name-resolve", *_INNODB_OPTIONS],
            self.folder.path,
        )  # fmt: skip
        self.command = [
            mariadbd, "--no-defaults", f"--datadir={data}", tmpdir, f"--socket={self.folder.path / 's'}",
            f"--pid-file={self.folder.path / 'pid'}", f"--port={self.port}", *_MARIADB_OPTIONS, *_INNODB_OPTIONS,
        ]  # fmt: skip
        self.user = user
        self.start()
        self.run("GRANT ALL ON *.* TO 'windsock'@'127.0.0.1' IDENTIFIED BY 'windsock'")

    def start(self) -> None:
        """Start it, or start it again after stop_process()."""
        self.server = ServerProcess(self.command, self.folder.path, self.user)
        self.server.wait_ready(lambda: _answers(lambda: self.run("SELECT 1"), pymysql.OperationalError), "MariaDB")

    def stop_process(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the server, at once by default, and keep its data."""
        self.server.stop(how)

    @cached_property
    def template(self) -> dict[str, str]:
        """The template's name under the key "", and for each of its tables the statement that creates it."""
        url = self.create()
        _with_schema(url)
        name = _database(url)
        with self._connect(name) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW TABLES")
            tables = [row[0] for row in cursor.fetchall()]
            statements = {"": name}
            for table in tables:
                cursor.execute(f"SHOW CREATE TABLE `{table}`")
                statements[table] = cursor.fetchone()[1]
        return statements

    def create(self) -> str:
        name = _name()
        self.run(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return f"mysql://windsock:windsock@127.0.0.1:{self.port}/{name}"

    def clone(self) -> str:
        statements = dict(self.template)
        template = statements.pop("")
        url = self.create()
        with self._connect(_database(url)) as connection, connection.cursor() as cursor:
            cursor.execute("SET foreign_key_checks = 0")
            for table, statement in statements.items():
                cursor.execute(statement)
                cursor.execute(f"INSERT INTO `{table}` SELECT * FROM {template}.`{table}`")
            connection.commit()
        return url

    def drop(self, url: str) -> None:
        """Other sessions' locks would make us wait, so they are ended first."""
        name = _database(url)
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (name,))
            for (session,) in cursor.fetchall():
                _ignore_gone(lambda session=session: cursor.execute(f"KILL {session}"))
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")

    def stop(self) -> None:
        self.server.stop(signal.SIGKILL)
        self.folder.remove()

    def run(self, statement: str) -> None:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def _connect(self, database: str | None = None) -> pymysql.Connection[pymysql.cursors.Cursor]:
        return pymysql.connect(host="127.0.0.1", port=self.port, user="root", database=database, connect_timeout=30)


def _with_schema(url: str) -> None:
    store = Store(url)
    store.upgrade()
    store.close()


def _name() -> str:
    return f"windsock_{uuid.uuid4().hex[:12]}"


def _database(url: str) -> str:
    return url.rpartition("/")[2]


def _answers(ask: Callable[[], object], refusal: type[Exception]) -> bool:
    try:
        ask()
    except refusal:
        return False
    return True


def _ignore_gone(kill: Callable[[], object]) -> None:
    try:
        kill()
    except pymysql.OperationalError as error:
        if error.args[0] != 1094:  # unknown thread id: it went by itself
            raise


_POSTGRESQL_OPTIONS = (
    "-c", "listen_addresses=127.0.0.1",
    "-c", "fsync=off",
    "-c", "full_page_writes=off",
    "-c", "autovacuum=off",
    "-c", "max_connections=200",
    "-c", "shared_buffers=32MB",
)  # fmt: skip
_MARIADB_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--max-connections=200",
    "--character-set-server=utf8mb4",
)
_INNODB_OPTIONS = (
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
)
