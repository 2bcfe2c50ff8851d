"""A database: connections, transactions, retries, and errors in words."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError

from alerting.clock import database_now
from engine.metastore import budgets
from engine.metastore.dialects import dialect_for
from engine.metastore.dialects.base import DatabaseDialect
from engine.metastore.errors import AccessDenied, MetastoreError, Unreachable

T = TypeVar("T")

_CONFLICT_TRIES: Final = 20
_LOST_TRIES: Final = 5


@dataclass(slots=True)
class Tx:
    """One write transaction. `owed` are the slots taken from budgets less those given back; its end writes them."""

    connection: Connection
    dialect: DatabaseDialect
    owed: Counter[budgets.Key] = field(default_factory=Counter)
    _now: datetime | None = field(default=None, init=False)
    _heard: float = field(default=0.0, init=False)

    @property
    def now(self) -> datetime:
        """The database's clock when it was first asked for in this transaction, aware UTC: one instant for it all."""
        now = self._now
        if now is None:
            asked = time.monotonic()
            now = database_now(self.connection)
            self.hear(now, asked)
        return now

    @property
    def heard(self) -> float:
        """This process's monotonic clock when :attr:`now` was asked for: what counts from it is early by that way."""
        return self._heard

    def hear(self, now: datetime | None, asked: float) -> None:
        """A statement of this transaction, sent when this process's clock said `asked`, has told the database's time.

        That is the time at which the statement began, whatever it had to wait for. None where it could not (SQLite).
        """
        if self._now is None and now is not None:
            self._now, self._heard = now, asked


class Database:
    """One database. Safe to share between threads; not between processes (make one after a fork).

    Raises :class:`MetastoreError` for a URL that cannot be understood; connecting happens on first use.
    """

    def __init__(self, url: str, *, run_dir: Path | None = None, pool_size: int = 5) -> None:
        try:
            self.url = make_url(url)
            self.dialect = dialect_for(self.url)
            self.engine: Engine = self.dialect.engine(self.url, pool_size)
        except (ArgumentError, NoSuchModuleError, ValueError):
            raise MetastoreError(
                "database.sql_alchemy_conn is not a database URL; write sqlite:////path/windsock.db, "
                "postgresql://user:password@host/database or mysql://user:password@host/database"
            ) from None  # the cause may quote a piece of the password
        self.run_dir = run_dir
        self.doubts = 0  # transactions repeated since the connection was lost: they may have committed all the same

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @property
    def modules(self) -> tuple[str, ...]:
        """What is imported for this kind of database: our dialect, SQLAlchemy's, and the driver."""
        theirs = self.engine.dialect
        return type(self.dialect).__module__, type(theirs).__module__, theirs.loaded_dbapi.__name__

    @contextmanager
    def begin(self) -> Iterator[Tx]:
        """A write transaction: commits at the end, rolls back on an exception."""
        with self.engine.begin() as connection:
            tx = Tx(connection, self.dialect)
            yield tx
            budgets.settle(tx)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: one consistent view on SQLite, READ COMMITTED elsewhere."""
        with self.engine.connect().execution_options(read_only=True) as connection, connection.begin():
            yield connection

    def run(self, work: Callable[[Tx], T]) -> T:
        """Do `work` in a write transaction, again after a conflict (20 times) or a lost connection (5 times).

        `work` must hold no side effects outside the transaction. Raises Unreachable, AccessDenied or Damaged in words
        for a person when the database cannot be used.
        """
        conflicts = lost = 0
        while True:
            try:
                with self.begin() as tx:
                    return work(tx)
            except DBAPIError as error:
                if self.dialect.is_conflict(error) and (conflicts := conflicts + 1) < _CONFLICT_TRIES:
                    time.sleep(random.uniform(0.001, 0.010) * conflicts)  # noqa: S311
                elif error.connection_invalidated and (lost := lost + 1) < _LOST_TRIES:
                    self.doubts += 1
                    time.sleep(random.uniform(0.05, 0.2) * lost)  # noqa: S311
                else:
                    raise self.explain(error) from error

    def explain(self, error: DBAPIError) -> Exception:
        """The error to show to a person; the error itself where there is nothing better to say."""
        reason = self.dialect.reason(error).rstrip(" .?!")
        if self.dialect.is_missing(error):
            return AccessDenied(f"there is no database {self.url.database} at {self}. {self._creation()}")
        if self.dialect.is_denied(error):
            return AccessDenied(
                f"the database refuses {self}: {reason}. Correct user, password and database in "
                "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN"
            )
        if trouble := self.dialect.trouble(error, self.url):
            return trouble
        if error.connection_invalidated or _could_not_connect(error):
            return Unreachable(
                self._no_home() or f"the database {self} cannot be reached: {reason}. {self.dialect.when_unreachable}"
            )
        return error

    def _creation(self) -> str:
        how = self.dialect.creation.format(name=self.url.database)
        return f"Create it: {how}, or correct WINDSOCK__DATABASE__SQL_ALCHEMY_CONN"

    def _no_home(self) -> str:
        """What to do where the database is a file of a home that was never prepared; empty where it is not."""
        home = self.run_dir.parent if self.run_dir else None
        if home is None or self.dialect.is_server or Path(self.url.database or "").parent != home:
            return ""
        if os.access(home, os.F_OK):
            return ""
        return f"there is no Windsock home at {home} yet; run windsock up (or windsock db init)"

    def is_passing(self, error: Exception) -> bool:
        """Whether the same work may succeed later: the database is away, busy or full. Bad data never will.

        Nor will damage: but it may be in one place, so that other work succeeds.
        """
        return isinstance(error, (Unreachable, AccessDenied, OperationalError, InterfaceError))

    def ping(self) -> None:
        """Reach the database or raise Unreachable, AccessDenied or Damaged."""
        try:
            with self.engine.connect().execution_options(read_only=True) as connection:
                connection.exec_driver_sql("SELECT 1")
        except DBAPIError as error:
            raise self.explain(error) from error

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()


def _could_not_connect(error: DBAPIError) -> bool:
    # An error without a statement came up while connecting.
    return error.statement is None
