"""One StatsD line → samples. Pure: text in, plain data out, a reason for everything refused.

Grammar and reasons are statsd_exporter's (its ``statsd_exporter_sample_errors_total{reason}``): tags as
InfluxDB, Librato, SignalFX or DogStatsD, several samples per line, sampling, DogStatsD's extended
aggregation. Wider than it in what is accepted and ignored: DogStatsD's time stamp (``T…``), external
data (``e:…``), cardinality (``card:…``).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, assert_never

from exporters.naming import escape_metric_name


class Kind(StrEnum):
    """What a sample does to its series. The value is the mapping language's ``match_metric_type``."""

    COUNTER = "counter"
    GAUGE = "gauge"
    OBSERVER = "observer"


class Refusal(StrEnum):
    """Why a sample was refused: the label ``reason``."""

    MALFORMED_LINE = "malformed_line"
    MIXED_TAGGING_STYLES = "mixed_tagging_styles"
    NOT_ENOUGH_PARTS = "not_enough_parts_after_colon"
    INVALID_EXTENDED_AGGREGATE_TYPE = "invalid_extended_aggregate_type"
    MALFORMED_COMPONENT = "malformed_component"
    MALFORMED_VALUE = "malformed_value"
    MALFORMED_CONTAINER_ID = "malformed_container_id"
    INVALID_SAMPLE_FACTOR = "invalid_sample_factor"
    ILLEGAL_EVENT = "illegal_event"


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. ``value`` is as sent: the series gets ``value / divisor``, ``times`` times."""

    name: str
    kind: Kind
    value: float
    labels: dict[str, str]
    divisor: float = 1.0  # 1000 for milliseconds, the rate for a sampled counter
    times: int = 1  # how often an observation counts: a sampled one stands for several
    relative: bool = False  # gauges: add instead of set


@dataclass(slots=True)
class Parsed:
    """What a line gave. ``sent`` counts the samples it held, refused ones too."""

    samples: list[Sample] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    sent: int = 0
    tagged: int = 0  # samples that carried labels
    tag_errors: int = 0


@dataclass(frozen=True, slots=True)
class TagStyles:
    """Which tag styles are read."""

    dogstatsd: bool = True
    influxdb: bool = True
    librato: bool = True
    signalfx: bool = True


ALL_STYLES: Final = TagStyles()

_KINDS: Final = {
    "c": (Kind.COUNTER, 1.0),
    "g": (Kind.GAUGE, 1.0),
    "ms": (Kind.OBSERVER, 1000.0),
    "h": (Kind.OBSERVER, 1.0),
    "d": (Kind.OBSERVER, 1.0),
}
_AGGREGATED: Final = frozenset({"ms", "h", "d"})
_MAX_FIELDS: Final = 8
_DECIMAL: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_HEXADECIMAL: Final = re.compile(r"[+-]?0[xX][0-9a-fA-F]*\.?[0-9a-fA-F]*[pP][+-]?\d+", re.ASCII)
_SPECIAL: Final = re.compile(r"[+-]?(inf|infinity)|nan", re.IGNORECASE)


def parse_line(line: bytes, styles: TagStyles = ALL_STYLES) -> Parsed:
    """Parse a line without its newline. An empty line gives nothing."""
    parsed = Parsed()
    if not line:
        return parsed
    try:
        name, separator, rest = line.decode().partition(":")
    except UnicodeDecodeError:
        return _refuse(parsed, Refusal.MALFORMED_LINE)
    if not separator or not name:
        return _refuse(parsed, Refusal.MALFORMED_LINE)
    metric, labels = _name_and_tags(name, styles, parsed)
    if labels and "|#" in rest:
        return _refuse(parsed, Refusal.MIXED_TAGGING_STYLES)
    texts = _split_samples(rest)
    if isinstance(texts, Refusal):
        return _refuse(parsed, texts)
    for text in texts:
        _read_sample(metric, text, labels, styles, parsed)
    return parsed


def parse_number(text: str) -> float | None:
    """A number in Go's syntax (hexadecimal floats, Inf and NaN too), or None; too large a number is none."""
    if _DECIMAL.fullmatch(text):
        value = float(text)
        return None if math.isinf(value) else value
    if _HEXADECIMAL.fullmatch(text):
        try:
            return float.fromhex(text)
        except (ValueError, OverflowError):
            return None
    return float(text) if _SPECIAL.fullmatch(text) else None


def _refuse(parsed: Parsed, reason: Refusal) -> Parsed:
    parsed.refusals.append(reason)
    return parsed


def _name_and_tags(name: str, styles: TagStyles, parsed: Parsed) -> tuple[str, dict[str, str]]:
    """Split SignalFX's ``name[k=v]``, Librato's ``name#k=v`` or InfluxDB's ``name,k=v``."""
    if styles.signalfx and ("[" in name or "]" in name):
        start, end = name.find("["), name.find("]")
        if 0 <= start < end:
            return name[:start] + name[end + 1 :], _tags(name[start + 1 : end], "=", parsed)
        parsed.tag_errors += 1
        return name, {}
    marks = ("#" if styles.librato else "") + ("," if styles.influxdb else "")
    for place, character in enumerate(name):
        if character in marks:
            return name[:place], _tags(name[place + 1 :], "=", parsed)
    return name, {}


def _tags(text: str, separator: str, parsed: Parsed) -> dict[str, str]:
    """``k=v,k2=v2``; a tag without key or value is counted and left out."""
    labels: dict[str, str] = {}
    for tag in text.removesuffix(",").split(",") if text else ():
        key, _, value = tag.removeprefix("#" if separator == ":" else "").partition(separator)
        if key and value:
            labels[escape_metric_name(key)] = value
        else:
            parsed.tag_errors += 1
    return labels


def _split_samples(rest: str) -> list[str] | Refusal:
    """The samples behind the name: one; several by colons; or several values of one type."""
    value, separator, suffix = rest.partition("|")
    if not separator:
        return Refusal.NOT_ENOUGH_PARTS
    if ":" in value:
        if suffix.partition("|")[0] not in _AGGREGATED:
            return Refusal.INVALID_EXTENDED_AGGREGATE_TYPE
        return [f"{one}|{suffix}" for one in value.split(":")]
    return [rest] if "|#" in rest else rest.split(":")


def _read_sample(name: str, text: str, tags: dict[str, str], styles: TagStyles, parsed: Parsed) -> None:
    parsed.sent += 1
    fields = text.split("|")
    if not 2 <= len(fields) <= _MAX_FIELDS or "" in fields[2:]:
        parsed.refusals.append(Refusal.MALFORMED_COMPONENT)
        return
    value = parse_number(fields[0])
    if value is None:
        parsed.refusals.append(Refusal.MALFORMED_VALUE)
        return
    labels = dict(tags)
    rate = 1.0
    for extra in fields[2:]:
        outcome = _read_extra(extra, labels, styles, parsed)
        if isinstance(outcome, Refusal):
            parsed.refusals.append(outcome)
            return
        rate = rate if outcome is None else outcome
    parsed.tagged += bool(labels)
    if fields[1] not in _KINDS:
        parsed.refusals.append(Refusal.ILLEGAL_EVENT)
        return
    kind, divisor = _KINDS[fields[1]]
    match kind:
        case Kind.COUNTER:
            sample = Sample(name, kind, value, labels, divisor=rate)
        case Kind.GAUGE:
            sample = Sample(name, kind, value, labels, relative=fields[0][0] in "+-")
        case Kind.OBSERVER:
            sample = Sample(name, kind, value, labels, divisor, times=_repeats(rate))
        case _:
            assert_never(kind)
    if sample.times:
        parsed.samples.append(sample)
    else:
        parsed.refusals.append(Refusal.INVALID_SAMPLE_FACTOR)


def _repeats(rate: float) -> int:
    """How many observations one stands for: 3 at a rate of 0.3, none at a rate above 1."""
    return int(1 / rate) if 0 < rate <= 1 else 0


def _read_extra(extra: str, labels: dict[str, str], styles: TagStyles, parsed: Parsed) -> float | Refusal | None:
    """One field behind the type: a sampling rate, tags, a container; or why the sample is refused."""
    match extra[0]:
        case "@":
            rate = parse_number(extra[1:])
            if rate is None:
                parsed.refusals.append(Refusal.INVALID_SAMPLE_FACTOR)  # counted, yet the sample is kept
            return rate or 1.0
        case "#":
            if styles.dogstatsd:
                labels |= _tags(extra[1:], ":", parsed)
            return None
        case "c" if extra.startswith("card:"):
            return None
        case "c":
            if not extra.startswith("c:") or len(extra) == len("c:"):
                return Refusal.MALFORMED_CONTAINER_ID
            labels["container_id"] = extra[2:]
            return None
        case "T":
            return None
        case "e" if extra.startswith("e:"):
            return None
        case _:
            return Refusal.INVALID_SAMPLE_FACTOR
