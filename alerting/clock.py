"""The database's clock, so that several machines agree on what is due."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, text

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
