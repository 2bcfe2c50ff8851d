"""The schema's life: create, upgrade, check, reset. The migrations themselves are in ``migrations/versions``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from engine.metastore.errors import SchemaOutdated
from engine.metastore.store import Store
from engine.metastore.tables import Base

VERSION_TABLE: Final = "windsock_version"

logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of its own plugins at info level


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The newest migration that this program knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("the migrations are not installed; reinstall windsock")
    return revision


def current(connection: Connection) -> str | None:
    """The migration that a database is at; None for an empty one."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def upgrade(store: Store) -> list[str]:
    """Run the missing migrations, one process at a time; returns their names."""
    with store.engine.begin() as connection, store.dialect.migration_lock(connection):
        before = current(connection)
        _refuse_newer(store, before)
        if before == head():
            return []
        command.upgrade(_config(connection), "head")
        script = ScriptDirectory.from_config(_config())
        return [revision.revision for revision in script.iterate_revisions("head", before or "base")][::-1]


def _refuse_newer(store: Store, revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaOutdated(
            f"the metastore {store} was made by a newer Windsock (schema {revision}); upgrade this installation"
        )


def check(store: Store) -> None:
    """Raise SchemaOutdated unless the schema is this program's."""
    with store.read() as connection:
        revision = current(connection)
    _refuse_newer(store, revision)
    if revision is None:
        raise SchemaOutdated(f"the metastore {store} has no tables yet; run `windsock db init`")
    if revision != head():
        raise SchemaOutdated(f"the metastore {store} is at schema {revision}; run `windsock db upgrade`")


def reset(store: Store) -> None:
    """Drop all of Windsock's tables, and only those, and create them anew."""
    with store.engine.begin() as connection:
        Base.metadata.drop_all(connection)
        if inspect(connection).has_table(VERSION_TABLE):
            connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    upgrade(store)
