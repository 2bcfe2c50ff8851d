"""The StatsD bridge: sockets → lines → samples → mapping → series → /metrics.

What prom/statsd_exporter does, in this process's language and with the same mapping file, so that
nothing needs to be installed. The main thread reads sockets and keeps the series; one thread serves the
pages and only reads. A reload asked for there is done in the main thread.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest

from exporters import mapping_rules
from exporters.catalogue import NAMESPACE
from exporters.errors import MappingError, WebServerDiedError
from exporters.exposition import render, render_readings
from exporters.generate import STATSD_MAPPING
from exporters.ingest import Ingest, IngestOptions
from exporters.listener import Endpoints, Listener
from exporters.mapping import statsd_mapping
from exporters.series import SeriesStore, StoreOptions
from exporters.telemetry import OWN_NAMES, Telemetry, readings
from exporters.web import Pages, SharedPage, WebServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from exporters.mapping_rules import MappingRules

SWEEP_SECONDS: Final = 1.0
RELOAD_PATIENCE_SECONDS: Final = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BridgeConfig:
    """Where to listen and what to do. Port 0 takes a free one."""

    statsd: Endpoints = field(default_factory=Endpoints)
    web_host: str = "127.0.0.1"
    web_port: int = 9102
    mapping: Path | None = None  # None: the built-in one, made from the catalogue
    prefix: str = NAMESPACE  # first word of the names on the wire; used by the built-in mapping
    ingest: IngestOptions = field(default_factory=IngestOptions)
    store: StoreOptions = field(default_factory=StoreOptions)


class Bridge:
    """One bridge, bound on construction. ``serve`` runs it until ``stop``."""

    def __init__(self, config: BridgeConfig, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the mapping and bind the ports; raises MappingError, AddressError."""
        self._config = config
        self._stopping = False
        self._reloads: list[_Reload] = []
        self._registry = _own_registry()
        self.telemetry = Telemetry()
        reserved = OWN_NAMES | _names_in(self._registry)
        self.store = SeriesStore(clock, replace(config.store, reserved_names=reserved))
        self.ingest = Ingest(load_mapping(config), self.store, self.telemetry, config.ingest)
        self._listener = Listener(config.statsd, self.ingest.feed, self.telemetry)
        pages = Pages(SharedPage(self.metrics), self._ready, self.reload)
        try:
            self._web = WebServer(config.web_host, config.web_port, pages)
        except BaseException:
            self._listener.close()
            raise

    @property
    def statsd_port(self) -> int:
        return self._listener.port

    @property
    def web_port(self) -> int:
        return self._web.port

    def serve(self) -> None:
        """Take lines until `stop`; raises WebServerDiedError. Closes everything at the end."""
        self._web.start()
        next_sweep = time.monotonic() + SWEEP_SECONDS
        try:
            while not self._stopping:
                self._listener.poll(max(0.0, next_sweep - time.monotonic()))
                self._serve_reloads()
                if time.monotonic() >= next_sweep:
                    self._sweep()
                    next_sweep = time.monotonic() + SWEEP_SECONDS
        finally:
            self._stopping = True
            self._serve_reloads()
            self._web.close()
            self._listener.close()

    def stop(self) -> None:
        """End `serve` soon. Safe in a signal handler and from another thread."""
        self._stopping = True
        self._listener.wake()

    def request_reload(self) -> _Reload:
        """Let the main thread load the mapping anew. Safe in a signal handler and from another thread."""
        request = _Reload()
        self._reloads.append(request)
        self._listener.wake()
        return request

    def reload(self) -> str:
        """Load the mapping anew and wait; an empty string, or why the old one stays."""
        request = self.request_reload()
        if not request.done.wait(RELOAD_PATIENCE_SECONDS):
            return "the bridge is too busy to reload; try again"
        return request.fault

    def metrics(self) -> str:
        """The page: the senders' series, then the bridge's own."""
        if not self._stopping:
            self.telemetry.udp_packet_drops = self._listener.udp_drops()
        senders = render(list(self.store.families.values()), self.store.clock())
        own = render_readings(readings(self.telemetry, self.store))
        return senders + own + generate_latest(self._registry).decode()

    def _ready(self) -> bool:
        return not self._stopping

    def _sweep(self) -> None:
        self.ingest.sweep()
        if not self._web.alive:
            raise WebServerDiedError("the thread that serves /metrics died; start the bridge again")

    def _serve_reloads(self) -> None:
        while self._reloads:
            request = self._reloads.pop(0)
            request.fault = "the bridge is stopping" if self._stopping else self._reload_now()
            request.done.set()

    def _reload_now(self) -> str:
        """A mapping that cannot be used leaves the old one in place."""
        try:
            self.ingest.use(load_mapping(self._config))
        except MappingError as error:
            self.telemetry.reloads["failure"] += 1
            logger.error("The old mapping stays: %s", error)
            return str(error)
        self.telemetry.reloads["success"] += 1
        logger.info("The mapping is reloaded")
        return ""


class _Reload:
    """A reload asked for, and how it ended."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.fault = ""


def load_mapping(config: BridgeConfig) -> MappingRules:
    """The rules that the bridge will use; raises MappingError."""
    if config.mapping is not None:
        return mapping_rules.load(config.mapping)
    if config.prefix == NAMESPACE:
        return mapping_rules.load(STATSD_MAPPING)
    return mapping_rules.parse(statsd_mapping(prefix=config.prefix), "the built-in mapping")


def run(config: BridgeConfig) -> int:
    """Serve until SIGTERM or SIGINT, reload on SIGHUP; returns the exit status. Raises ExporterError."""
    bridge = Bridge(config)
    with _signals(bridge):
        where = replace(config.statsd, port=bridge.statsd_port).described()
        logger.info("StatsD on %s, metrics on http://%s:%d/metrics", where, config.web_host, bridge.web_port)
        bridge.serve()
    return 0


def _own_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def _names_in(registry: CollectorRegistry) -> frozenset[str]:
    return frozenset(sample.name for family in registry.collect() for sample in family.samples)


@contextmanager
def _signals(bridge: Bridge) -> Iterator[None]:
    handlers = {
        signal.SIGTERM: lambda *_: bridge.stop(),
        signal.SIGINT: lambda *_: bridge.stop(),
        signal.SIGHUP: lambda *_: bridge.request_reload(),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
