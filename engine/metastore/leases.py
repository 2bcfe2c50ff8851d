"""What one process has at a time: rows of one table, three protocols.

``leader``: who does what must not be done twice (gauges of the whole metastore, the audit of budgets). A lease with a
term, by the database's clock only.

1. Whoever looks reads the row without a lock. The holder renews it each time; anybody else takes it over when it has
   run out, or its holder has signed off or was declared dead. Both are one UPDATE, conditional on the term that was
   read, so that of two who try one fails. Taking over counts the term up.
2. The holder trusts itself for :data:`TRUST_SECONDS` by its own monotonic clock, counted from before it asked: a slow
   answer or a stopped process shortens its trust and cannot lengthen it. The lease is longer by a margin.
3. A write that only the leader may do is fenced: :func:`fence` locks the row in the writing transaction and raises
   where the term has moved on. No successor can begin before that transaction has ended.

Any error means: not leader. Nothing that keeps runs going waits for a leader: creating runs, starting, claiming and
rescuing are guarded by the rows themselves, and every scheduler does them.

``lookout``: the same for notifiers: which of them looks for what no transition shows (``engine.running.lookout``).

``claims``: the lock under which several schedulers hand out work, one after the other (:func:`lock`). Each claim locks
budgets of many DAGs; without the lock two of them, or one and a finish in the same transaction, wait for each other's.

``admission``: the lock under which a scheduler signs on, so that two that may not work side by side cannot both find
nobody there.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, update

from engine.metastore.database import Database, Tx
from engine.metastore.errors import Refused
from engine.metastore.tables import Base, Lease, Process

LEADER: Final = "leader"
LOOKOUT: Final = "lookout"
CLAIMS: Final = "claims"
ADMISSION: Final = "admission"

# An idle leader renews its lease twice a minute: both are longer than that.
TRUST_SECONDS: Final = 40.0
LEASE: Final = timedelta(seconds=45)

_LEASE: Final = Base.metadata.tables[Lease.__tablename__]
_ROW: Final = select(Lease.holder, Lease.term, Lease.expires_at)


def lock(tx: Tx, name: str) -> None:
    """Wait for one of the locks; it is held to the end of the transaction. SQLite has one writer anyway."""
    if tx.dialect.locks_rows:
        tx.connection.execute(select(Lease.name).where(Lease.name == name).with_for_update())


class Leadership:
    """One process's view of a leader's lease. `me` is its process id in the metastore."""

    def __init__(self, me: str, name: str = LEADER) -> None:
        self.me = me
        self.asked_at: datetime | None = None  # by the database's clock; None until it has answered
        self._name = name
        self._term = 0
        self._trusted_until = 0.0  # monotonic

    @property
    def term(self) -> int | None:
        """The term that this process leads in; None while it does not."""
        return self._term if time.monotonic() < self._trusted_until else None

    def seek(self, database: Database) -> int | None:
        """Become or stay leader where that can be; returns the term."""
        before = time.monotonic()
        self._trusted_until = 0.0
        term, self.asked_at = database.run(lambda tx: (self._seek(tx), tx.now))
        if term is not None:
            self._term, self._trusted_until = term, before + TRUST_SECONDS
        return self.term

    def _seek(self, tx: Tx) -> int | None:
        row = tx.connection.execute(_ROW.where(Lease.name == self._name)).one()
        mine = row.holder == self.me and row.expires_at is not None and row.expires_at > tx.now
        if mine:
            return self._take(tx, row.term, row.term)
        free = row.holder is None or row.expires_at is None or row.expires_at <= tx.now or _is_gone(tx, row.holder)
        return self._take(tx, row.term, row.term + 1) if free else None

    def _take(self, tx: Tx, old: int, new: int) -> int | None:
        statement = update(_LEASE).where(Lease.name == self._name, Lease.term == old)
        if old == new:
            statement = statement.where(Lease.holder == self.me)
        values = {"holder": self.me, "term": new, "expires_at": tx.now + LEASE}
        return new if tx.connection.execute(statement.values(values)).rowcount == 1 else None

    def resign(self, tx: Tx) -> None:
        """Let the next one begin at once."""
        self._trusted_until = 0.0
        statement = update(_LEASE).where(Lease.name == self._name, Lease.holder == self.me)
        tx.connection.execute(statement.values(expires_at=None, holder=None))


def fence(tx: Tx, term: int) -> None:
    """Hold the leader's row to the end of the transaction. Raises Refused where another term has begun."""
    statement = select(Lease.term).where(Lease.name == LEADER)
    row = tx.connection.execute(statement.with_for_update() if tx.dialect.locks_rows else statement).one()
    if row.term != term:
        raise Refused(f"term {term} of the leader is over, {row.term} has begun")


def _is_gone(tx: Tx, holder: str) -> bool:
    lives = select(Process.id).where(Process.id == holder, Process.ended_at.is_(None))
    return tx.connection.execute(lives).first() is None
