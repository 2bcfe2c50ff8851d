"""What most commands begin with: the settings, and the metastore of these settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.config import load

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from engine.config import Settings
    from engine.metastore.store import Store

T = TypeVar("T")


@contextmanager
def open_store(settings: Settings | None = None) -> Iterator[Store]:
    """The metastore; a database error inside leaves as one that says what to do, also where the tables are missing."""
    from sqlalchemy.exc import DBAPIError

    from engine.metastore.store import Store

    store = Store.from_settings(settings or load())
    try:
        yield store
    except DBAPIError as error:
        store.check()  # it may know better: missing or outdated tables, no such server
        raise store.explain(error) from error
    finally:
        store.close()


def if_there(settings: Settings, look: Callable[[Connection], list[T]]) -> list[T]:
    """What ``look`` finds in the metastore; nothing where that cannot be asked, and none is made for it."""
    from sqlalchemy.exc import SQLAlchemyError

    from engine.metastore.errors import MetastoreError
    from engine.metastore.store import Store

    if not _can_be_asked(settings.database.sql_alchemy_conn):
        return []
    try:
        with closing(Store.from_settings(settings)) as store, store.read() as connection:
            return look(connection)
    except (SQLAlchemyError, MetastoreError):
        return []


def _can_be_asked(address: str) -> bool:
    """Whether it is an address, and to look does not make a file there."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        at = make_url(address)
    except (ArgumentError, ValueError):  # ValueError: of a port that is no number
        return False
    return at.get_backend_name() != "sqlite" or Path(at.database or "").is_file()
