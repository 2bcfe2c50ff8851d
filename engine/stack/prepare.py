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
    from engine.web.users import ensure_admin

    prepare_home(settings)
    write_configurations(settings)
    store = Store.from_settings(settings)
    store.upgrade()
    if password := ensure_admin(store):
        write_password(settings, password)
    return store


def write_password(settings: Settings, password: str) -> None:
    """Keep the administrator's generated password where only the owner of the home can read it."""
    path = settings.home / "admin-password"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(f"{password}\n", encoding="utf-8")
