"""The database's clock, so that several machines agree on what is due."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, text


def database_now(connection: Connection) -> datetime:
    """Now, aware UTC with microseconds. SQLite lives on this machine, so its clock is ours and costs no statement."""
    match connection.dialect.name:
        case "sqlite":
            return datetime.now(UTC)
        case "postgresql":
            now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
            return now.astimezone(UTC)
        case _:
            naive: datetime = connection.execute(text("SELECT UTC_TIMESTAMP(6)")).scalar_one()
            return naive.replace(tzinfo=UTC)
