"""What every component does at its start, done once before they are forked from one process.

What that makes for good, such as the caches of SQLAlchemy and of the settings, they then share instead of making it
each for itself: 1 to 2 MB a component. Nothing stays of it in the database, and no connection to it.
"""

from __future__ import annotations

import contextlib
from typing import NoReturn

from engine.config import load
from engine.logs.redaction import Redactor
from engine.metastore import processes
from engine.metastore.processes import identify
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store, Tx
from engine.parsing.stored import read_known


class _CutError(Exception):
    """The end of the rehearsal, before anything is committed."""


def load_driver() -> None:
    """Import the dialect and the driver of the database, without a word to it. Never raises, either."""
    with contextlib.suppress(Exception):
        Store.from_settings(load()).close()


def rehearse() -> None:
    """Never raises: what is wrong each component says itself, when it is started."""
    with contextlib.suppress(Exception):
        settings = load()
        Redactor.from_settings(settings)
        with contextlib.closing(Store.from_settings(settings)) as store:
            store.check()
            with contextlib.suppress(_CutError):
                store.run(_play)


def _play(tx: Tx) -> NoReturn:
    identity = identify(ProcessKind.NOTIFIER)
    processes.register(tx, identity)
    processes.heartbeat(tx, [identity.id])
    processes.end(tx, [identity.id])
    read_known(tx.connection)
    raise _CutError
