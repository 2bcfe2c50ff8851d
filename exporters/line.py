"""One StatsD line → samples. Pure: text in, plain data out, a reason for everything refused.

Grammar and reasons are those of statsd_exporter 0.30 (its ``statsd_exporter_sample_errors_total{reason}``): tags as
InfluxDB, Librato, SignalFX or DogStatsD, several samples per line, sampling, DogStatsD's extended aggregation. On
request wider than it: DogStatsD's time stamp (``T…``), external data (``e:…``) and cardinality (``card:…``) are
accepted and ignored.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from exporters.naming import escape_metric_name

if TYPE_CHECKING:
    from collections.abc import Sequence


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


class Sample(NamedTuple):
    """One measurement. ``value`` is as sent: the series gets ``value / divisor``, ``times`` times.

    ``labels`` is one dict for all samples of a line, as in statsd_exporter.
    """

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
    refusals: defaultdict[Refusal, int] = field(default_factory=lambda: defaultdict(int))
    sent: int = 0
    tagged: int = 0  # samples that carried labels
    tag_errors: int = 0
    sampled_away: int = 0  # observations whose rate lets none count; statsd_exporter loses them in silence


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which tag styles are read, and whether DogStatsD's newest fields are accepted."""

    dogstatsd: bool = True
    influxdb: bool = True
    librato: bool = True
    signalfx: bool = True
    extensions: bool = False


DEFAULT_DIALECT: Final = Dialect()

_KINDS: Final = {
    "c": (Kind.COUNTER, 1.0),
    "g": (Kind.GAUGE, 1.0),
    "ms": (Kind.OBSERVER, 1000.0),
    "h": (Kind.OBSERVER, 1.0),
    "d": (Kind.OBSERVER, 1.0),
}
_AGGREGATED: Final = frozenset({"ms", "h", "d"})
_MAX_FIELDS: Final = 5
_MAX_FIELDS_EXTENDED: Final = 8
_EXTENSIONS: Final = ("T", "e:", "card:")
_DIGITS: Final = r"\d(?:_?\d)*"
_HEX_DIGITS: Final = r"[0-9a-fA-F](?:_?[0-9a-fA-F])*"
_DECIMAL: Final = re.compile(
    rf"[+-]?(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?",
    re.ASCII,
)
_HEXADECIMAL: Final = re.compile(
    rf"[+-]?0[xX](?:_?{_HEX_DIGITS})?\.?(?:{_HEX_DIGITS})?[pP][+-]?{_DIGITS}",
    re.ASCII,
)
_SPECIAL: Final = re.compile(r"[+-]?(?:inf|infinity)|nan", re.IGNORECASE | re.ASCII)
_MOST_REPEATS: Final = 2.0**63
"""Where statsd_exporter's count of repetitions overflows, and none is left."""


def parse_line(line: bytes, dialect: Dialect = DEFAULT_DIALECT) -> Parsed:
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
    labels: dict[str, str] = {}
    metric = _name_and_tags(name, labels, dialect, parsed)
    if labels and "|#" in rest:
        return _refuse(parsed, Refusal.MIXED_TAGGING_STYLES)
    _Reader(metric, labels, dialect, parsed).read(rest)
    return parsed


def parse_number(text: str) -> float | None:
    """A number in Go's syntax (hexadecimal floats, digits grouped by ``_``, Inf, NaN), or None.

    A decimal that is too large gives an infinity: see `_finite`.
    """
    if _DECIMAL.fullmatch(text):
        return float(text)
    if _HEXADECIMAL.fullmatch(text):
        try:
            return float.fromhex(text.replace("_", ""))
        except OverflowError:
            return math.inf
        except ValueError:
            return None
    return float(text) if _SPECIAL.fullmatch(text) else None


def _finite(text: str) -> float | None:
    """A number, unless it is none or overflows; a written ``Inf`` is one."""
    number = parse_number(text)
    if number is not None and math.isinf(number) and not _SPECIAL.fullmatch(text):
        return None
    return number


def _refuse(parsed: Parsed, reason: Refusal) -> Parsed:
    parsed.refusals[reason] += 1
    return parsed


def _name_and_tags(name: str, labels: dict[str, str], dialect: Dialect, parsed: Parsed) -> str:
    """Split SignalFX's ``name[k=v]``, Librato's ``name#k=v`` or InfluxDB's ``name,k=v``."""
    if dialect.signalfx and ("[" in name or "]" in name):
        start, end = name.find("["), name.find("]")
        if 0 <= start < end:
            parsed.tag_errors += _read_tags(name[start + 1 : end], "=", labels)
            return name[:start] + name[end + 1 :]
        parsed.tag_errors += 1
        return name
    marks = [mark for mark, read in (("#", dialect.librato), (",", dialect.influxdb)) if read]
    place = min((at for mark in marks if (at := name.find(mark)) >= 0), default=-1)
    if place < 0:
        return name
    parsed.tag_errors += _read_tags(name[place + 1 :], "=", labels)
    return name[:place]


def _read_tags(text: str, separator: str, labels: dict[str, str]) -> int:
    """``k=v,k2=v2`` into the labels; returns how many lacked a key or a value and were left out."""
    errors = 0
    for tag in text.removesuffix(",").split(",") if text else ():
        key, _, value = tag.removeprefix("#" if separator == ":" else "").partition(separator)
        if key and value:
            labels[escape_metric_name(key)] = value
        else:
            errors += 1
    return errors


@dataclass(slots=True)
class _Extras:
    """What the fields behind the type say, the same for every value in front of them."""

    factors: list[float] = field(default_factory=list)
    tag_errors: int = 0
    bad_factors: int = 0
    refusal: Refusal | None = None


_NO_EXTRAS: Final = _Extras()


@dataclass(slots=True)
class _Reader:
    """Reads what stands behind a line's name."""

    name: str
    labels: dict[str, str]
    dialect: Dialect
    parsed: Parsed

    def read(self, rest: str) -> None:
        """One sample; several, parted by colons; or several values of one type (DogStatsD's extended aggregation)."""
        values, separator, suffix = rest.partition("|")
        if not separator:
            _refuse(self.parsed, Refusal.NOT_ENOUGH_PARTS)
        elif ":" in values:
            self._read_aggregate(values.split(":"), suffix.split("|"))
        else:
            for sample in [rest] if "|#" in rest else rest.split(":"):
                value, *fields = sample.split("|")
                self._read_values([value], fields)

    def _read_aggregate(self, values: Sequence[str], fields: Sequence[str]) -> None:
        if fields[0] in _AGGREGATED:
            self._read_values(values, fields)
        else:
            _refuse(self.parsed, Refusal.INVALID_EXTENDED_AGGREGATE_TYPE)

    def _read_values(self, values: Sequence[str], fields: Sequence[str]) -> None:
        """Values that share their type and extras. These are read once: a long line must not cost their product."""
        parsed = self.parsed
        parsed.sent += len(values)
        most = _MAX_FIELDS_EXTENDED if self.dialect.extensions else _MAX_FIELDS
        if not 2 <= 1 + len(fields) <= most:
            parsed.refusals[Refusal.MALFORMED_COMPONENT] += len(values)
            return
        numbers = [(text, number) for text in values if (number := _finite(text)) is not None]
        if bad := len(values) - len(numbers):
            parsed.refusals[Refusal.MALFORMED_VALUE] += bad
        if not numbers:
            return
        if "" in fields[1:]:
            parsed.refusals[Refusal.MALFORMED_COMPONENT] += len(numbers)
            return
        extras = self._read_extras(fields[1:]) if len(fields) > 1 else _NO_EXTRAS
        self._count(extras, len(numbers))
        if extras.refusal is None:
            for text, number in numbers:
                self._sample(text, number, fields[0], extras.factors)

    def _count(self, extras: _Extras, values: int) -> None:
        parsed = self.parsed
        parsed.tag_errors += extras.tag_errors * values
        if extras.bad_factors:
            parsed.refusals[Refusal.INVALID_SAMPLE_FACTOR] += extras.bad_factors * values
        if extras.refusal is not None:
            parsed.refusals[extras.refusal] += values
        elif self.labels:
            parsed.tagged += values

    def _read_extras(self, fields: Sequence[str]) -> _Extras:
        """Sampling rates, tags, a container; up to the first that refuses the sample."""
        extras = _Extras()
        for text in fields:
            if self.dialect.extensions and text.startswith(_EXTENSIONS):
                continue
            match text[0]:
                case "@":
                    self._read_factor(text[1:], extras)
                case "#":
                    if self.dialect.dogstatsd:
                        extras.tag_errors += _read_tags(text[1:], ":", self.labels)
                case "c" if text.startswith("c:") and len(text) > len("c:"):
                    self.labels["container_id"] = text[2:]
                case "c":
                    extras.refusal = Refusal.MALFORMED_CONTAINER_ID
                case _:
                    extras.refusal = Refusal.INVALID_SAMPLE_FACTOR
            if extras.refusal is not None:
                break
        return extras

    def _read_factor(self, text: str, extras: _Extras) -> None:
        """A bad factor is counted and stands for 1, one that overflows for an infinity: the sample is kept."""
        extras.bad_factors += _finite(text) is None
        extras.factors.append(parse_number(text) or 1.0)

    def _sample(self, text: str, value: float, kind_text: str, factors: Sequence[float]) -> None:
        known = _KINDS.get(kind_text)
        if known is None:
            _refuse(self.parsed, Refusal.ILLEGAL_EVENT)
            return
        kind, divisor = known
        match kind:
            case Kind.COUNTER:
                *first, divisor = (1.0, *factors)
                for factor in first:
                    value /= factor
                sample = Sample(self.name, kind, value, self.labels, divisor)
            case Kind.GAUGE:
                sample = Sample(self.name, kind, value, self.labels, relative=text[0] in "+-")
            case Kind.OBSERVER:
                times = _repeats(factors[-1]) if factors else 1
                sample = Sample(self.name, kind, value, self.labels, divisor, times)
            case _:
                assert_never(kind)
        if sample.times:
            self.parsed.samples.append(sample)
        else:
            self.parsed.sampled_away += 1


def _repeats(factor: float) -> int:
    """How many observations one stands for: 3 at a factor of 0.3, none at one above 1 or below 0."""
    times = 1 / factor
    return int(times) if 1 <= times < _MOST_REPEATS else 0
