"""A reading → the text that Prometheus scrapes, and the addresses at which this exporter answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporters.catalogue import METASTORE
from exporters.exposition import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from wsgiref.types import StartResponse, WSGIEnvironment

    from exporters.metastore.samples import LabelValues
    from exporters.metastore.sharing import Reading

_TEXT: Final = "text/plain; charset=utf-8"
_INDEX: Final = '<!doctype html><title>Windsock metastore exporter</title><a href="/metrics">Metrics</a>\n'


class ReadingCollector(Collector):
    """The families of the newest reading; of a failed one only ``airflow_metastore_up``."""

    def __init__(self, newest: Callable[[], Reading]) -> None:
        self._newest = newest

    def collect(self) -> Iterator[GaugeMetricFamily]:
        reading = self._newest()
        yield _family("metastore.up", {(): float(not reading.fault)})
        for name in METASTORE:
            if series := reading.values.get(name):
                yield _family(name, series)


def _family(name: str, series: Mapping[LabelValues, float]) -> GaugeMetricFamily:
    row = METASTORE[name]
    family = GaugeMetricFamily(row.series_name(), row.help, labels=list(row.labels))
    for labels, value in series.items():
        family.add_metric(labels, value)
    return family


def metrics_page(newest: Callable[[], Reading]) -> Callable[[], str]:
    """What makes the text of /metrics: the metastore's series and those of this process."""
    registry = CollectorRegistry()
    registry.register(ReadingCollector(newest))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return lambda: generate_latest(registry).decode()


@dataclass(frozen=True)
class MetastorePages:
    """The addresses of `exporters.web.Pages` in this exporter's words.

    It is healthy and ready with the database away too: ``airflow_metastore_up 0`` must be there to be scraped.
    """

    metrics: Callable[[], str]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, content_type, body = self._answer(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        payload = body.encode()
        start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(payload)))])
        return [payload]

    def _answer(self, method: str, path: str) -> tuple[str, str, str]:
        match method, path:
            case "GET" | "HEAD", "/metrics":
                return "200 OK", CONTENT_TYPE, self.metrics()
            case "GET" | "HEAD", "/-/healthy":
                return "200 OK", _TEXT, "The metastore exporter is healthy.\n"
            case "GET" | "HEAD", "/-/ready":
                return "200 OK", _TEXT, "The metastore exporter is ready.\n"
            case "GET" | "HEAD", "/":
                return "200 OK", "text/html; charset=utf-8", _INDEX
            case _:
                return "404 Not Found", _TEXT, "Here are /metrics, /-/healthy and /-/ready.\n"
