"""One clock decides when a delivery is due and when a lease has run out: the database's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, text

_STATEMENTS: Final = {
    "postgresql": text("SELECT clock_timestamp()"),  # moves inside a transaction, unlike now()
    "mysql": text("SELECT UTC_TIMESTAMP(6)"),
    "mariadb": text("SELECT UTC_TIMESTAMP(6)"),
}


def database_now(connection: Connection) -> datetime:
    """Now by the database's clock: aware UTC, with microseconds.

    SQLite runs in this process, so its clock is this machine's and needs no statement.
    """
    statement = _STATEMENTS.get(connection.dialect.name)
    if statement is None:
        return datetime.now(UTC)
    now: datetime = connection.execute(statement).scalar_one()
    return now.astimezone(UTC) if now.tzinfo else now.replace(tzinfo=UTC)
