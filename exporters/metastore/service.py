"""The exporter as a process: configuration, one thread that serves the pages, TERM and INT."""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from exporters.errors import WebServerDiedError
from exporters.metastore.page import MetastorePages, metrics_page
from exporters.metastore.sharing import SharedRead
from exporters.web import WebServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporters.metastore.sharing import Read

LOOK_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MetastoreConfig:
    """Whose database to read, where to answer. Port 0 takes a free one."""

    url: str
    airflow: bool = False  # the database is Airflow's
    dags_folder: str = ""  # paths of files are shown as seen from here
    host: str = "127.0.0.1"
    port: int = 9103
    cache_seconds: float = 5.0
    timeout_seconds: float = 5.0
    max_series: int = 10_000  # of one family


class MetastoreExporter:
    """One exporter, bound on construction. ``serve`` runs it until ``stop``."""

    def __init__(self, config: MetastoreConfig) -> None:
        """Bind the port; raises AddressError, and DatabaseUrlError for a URL that no settings have checked."""
        if config.airflow:
            _make_read(config)
        self.shared = SharedRead(
            lambda: _make_read(config),
            cache_seconds=config.cache_seconds,
            patience_seconds=config.timeout_seconds,
        )
        pages = MetastorePages(metrics_page(self.shared.newest))
        self._web = WebServer(config.host, config.port, pages)
        self._stopping = threading.Event()

    @property
    def port(self) -> int:
        return self._web.port

    def serve(self) -> None:
        """Answer until `stop`; raises WebServerDiedError. Closes everything at the end."""
        self._web.start()
        # Not at the first scrape: whoever starts it with a wrong database is told now.
        threading.Thread(target=self.shared.newest, name="first read", daemon=True).start()
        try:
            while not self._stopping.wait(LOOK_SECONDS):
                if not self._web.alive:
                    raise WebServerDiedError("the thread that serves /metrics died; start the exporter again")
        finally:
            self._web.close()

    def stop(self) -> None:
        """End `serve` soon. Safe in a signal handler and from another thread."""
        self._stopping.set()


def _make_read(config: MetastoreConfig) -> Read:
    # SQLAlchemy takes a while to import. The port answers before that, so that a start does not wait for it.
    from exporters.metastore.reader import MetastoreReader

    return MetastoreReader(config)


def run(config: MetastoreConfig) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status. Raises ExporterError."""
    exporter = MetastoreExporter(config)
    with _signals(exporter):
        logger.info("The metastore's metrics are on http://%s:%d/metrics", config.host, exporter.port)
        exporter.serve()
    return 0


@contextmanager
def _signals(exporter: MetastoreExporter) -> Iterator[None]:
    def stop(*_: Any) -> None:
        exporter.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
