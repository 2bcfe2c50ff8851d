"""Catalogue → docs/metrics.md: every series, who sends it, what it means and what would mislead its reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporters import catalogue
from exporters.catalogue import AREAS, METASTORE
from exporters.mapping import Flavour
from exporters.signal import AIRFLOW_VERSIONS, Emitter, Mode, Signal, SignalType, Unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_INTRODUCTION: Final = """\
<!-- Generated from exporters/catalogue.py by `windsock generate`; do not edit. -->
# Metrics

Every series that Windsock's exporters give, for this engine and for Apache Airflow 2.10 to 3.3. The StatsD mapping, the
rules and the boards are made from the same table.

* A series is named `airflow_` and the StatsD name, with `_` for what Prometheus does not allow.
* Timers are histograms in seconds: `_bucket`, `_sum`, `_count`.
* Counters count from the exporter's start: read them with `rate` or `increase`.
* Series of a DAG, task or file end eight days after their last sample, gauges with labels after ten minutes, other
  gauges after an hour.

How to connect an Airflow that is there already: [airflow.md](airflow.md).

## How to read the tables

| mark | meaning |
|---|---|
| ● | sent |
| ◐ | sent for a part of the events; the notes say which |
| d | sent in the dotted form only (`pool.open_slots.default_pool`), also where tags are on |
| ○ | documented or in the code, but no normal run sends it: an alert on it never fires |
| ? | sent by a provider whose older versions nobody has read |
| - | not sent; the notes say what to use instead |

"On the wire" is the StatsD name without its prefix, and its dotted forms. Airflow sends both unless
`legacy_names_on = False` (3.2 on); the mapping of your version and mode keeps one of them.
"""

_STATSD: Final = """\
## From StatsD

Scrape job `windsock`, port 9102.
"""

_METASTORE: Final = """\
## From the metastore

Scrape job `windsock-metastore`, port 9103: what `windsock exporter --metastore` reads from the database, so that no
lost datagram can bend it. "Airflow" is `--airflow`, with a metadata database of 2.10 to 3.3.
"""

_MAPPINGS: Final = """\
## Mapping files

For the bridge and for prom/statsd_exporter 0.30.

| file | for |
|---|---|
"""


def metrics_page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, _STATSD]
    for title, signals in AREAS.items():
        parts += [f"### {title}\n", _senders_table(signals), _notes_table(signals)]
    parts += [_METASTORE, _metastore_table(METASTORE.values()), _MAPPINGS + _mappings_table()]
    return "\n".join(part for part in parts if part)


def _senders_table(signals: Sequence[Signal]) -> str:
    heading = ["series", "type", "labels", "Windsock", *AIRFLOW_VERSIONS, "meaning"]
    return _table(heading, (_senders_row(signal) for signal in signals))


def _senders_row(signal: Signal) -> list[str]:
    marks = [mark(signal, emitter) for emitter in AIRFLOW_VERSIONS.values()]
    windsock = "●" if signal.windsock else "-"
    return [_series(signal), _kind(signal), _code(signal.labels), windsock, *marks, _sentence(signal.help)]


def mark(signal: Signal, emitter: Emitter) -> str:
    """One sign for what this version of Airflow does with the signal."""
    if emitter & signal.partial:
        return "◐"
    if emitter & signal.emitters:
        return "d" if any(emitter & form.alone for form in signal.legacy) else "●"
    if emitter & signal.listed:
        return "○"
    return "?" if emitter & signal.unread else "-"


def _notes_table(signals: Sequence[Signal]) -> str:
    """Without the rows that would say nothing."""
    told = [each for each in signals if each.legacy or _notes(each)]
    rows = ([_series(each), _wire(each), _notes(each)] for each in told)
    return _table(["series", "on the wire", "to know"], rows) if told else ""


def _wire(signal: Signal) -> str:
    base = [signal.name] if signal.tagged else []
    return "<br>".join(f"`{name}`" for name in (*base, *(form.template for form in signal.legacy)))


def _notes(signal: Signal) -> str:
    return " ".join(
        _sentence(note) for note in (*_units(signal), *_labels(signal), signal.note, *_instead(signal)) if note
    )


def _units(signal: Signal) -> Iterator[str]:
    """Where seconds are written as milliseconds."""
    if signal.seconds_as_ms:
        option = " unless `timer_unit_consistency` is on" if signal.seconds_as_ms & Emitter.AIRFLOW_2 else ""
        yield f"{versions(signal.seconds_as_ms)} writes seconds as milliseconds{option}; the mapping multiplies by 1000"
    if signal.type is SignalType.TIMER and signal.emitters & Emitter.AIRFLOW:
        trapped = Emitter(0)
        for emitter in AIRFLOW_VERSIONS.values():
            if emitter & (signal.emitters | signal.unread) and signal.wire_scale(emitter, Mode.DATADOG) != 1:
                trapped |= emitter
        trapped &= ~signal.seconds_as_ms
        if trapped:
            yield f"With Datadog {versions(trapped)} writes seconds as milliseconds; the mapping multiplies by 1000"


def _labels(signal: Signal) -> Iterator[str]:
    for old, new in signal.old_labels:
        yield f"Older versions call the label `{new}` `{old}`; Prometheus renames it when it scrapes"
    if signal.stripped:
        yield f"Without bound, so no label: {_code(signal.stripped)}"


def _instead(signal: Signal) -> Iterator[str]:
    for each in signal.instead:
        use = f" use {_series_of(each.use)}:" if each.use else ""
        yield f"{versions(each.emitters)}:{use} {each.why}"


def versions(emitters: Emitter) -> str:
    """``2.10 to 3.2``, ``3.3``; the great groups by their short names."""
    for group, name in ((Emitter.AIRFLOW, "every version"), (Emitter.AIRFLOW_2, "2.x"), (Emitter.AIRFLOW_3, "3.x")):
        if emitters & Emitter.AIRFLOW == group:
            return name
    found = [version for version, emitter in AIRFLOW_VERSIONS.items() if emitter & emitters]
    return f"{found[0]} to {found[-1]}" if len(found) > 2 else " and ".join(found)


def _metastore_table(signals: Iterable[Signal]) -> str:
    rows = (
        [
            _series(signal),
            _kind(signal),
            _code(signal.labels),
            "●" if signal.windsock else "-",
            "●" if signal.emitters & Emitter.AIRFLOW else "-",
            " ".join(_sentence(text) for text in (signal.help, signal.note) if text),
        ]
        for signal in signals
    )
    return _table(["series", "type", "labels", "Windsock", "Airflow", "meaning"], rows)


def _mappings_table() -> str:
    return "".join(f"| `exporters/{each}` | {each.sender.title.removeprefix('For ')} |\n" for each in Flavour)


def _series(signal: Signal) -> str:
    return f"`{signal.series_name()}`"


def _series_of(name: str) -> str:
    return _series(catalogue.signal(name))


def _kind(signal: Signal) -> str:
    return signal.type if signal.unit is Unit.COUNT else f"{signal.type}, {signal.unit}"


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[0].upper()}{text[1:]}." if text and text[-1] not in ".:" else text


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
