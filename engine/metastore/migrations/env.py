"""What Alembic runs: migrate the connection that ``engine.metastore.schema`` hands over."""

from __future__ import annotations

from alembic import context

from engine.metastore.revision import VERSION_TABLE
from engine.metastore.tables import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
