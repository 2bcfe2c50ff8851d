"""Which schema a metastore has. Every process asks at its start, so Alembic stays out of this."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, inspect, text

VERSION_TABLE: Final = "windsock_version"
HEAD: Final = "0018"  # the newest migration; a test compares it with migrations/versions


def stored(connection: Connection) -> str | None:
    """The migration that a database is at; None for an empty one."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    return revision
