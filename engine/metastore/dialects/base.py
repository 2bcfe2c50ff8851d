"""What a database must offer; each method's default is what most of them do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Insert

from engine.metastore.errors import MetastoreError
from engine.metastore.writes import Write


class DatabaseDialect:
    """The differences between databases. Stateless."""

    name: str
    driver: str
    locks_rows = True  # SELECT … FOR UPDATE means something
    returns_updated = True  # UPDATE … RETURNING
    joins_writes = False  # WITH … AS (UPDATE …) UPDATE …
    conflict_codes: frozenset[str | int] = frozenset()
    denied_codes: frozenset[str | int] = frozenset()
    missing_codes: frozenset[str | int] = frozenset()
    is_server = True
    creation = ""  # the command or statement that makes a database {name}
    when_unreachable = "Start it, or correct WINDSOCK__DATABASE__SQL_ALCHEMY_CONN"

    def engine(self, url: URL, pool_size: int) -> Engine:
        """An engine whose transactions are READ COMMITTED and whose sessions speak UTC."""
        engine = create_engine(
            url.set(drivername=self.driver),
            pool_size=pool_size,
            pool_recycle=1800,
            isolation_level="READ COMMITTED",
            hide_parameters=True,  # they hold what tasks hand to one another
            **self.engine_options(),
        )
        event.listen(engine, "connect", lambda connection, _record: self.on_connect(connection))
        return engine

    def engine_options(self) -> dict[str, Any]:
        return {}

    def on_connect(self, dbapi_connection: Any) -> None:
        """Set up a new session."""

    def insert_ignore(self, table: Table) -> Insert:
        """An INSERT that leaves out rows whose unique key is there already."""
        raise TypeError(f"{type(self).__name__} does not say how to ignore duplicates")

    def insert_new(self, connection: Connection, table: Table, row: dict[str, Any]) -> bool:
        """Insert one row; False when a unique key of it is there already.

        Counted by what comes back: an INSERT's row count means something else with each driver.
        """
        statement = self.insert_ignore(table).values(row).returning(*table.primary_key.columns)
        return connection.execute(statement).first() is not None

    def insert_in_one(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> tuple[Write, dict[str, Any]] | None:
        """A statement that inserts them all with one parameter, and that parameter; None: there is none for them."""
        return None

    def insert_rows(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that all name the same columns, at least one."""
        connection.execute(insert(table), rows)

    def error_code(self, error: DBAPIError) -> str | int | None:
        """The driver's own code of an error."""
        raise TypeError(f"{type(self).__name__} does not say how to read an error's code")

    def reason(self, error: DBAPIError) -> str:
        """What the driver says, for a person: on one line."""
        return " ".join(str(error.orig).split())

    def trouble(self, error: DBAPIError, url: URL) -> MetastoreError | None:
        """What keeps the database from working though it could be found, and what to do; None where nothing does."""
        return None

    def is_conflict(self, error: DBAPIError) -> bool:
        """Deadlock, lock time-out or serialisation failure: expected, and cured by trying again."""
        return self.error_code(error) in self.conflict_codes

    def is_denied(self, error: DBAPIError) -> bool:
        """Wrong user, password or database name."""
        return self.error_code(error) in self.denied_codes

    def is_missing(self, error: DBAPIError) -> bool:
        """The server knows no database of this name."""
        return self.error_code(error) in self.missing_codes

    @contextmanager
    def migration_lock(self, connection: Connection) -> Iterator[None]:
        """Let one process migrate at a time."""
        yield

    def notify(self, connection: Connection, topic: str) -> bool:
        """Push a wake-up to listening sessions; False where the database cannot."""
        return False
