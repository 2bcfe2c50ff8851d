"""The exporter as a process: configuration, one thread that serves the pages, TERM and INT."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from exporters.errors import WebServerDiedError
from exporters.metastore.airflow import AirflowMetastore
from exporters.metastore.database import ReadOnlyDatabase
from exporters.metastore.errors import ReadError, UnknownSchemaError
from exporters.metastore.page import MetastorePages, metrics_page
from exporters.metastore.samples import Samples
from exporters.metastore.sharing import SharedRead
from exporters.metastore.windsock import WindsockMetastore
from exporters.web import WebServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from exporters.metastore.samples import LabelValues
    from exporters.web import Pages

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


class MetastoreReader:
    """One read after the other, never two at once."""

    def __init__(self, config: MetastoreConfig) -> None:
        """Understand the URL; raises DatabaseUrlError."""
        self._database = ReadOnlyDatabase(config.url, config.timeout_seconds)
        self._product = (AirflowMetastore if config.airflow else WindsockMetastore)(config.dags_folder)
        self._max_series = config.max_series
        self._checked = False

    def __call__(self) -> Mapping[str, Mapping[LabelValues, float]]:
        """Read; raises ReadError, UnknownSchemaError. A schema that failed us is looked at anew the next time."""
        began = time.monotonic()
        try:
            samples = self._read()
        except UnknownSchemaError as error:
            raise UnknownSchemaError(f"{self._database} cannot be read: {error}") from error
        except ReadError:
            self._checked = False
            raise
        samples.set("metastore.read_duration_seconds", time.monotonic() - began)
        samples.set("metastore.read_timestamp_seconds", samples.now.timestamp())
        return samples.capped(self._max_series)

    def _read(self) -> Samples:
        with self._database.read() as (connection, now):
            samples = Samples(now)
            if not self._checked:
                self._product.check(connection)
                self._checked = True
            self._product.read(connection, samples)
            return samples


class MetastoreExporter:
    """One exporter, bound on construction. ``serve`` runs it until ``stop``."""

    def __init__(self, config: MetastoreConfig) -> None:
        """Understand the URL and bind the port; raises DatabaseUrlError, AddressError."""
        self.shared = SharedRead(
            MetastoreReader(config), cache_seconds=config.cache_seconds, patience_seconds=config.timeout_seconds
        )
        pages = MetastorePages(metrics_page(self.shared.newest))
        self._web = WebServer(config.host, config.port, cast("Pages", pages))  # it serves any WSGI application
        self._stopping = threading.Event()

    @property
    def port(self) -> int:
        return self._web.port

    def serve(self) -> None:
        """Answer until `stop`; raises WebServerDiedError. Closes everything at the end."""
        self._web.start()
        try:
            while not self._stopping.wait(LOOK_SECONDS):
                if not self._web.alive:
                    raise WebServerDiedError("the thread that serves /metrics died; start the exporter again")
        finally:
            self._web.close()

    def stop(self) -> None:
        """End `serve` soon. Safe in a signal handler and from another thread."""
        self._stopping.set()


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
