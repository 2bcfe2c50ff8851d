"""One small module per database: only what differs from the others."""

from __future__ import annotations

from sqlalchemy import URL

from engine.metastore.dialects.base import DatabaseDialect
from engine.metastore.errors import MetastoreError


def dialect_for(url: URL) -> DatabaseDialect:
    """The dialect of a database URL; raises MetastoreError naming what is supported."""
    match url.get_backend_name():
        case "sqlite":
            from engine.metastore.dialects.sqlite import SqliteDialect

            return SqliteDialect()
        case "postgresql":
            from engine.metastore.dialects.postgresql import PostgresqlDialect

            return PostgresqlDialect()
        case "mysql" | "mariadb":
            from engine.metastore.dialects.mysql import MysqlDialect

            return MysqlDialect()
        case other:
            raise MetastoreError(
                f"database.sql_alchemy_conn names {other!r}; Windsock runs on sqlite, postgresql, mysql and mariadb"
            )
