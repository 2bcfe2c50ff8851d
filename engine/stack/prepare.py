"""What must be there before the first component starts: folders, metastore, administrator, configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.config import Settings, prepare_home

if TYPE_CHECKING:
    from engine.metastore.store import Store


def prepare(settings: Settings) -> Store:
    """Make everything ready and return the open metastore. Safe to repeat; raises errors worded for people."""
    from engine.metastore.store import Store
    from engine.stack.monitoring import write_configurations
    from engine.web.users import ensure_admin_file

    prepare_home(settings)
    write_configurations(settings)
    store = Store.from_settings(settings)
    store.upgrade()
    ensure_admin_file(settings, store)
    return store
