"""What most commands begin with: the settings, and the metastore of these settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.config import load

if TYPE_CHECKING:
    from engine.config import Settings
    from engine.metastore.store import Store


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
