"""The metastore exporter: database → a handful of statements → samples → /metrics.

Who does what:

1. A scrape asks :class:`~exporters.metastore.sharing.SharedRead`. What was read within the last few seconds is
   answered from memory. Otherwise one read is begun, and every scrape that comes meanwhile waits for that one.
2. A read is one read-only transaction with one view of the database (``database``): the statements of ``windsock`` or
   of ``airflow``, whose rows ``families`` turns into samples of the signals in ``exporters.signals.metastore``.
3. A read that fails, or is not over within the time limit, leaves one series: ``airflow_metastore_up 0``. Nobody is
   shown old numbers as new ones. A read that hangs is left alone, and no second one is begun beside it.
4. Each read opens a connection of its own, so that a database that was away is found again without help.

The tables are named here a second time, since this package works without the engine; a contract test holds both
together.
"""

from __future__ import annotations
