"""The door to the metastore: a database with Windsock's schema in it, and the wake-ups of those who wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.metastore import revision, wakeups
from engine.metastore.database import Database, Tx
from engine.metastore.errors import SchemaOutdated

if TYPE_CHECKING:
    from engine.config import Settings

__all__ = ["Store", "Tx"]


class Store(Database):
    """One metastore. Alembic (0.3 s to import) comes in only when the schema is not the current one."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Store:
        """The store that the settings name; wake-up sockets live in ``$WINDSOCK_HOME/run``."""
        database = settings.database
        return cls(database.sql_alchemy_conn, run_dir=settings.home / "run", pool_size=database.pool_size)

    def wake(self, topic: str, news: bytes = wakeups.ANYTHING) -> None:
        """Wake the processes that wait for `topic` (scheduler, notifier). Never raises: waiters also poll."""
        wakeups.wake(self, topic, news)

    def wake_near(self, topic: str, news: bytes = wakeups.ANYTHING) -> None:
        """The half of :meth:`wake` that waits for nothing: for those of this machine."""
        wakeups.wake_near(self, topic, news)

    def wake_far(self, topic: str) -> None:
        """The other half, on a database server a transaction. :meth:`wake_near` comes first."""
        wakeups.wake_far(self, topic)

    def upgrade(self) -> list[str]:
        """Bring the schema to this program's version; returns the migrations that ran (none: it was current)."""
        if self._revision() == revision.HEAD:
            return []
        from engine.metastore import schema

        return schema.upgrade(self)

    def check(self) -> None:
        """Raise Unreachable, AccessDenied or SchemaOutdated unless the metastore can be used."""
        found = self._revision()
        if found == revision.HEAD:
            return
        if found is None:
            raise SchemaOutdated(f"the metastore {self} has no tables yet; run `windsock db init`")
        from engine.metastore import schema

        schema.refuse_newer(self, found)
        raise SchemaOutdated(f"the metastore {self} is at schema {found}; run `windsock db upgrade`")

    def reset(self) -> None:
        """Drop every table of Windsock and create them anew. Everything in them is lost."""
        self.ping()
        from engine.metastore import schema

        schema.reset(self)

    def _revision(self) -> str | None:
        self.ping()
        with self.read() as connection:
            return revision.stored(connection)
