"""The DAG processor as a process: its heartbeat row, its signals, its metrics."""

from __future__ import annotations

import logging
import signal
import threading
from typing import TYPE_CHECKING

from engine.metastore import processes
from engine.metastore.processes import Identity, identify
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store
from engine.metrics import Metrics
from engine.parsing.processor import DagProcessor
from engine.running.environment import hide_secrets

if TYPE_CHECKING:
    from engine.config import Settings

log = logging.getLogger(__name__)


def run_dag_processor(settings: Settings) -> None:
    """Process DAG files until TERM or INT. Raises the metastore's errors where it cannot begin."""
    store = Store.from_settings(settings)
    store.check()
    identity = identify(ProcessKind.DAG_PROCESSOR)
    store.run(lambda tx: processes.register(tx, identity))
    stop = threading.Event()
    metrics = Metrics(settings.metrics)
    processor = DagProcessor(settings, store, metrics, lambda: _beat(store, identity))
    hide_secrets(settings)  # parse processes run user code

    def on_signal(*_: object) -> None:
        stop.set()
        processor.wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    try:
        processor.run(stop)
    finally:
        store.run(lambda tx: processes.end(tx, [identity.id]))
        metrics.close()
        store.close()


def _beat(store: Store, identity: Identity) -> None:
    try:
        store.run(lambda tx: processes.heartbeat(tx, [identity.id]))
    except Exception as error:  # the processor goes on with what it has; the next heartbeat may be written again
        log.warning("the heartbeat could not be written: %s", error)
