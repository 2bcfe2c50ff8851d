"""The schema's life: create, upgrade, reset. The migrations themselves are in ``migrations/versions``."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from engine.metastore.database import Database
from engine.metastore.errors import SchemaOutdated
from engine.metastore.revision import VERSION_TABLE, stored
from engine.metastore.tables import Base

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


def upgrade(store: Database) -> list[str]:
    """Run the missing migrations, one process at a time; returns their names."""
    with store.engine.begin() as connection, store.dialect.migration_lock(connection):
        before = stored(connection)
        refuse_newer(store, before)
        if before == head():
            return []
        command.upgrade(_config(connection), "head")
        script = ScriptDirectory.from_config(_config())
        return [revision.revision for revision in script.iterate_revisions("head", before or "base")][::-1]


def refuse_newer(store: Database, revision: str | None) -> None:
    """Raise SchemaOutdated for a revision that this program does not know."""
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaOutdated(
            f"the metastore {store} was made by a newer Windsock (schema {revision}); upgrade this installation"
        )


def reset(store: Database) -> None:
    """Drop all of Windsock's tables, and only those, and create them anew."""
    with store.engine.begin() as connection:
        Base.metadata.drop_all(connection)
        if inspect(connection).has_table(VERSION_TABLE):
            connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    upgrade(store)
