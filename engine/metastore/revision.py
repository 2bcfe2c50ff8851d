"""Which schema a metastore has. Every process asks at its start, so Alembic (0.3 s to import) stays out of this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

from engine.metastore.errors import SchemaOutdated

if TYPE_CHECKING:
    from engine.metastore.store import Store

VERSION_TABLE: Final = "windsock_version"
HEAD: Final = "0001"  # the newest migration; a test compares it with migrations/versions


def stored(connection: Connection) -> str | None:
    """The migration that a database is at; None for an empty one."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    return revision


def check(store: Store) -> None:
    """Raise SchemaOutdated unless the schema is this program's."""
    with store.read() as connection:
        revision = stored(connection)
    if revision == HEAD:
        return
    if revision is None:
        raise SchemaOutdated(f"the metastore {store} has no tables yet; run `windsock db init`")
    from engine.metastore.schema import refuse_newer

    refuse_newer(store, revision)
    raise SchemaOutdated(f"the metastore {store} is at schema {revision}; run `windsock db upgrade`")
