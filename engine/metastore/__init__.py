"""The metastore: the one truth about runs and attempts, on SQLite, PostgreSQL and MySQL/MariaDB.

Who decides. Every change of state is a set-based UPDATE guarded by the state it leaves and, for an attempt, by the
attempt's token (:mod:`engine.metastore.transitions`). Two processes that race for one row both run the same
statement; the database lets one of them change it, and the other sees that nothing was left to change.

Which clock. The database's. A transaction reads it once (:attr:`Tx.now <engine.metastore.database.Tx.now>`) and uses
that instant throughout; local clocks only measure how long to wait.

When a step fails. Deadlocks, lock time-outs and serialisation failures are expected and repeated in one place
(:meth:`Database.run <engine.metastore.database.Database.run>`); a lost connection is repeated there too, since guarded
transitions may safely run twice. Everything else is an error that reaches the caller with its cause.
"""

from __future__ import annotations
