"""The database's clock, so that several machines agree on what is due."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from alerting.tables import UtcDateTime

_POSTGRESQL: Final = text("SELECT clock_timestamp()")
_MYSQL: Final = text("SELECT UTC_TIMESTAMP(6)")


def database_now(connection: Connection) -> datetime:
    """Now, aware UTC with microseconds. SQLite lives on this machine, so its clock is ours and costs no statement."""
    match connection.dialect.name:
        case "sqlite":
            return datetime.now(UTC)
        case "postgresql":
            now: datetime = connection.execute(_POSTGRESQL).scalar_one()
            return now.astimezone(UTC)
        case _:
            naive: datetime = connection.execute(_MYSQL).scalar_one()
            return naive.replace(tzinfo=UTC)


class Clock(FunctionElement[datetime]):
    """As a column, so that a statement tells the time as well: when it began. NULL on SQLite, whose clock is ours."""

    name = "clock"
    type = UtcDateTime()
    inherit_cache = True


@compiles(Clock)
def _nowhere(_element: Clock, _compiler: SQLCompiler, **_more: Any) -> str:
    return "NULL"


@compiles(Clock, "postgresql")
def _of_postgresql(_element: Clock, _compiler: SQLCompiler, **_more: Any) -> str:
    return "statement_timestamp()"


@compiles(Clock, "mysql")
def _of_mysql(_element: Clock, _compiler: SQLCompiler, **_more: Any) -> str:
    return "UTC_TIMESTAMP(6)"
