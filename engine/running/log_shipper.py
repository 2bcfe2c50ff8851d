"""The log shipper: one process for each log folder, which brings the logs of ended attempts to the remote folder.

1. The transaction that ends an attempt asks for its log (``engine.metastore.shipments``).
2. The shipper leases what is due in its folder, and uploads it (``engine.logs.shipping``), several at once.
3. What has arrived leaves the queue in one transaction. What failed is due again after a pause that grows.
4. Where the remote folder itself fails, nothing else is tried: what was leased is given back, and after a pause one log
   is tried. Once that has arrived, the others follow.

Killed at any moment it leaves leases behind. Its successor on this machine ends them at once, any other when they run
out; what was uploaded already is uploaded again. Scheduling never waits for any of this.
"""

from __future__ import annotations

import logging
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from engine.config import Settings
from engine.logs.place import place_of
from engine.logs.remote import Reason, RemoteError, RemoteFolder, connect
from engine.logs.shipping import ship
from engine.metastore import processes, shipments
from engine.metastore.processes import Identity, identify
from engine.metastore.shipments import Setback, Shipment
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store, Tx
from engine.metrics import Metrics

log = logging.getLogger(__name__)

_BATCH: Final = 64
_AT_ONCE: Final = 4
_POLL_SECONDS: Final = 2.0
_REQUEST_SECONDS: Final = 60.0  # for one part of a log
_LEASE: Final = timedelta(seconds=60)
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_LONGEST_WAIT: Final = 300.0  # of a log that fails while others arrive
_SURELY_DEAD: Final = timedelta(hours=1)  # on another machine; here the kernel tells


@dataclass(slots=True)
class _Round:
    """What became of the logs that were leased together."""

    arrived: dict[int, Shipment] = field(default_factory=dict)
    setbacks: list[tuple[Shipment, RemoteError]] = field(default_factory=list)
    gone: list[tuple[Shipment, RemoteError]] = field(default_factory=list)  # there is nothing to ship
    trouble: RemoteError | None = None  # the remote folder's own


class LogShipper:
    """Ships what is due, a batch at a time. `holder` is the id of the process."""

    def __init__(
        self, store: Store, metrics: Metrics, base: Path, remote: RemoteFolder, holder: str, *, delete_local: bool
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._base = base
        self._place = place_of(base)
        self._remote = remote
        self._holder = holder
        self._delete_local = delete_local
        self._stop = threading.Event()
        self._troubles = 0  # rounds in a row in which the remote folder failed
        self._pool = ThreadPoolExecutor(_AT_ONCE, "ship")

    def run(self) -> None:
        """Ship until :meth:`stop`. A database that is away for a while is waited for."""
        self._metrics.incr("logs.shipped", 0)
        while not self._stop.is_set():
            try:
                tried = self.turn()
            except Exception as error:
                if not self._store.is_passing(error):
                    raise
                log.error("logs wait until the metastore can be used: %s", str(error).partition("\n")[0])
                tried = 0
            if self._troubles:
                self._stop.wait(pause(self._troubles, _LONGEST_PAUSE))
            elif not tried:
                self._stop.wait(_POLL_SECONDS)
        self._pool.shutdown()

    def stop(self) -> None:
        """End :meth:`run` after the logs that are being uploaded. Safe in a signal handler."""
        self._stop.set()

    def turn(self) -> int:
        """Lease, ship and settle one batch; returns how many logs were leased."""
        with self._store.read() as connection:
            if not shipments.any_due(connection, self._place):
                return 0
        limit = 1 if self._troubles else _BATCH
        token, leased = self._store.run(lambda tx: shipments.lease(tx, self._place, self._holder, limit, _LEASE))
        if not leased:
            return 0
        done = _Round()
        list(self._pool.map(lambda shipment: self._ship(shipment, done), leased))
        recovered = bool(self._troubles and done.arrived and not done.trouble)
        self._troubles = self._troubles + 1 if done.trouble else 0
        self._store.run(lambda tx: self._settle(tx, token, done))
        self._tell(done, recovered=recovered)
        return len(leased)

    def _ship(self, shipment: Shipment, done: _Round) -> None:
        """In a thread of the pool. What it leaves out is given back."""
        if done.trouble or self._stop.is_set():
            return
        try:
            ship(self._base, shipment.path, self._remote, delete_local=self._delete_local, lost=shipment.lost)
        except RemoteError as error:
            if error.reason is Reason.MISSING:
                done.gone.append((shipment, error))
                return
            done.setbacks.append((shipment, error))
            if error.holds_up_all:
                done.trouble = error
        else:
            done.arrived[shipment.id] = shipment

    def _settle(self, tx: Tx, token: str, done: _Round) -> None:
        over = [*done.arrived, *(shipment.id for shipment, _ in done.gone)]
        shipments.confirm(tx, token, over)
        shipments.postpone(tx, token, [_setback(shipment, error) for shipment, error in done.setbacks])
        shipments.release(tx, token)

    def _tell(self, done: _Round, *, recovered: bool) -> None:
        """What follows the commit: metrics, and the log."""
        if done.arrived:
            self._metrics.incr("logs.shipped", len(done.arrived))
        for shipment in done.arrived.values():
            self._metrics.timing("logs.ship_delay", shipment.age.total_seconds())
        for shipment, error in (*done.setbacks, *done.gone):
            self._metrics.incr("logs.ship_failures", reason=error.reason)
            if not error.holds_up_all and error.reason is not Reason.UNSETTLED:
                log.warning("%s is not shipped (%s): %s", shipment.path, error.reason, error)
        if done.trouble and self._troubles == 1:
            log.error("logs wait until the remote log folder takes them: %s", done.trouble)
        if recovered:
            log.info("the remote log folder takes logs again")


def _setback(shipment: Shipment, error: RemoteError) -> Setback:
    """Where the folder itself failed, the shipper waits and not the log."""
    wait = 0.0 if error.holds_up_all else pause(shipment.attempts + 1, _LONGEST_WAIT)
    return Setback(shipment.id, error.reason, str(error), timedelta(seconds=wait))


def pause(tries: int, longest: float) -> float:
    """Seconds until the next try after `tries` failures: twice as long each time, by chance a half more or less."""
    return min(longest, _FIRST_PAUSE * 2.0 ** min(tries - 1, 16)) * random.uniform(0.5, 1.5)  # noqa: S311


def run(settings: Settings) -> int:
    """Ship logs until TERM or INT. Raises the metastore's errors, and RemoteError where it cannot begin."""
    logs = settings.logging
    if not logs.remote_logging:
        raise RemoteError(
            Reason.REFUSED, "logging.remote_logging is off; set it, and logging.remote_base_log_folder, to ship logs"
        )
    remote = connect(logs, timeout_seconds=_REQUEST_SECONDS)
    store = Store.from_settings(settings)
    store.check()
    metrics = Metrics(settings.metrics)
    identity = identify(ProcessKind.LOG_SHIPPER)
    store.run(lambda tx: processes.register(tx, identity))
    _take_over(store)
    shipper = LogShipper(store, metrics, logs.base_log_folder, remote, identity.id, delete_local=logs.delete_local_logs)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: shipper.stop())
    over = threading.Event()
    beat_seconds = settings.scheduler.job_heartbeat_sec
    beats = threading.Thread(
        target=_beat, args=(store, metrics, identity, beat_seconds, over), name="heartbeat", daemon=True
    )
    beats.start()
    log.info("shipping logs from %s to %s", logs.base_log_folder, logs.remote_base_log_folder)
    try:
        shipper.run()
    finally:
        over.set()
        beats.join(timeout=beat_seconds)
        store.run(lambda tx: processes.end(tx, [identity.id]))
        metrics.close()
        store.close()
    return 0


def _take_over(store: Store) -> None:
    """Go on at once with what a killed predecessor was about to do."""

    def work(tx: Tx) -> None:
        dead = processes.find_dead(tx.connection, tx.now, _SURELY_DEAD, (ProcessKind.LOG_SHIPPER,))
        shipments.take_over(tx, dead)
        processes.declare_dead(tx, dead)

    store.run(work)


def _beat(store: Store, metrics: Metrics, identity: Identity, seconds: float, over: threading.Event) -> None:
    """Sign of life, for the process and for its leases."""

    def work(tx: Tx) -> None:
        processes.heartbeat(tx, [identity.id])
        shipments.renew(tx, identity.id, _LEASE)

    while not over.wait(seconds):
        try:
            store.run(work)
        except Exception as error:
            metrics.incr("job_heartbeat_failure")
            log.warning("the heartbeat could not be written: %s", error)
