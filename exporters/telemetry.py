"""What the bridge says of itself, under statsd_exporter's names. Plain numbers: counting is cheap."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from exporters.exposition import Reading
from exporters.line import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from exporters.series import SeriesStore

MOST_CONFLICT_NAMES: Final = 10_000
OTHER_NAMES: Final = "(others)"
"""Stands for the names of conflicts beyond the first `MOST_CONFLICT_NAMES`."""


class EventError(StrEnum):
    """Why a sample reached no series: label ``reason`` of ``statsd_exporter_events_error_total``.

    The first two are statsd_exporter's. The others count what it loses in silence or breaks at.
    """

    EMPTY_METRIC_NAME = "empty_metric_name"
    ILLEGAL_NEGATIVE_COUNTER = "illegal_negative_counter"
    NOT_FINITE = "not_finite"  # with refuse_non_finite: NaN or Inf would poison a counter or a histogram for ever
    RESERVED_LABEL = "reserved_label"
    SAMPLED_AWAY = "sampled_away"
    SERIES_LIMIT = "series_limit"


@dataclass(slots=True)
class Tally:
    """Samples delivered of one kind: ``samples`` came, and each of them stood for one event or, sampled, for more."""

    samples: int = 0
    repeats: int = 0  # events beyond one per sample

    @property
    def events(self) -> int:
        return self.samples + self.repeats


@dataclass(slots=True)
class StreamTold:
    """Connections of one kind of stream."""

    connections: int = 0
    connection_errors: int = 0
    too_long_lines: int = 0


def _tallies() -> dict[tuple[Kind, bool, bool], Tally]:
    return {(kind, mapped, tagged): Tally() for kind in Kind for mapped in (True, False) for tagged in (True, False)}


@dataclass(slots=True)
class Telemetry:
    """Everything counted since the start."""

    lines: int = 0
    samples: int = 0
    tagged: int = 0  # samples with tags, but for those in the tallies
    tag_errors: int = 0
    mapped: int = 0  # events with a rule that reached no series
    unmapped: int = 0  # events without a rule that reached no series
    dropped: int = 0
    batches: int = 0
    udp_packets: int = 0
    udp_packet_drops: int = 0
    unixgram_packets: int = 0
    tcp: StreamTold = field(default_factory=StreamTold)
    unixstream: StreamTold = field(default_factory=StreamTold)
    loaded_mappings: int = 0
    cache_length: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    tallies: dict[tuple[Kind, bool, bool], Tally] = field(default_factory=_tallies)
    """Delivered samples by kind, by whether a rule was found, and by whether they are tagged and still uncounted."""
    refusals: Counter[str] = field(default_factory=Counter)
    event_errors: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    reloads: Counter[str] = field(default_factory=Counter)

    def count_conflict(self, kind: Kind, name: str, times: int) -> None:
        if len(self.conflicts) >= MOST_CONFLICT_NAMES and (kind, name) not in self.conflicts:
            name = OTHER_NAMES
        self.conflicts[kind, name] += times

    def events(self, *, mapped: bool | None = None) -> dict[str, int]:
        """Events that reached a series, by kind."""
        delivered: Counter[str] = Counter()
        for (kind, had_rule, _), tally in self.tallies.items():
            if mapped in (None, had_rule):
                delivered[kind] += tally.events
        return dict(delivered)

    @property
    def events_unmapped(self) -> int:
        return self.unmapped + sum(self.events(mapped=False).values())

    @property
    def events_mapped(self) -> int:
        return self.mapped + sum(self.events(mapped=True).values())

    @property
    def all_tagged(self) -> int:
        return self.tagged + sum(tally.samples for (_, _, tagged), tally in self.tallies.items() if tagged)


def readings(told: Telemetry, store: SeriesStore) -> Iterator[Reading]:
    """Telemetry and the store's sizes as families."""
    yield from _plain(told)
    yield from _labelled(told, store)
    yield from _gauges(told, store)


def _plain(told: Telemetry) -> Iterator[Reading]:
    for name, help_text, value in (
        ("lines_total", "StatsD lines received, blank ones too", told.lines),
        ("samples_total", "StatsD samples received", told.samples),
        ("tags_total", "StatsD samples with tags", told.all_tagged),
        ("tag_errors_total", "Tags that could not be read; their samples were kept", told.tag_errors),
        ("events_unmapped_total", "Events no mapping was found for", told.events_unmapped),
        ("event_queue_flushed_total", "Batches of lines taken in", told.batches),
        ("udp_packets_total", "UDP packets received", told.udp_packets),
        ("udp_packet_drops_total", "UDP packets the kernel dropped, its buffer full", told.udp_packet_drops),
        ("unixgram_packets_total", "Packets received on the Unix datagram socket", told.unixgram_packets),
        *_stream("tcp", "TCP", told.tcp),
        *_stream("unixstream", "Unix stream", told.unixstream),
    ):
        yield _one(f"statsd_exporter_{name}", "counter", help_text, value)
    gets = told.cache_hits + told.cache_misses
    yield _one("statsd_metric_mapper_cache_gets_total", "counter", "Samples looked up among the known lines", gets)
    yield _one("statsd_metric_mapper_cache_hits_total", "counter", "Samples of lines that were known", told.cache_hits)


def _stream(name: str, spoken: str, told: StreamTold) -> Iterator[tuple[str, str, int]]:
    yield f"{name}_connections_total", f"{spoken} connections accepted", told.connections
    yield f"{name}_connection_errors_total", f"{spoken} connections that broke", told.connection_errors
    yield f"{name}_too_long_lines_total", f"{spoken} connections closed for too long a line", told.too_long_lines


def _labelled(told: Telemetry, store: SeriesStore) -> Iterator[Reading]:
    actions = {"map": told.events_mapped, "drop": told.dropped}
    vectors = {str(kind): count for kind, count in list(store.vectors.items())}
    for name, family_type, help_text, label, counts in (
        ("sample_errors_total", "counter", "Samples refused by the parser", "reason", told.refusals),
        ("events_error_total", "counter", "Events that reached no series", "reason", told.event_errors),
        ("config_reloads_total", "counter", "Reloads of the mapping", "outcome", told.reloads),
        ("events_total", "counter", "Events that reached a series", "type", told.events()),
        ("events_actions_total", "counter", "Events by what their mapping did", "action", actions),
        ("metrics_total", "gauge", "Families, once for each set of label names", "type", vectors),
    ):
        yield _by(f"statsd_exporter_{name}", family_type, help_text, label, counts)
    yield Reading(
        "statsd_exporter_events_conflict_total",
        "counter",
        "Events whose name belongs to a family of another type",
        [((("metric_name", name), ("type", kind)), count) for (kind, name), count in list(told.conflicts.items())],
    )


def _gauges(told: Telemetry, store: SeriesStore) -> Iterator[Reading]:
    for name, help_text, value in (
        ("statsd_exporter_loaded_mappings", "Rules of the mapping in use", told.loaded_mappings),
        ("statsd_metric_mapper_cache_length", "Known lines", told.cache_length),
        ("statsd_exporter_series", "Series held now", store.size),
        ("statsd_exporter_series_limit", "Series above which no new one begins; 0: none", store.options.max_series),
    ):
        yield _one(name, "gauge", help_text, value)


def _one(name: str, family_type: str, help_text: str, value: float) -> Reading:
    return Reading(name, family_type, help_text, [((), value)])


def _by(name: str, family_type: str, help_text: str, label: str, counts: Mapping[str, int]) -> Reading:
    counted = [(((label, str(value)),), count) for value, count in list(counts.items()) if count]
    return Reading(name, family_type, help_text, counted)


OWN_NAMES: Final = frozenset(
    f"statsd_exporter_{name}"
    for name in (
        *("lines_total", "samples_total", "tags_total", "tag_errors_total", "events_unmapped_total"),
        *("event_queue_flushed_total", "udp_packets_total", "udp_packet_drops_total", "unixgram_packets_total"),
        *(
            f"{stream}_{what}_total"
            for stream in ("tcp", "unixstream")
            for what in ("connections", "connection_errors", "too_long_lines")
        ),
        *("sample_errors_total", "events_error_total", "config_reloads_total", "events_total"),
        *("events_actions_total", "metrics_total", "events_conflict_total", "loaded_mappings"),
        *("series", "series_limit"),
    )
) | frozenset(f"statsd_metric_mapper_cache_{name}" for name in ("gets_total", "hits_total", "length"))
