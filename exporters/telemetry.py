"""What the bridge says of itself, under statsd_exporter's names. Plain numbers: counting is cheap."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from exporters.line import Kind
from exporters.series import FamilyType, SeriesStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric


class EventError(StrEnum):
    """Why a sample reached no series: label ``reason`` of ``statsd_exporter_events_error_total``."""

    EMPTY_METRIC_NAME = "empty_metric_name"
    ILLEGAL_NEGATIVE_COUNTER = "illegal_negative_counter"
    NOT_FINITE = "not_finite"  # NaN or Inf would poison a counter or a histogram for ever
    SERIES_LIMIT = "series_limit"


@dataclass(slots=True)
class Telemetry:
    """Everything counted since the start."""

    lines: int = 0
    samples: int = 0
    tag_errors: int = 0
    unmapped: int = 0
    dropped: int = 0
    udp_packets: int = 0
    udp_packet_drops: int = 0
    tcp_connections: int = 0
    tcp_connection_errors: int = 0
    tcp_too_long_lines: int = 0
    loaded_mappings: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    event_errors: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    reloads: Counter[str] = field(default_factory=Counter)


class TelemetryCollector(Collector):
    """Telemetry and the store's sizes as families; ``refresh`` is called before each reading."""

    def __init__(self, telemetry: Telemetry, store: SeriesStore, refresh: Callable[[], None]) -> None:
        self._telemetry = telemetry
        self._store = store
        self._refresh = refresh

    def collect(self) -> Iterator[Metric]:
        self._refresh()
        yield from self._plain()
        yield from self._labelled()
        yield from self._sizes()

    def _plain(self) -> Iterator[Metric]:
        told = self._telemetry
        for name, help_text, value in (
            ("lines_total", "StatsD lines received, blank ones not counted", told.lines),
            ("samples_total", "StatsD samples received", told.samples),
            ("tag_errors_total", "Tags that could not be read; their samples were kept", told.tag_errors),
            ("events_unmapped_total", "Samples no mapping was found for", told.unmapped),
            ("udp_packets_total", "UDP packets received", told.udp_packets),
            (
                "udp_packet_drops_total",
                "UDP packets the kernel dropped, its buffer full",
                told.udp_packet_drops,
            ),
            ("tcp_connections_total", "TCP connections accepted", told.tcp_connections),
            ("tcp_connection_errors_total", "TCP connections that broke", told.tcp_connection_errors),
            (
                "tcp_too_long_lines_total",
                "TCP connections closed for too long a line",
                told.tcp_too_long_lines,
            ),
        ):
            yield CounterMetricFamily(f"statsd_exporter_{name}", help_text, value=value)

    def _labelled(self) -> Iterator[Metric]:
        told = self._telemetry
        yield _by("sample_errors_total", "Samples refused by the parser", "reason", told.refusals)
        yield _by("events_error_total", "Samples that reached no series", "reason", told.event_errors)
        yield _by("config_reloads_total", "Reloads of the mapping", "outcome", told.reloads)
        events = self._events()
        actions = {"map": sum(events.values()) - told.unmapped, "drop": told.dropped}
        yield _by("events_total", "Samples that reached a series", "type", events)
        yield _by("events_actions_total", "Samples by what their mapping did", "action", actions)
        conflict = CounterMetricFamily(
            "statsd_exporter_events_conflict_total",
            "Samples whose name belongs to a family of another type",
            labels=["type", "metric_name"],
        )
        for (kind, name), count in told.conflicts.items():
            conflict.add_metric([kind, name], count)
        yield conflict

    def _events(self) -> dict[str, int]:
        taken = self._store.samples()
        return {
            Kind.COUNTER: taken[FamilyType.COUNTER],
            Kind.GAUGE: taken[FamilyType.GAUGE],
            Kind.OBSERVER: taken[FamilyType.HISTOGRAM] + taken[FamilyType.SUMMARY],
        }

    def _sizes(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "statsd_exporter_loaded_mappings",
            "Rules of the mapping in use",
            value=self._telemetry.loaded_mappings,
        )
        families = GaugeMetricFamily("statsd_exporter_metrics_total", "Families in use", labels=["type"])
        for kind, count in Counter(family.type for family in self._store.families.values()).items():
            families.add_metric([kind], count)
        yield families
        yield GaugeMetricFamily("statsd_exporter_series", "Series held now", value=self._store.size)
        yield GaugeMetricFamily(
            "statsd_exporter_series_limit",
            "Series above which no new one begins",
            value=self._store.max_series,
        )


def _by(name: str, help_text: str, label: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"statsd_exporter_{name}", help_text, labels=[label])
    for value, count in counts.items():
        family.add_metric([str(value)], count)
    return family
