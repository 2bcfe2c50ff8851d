"""Reading a mapping file: YAML text → checked data. What is not understood is refused, by place and name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml

from exporters.errors import MappingError
from exporters.naming import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping


class Quantile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    quantile: float
    error: float


class SummaryOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    quantiles: tuple[Quantile, ...] = ()
    max_age: str | int = 0
    age_buckets: int = 0
    buf_cap: int = 0  # statsd_exporter's buffer size: accepted, without a meaning here


class HistogramOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    buckets: tuple[float, ...] = ()
    native_histogram_bucket_factor: float = 0.0  # accepted; the text format carries classic buckets only
    native_histogram_max_buckets: int = 0


class Defaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    observer_type: str = ""
    timer_type: str = ""
    match_type: str = ""
    glob_disable_ordering: bool = False
    ttl: str | int = 0
    summary_options: SummaryOptions | None = None
    histogram_options: HistogramOptions | None = None
    buckets: tuple[float, ...] = ()
    quantiles: tuple[Quantile, ...] = ()


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    match: str
    name: str
    labels: dict[str, str] = {}
    honor_labels: bool = False
    observer_type: str = ""
    timer_type: str = ""
    match_type: str = ""
    match_metric_type: str = ""
    help: str = ""
    action: str = ""
    ttl: str | int = 0
    scale: float | None = None
    summary_options: SummaryOptions | None = None
    histogram_options: HistogramOptions | None = None
    buckets: tuple[float, ...] = ()
    quantiles: tuple[Quantile, ...] = ()


class MappingFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    defaults: Defaults = Defaults()
    mappings: tuple[Entry, ...] = ()


_NESTED: Final[Mapping[str, type[msgspec.Struct]]] = {
    "defaults": Defaults,
    "mappings": Entry,
    "summary_options": SummaryOptions,
    "histogram_options": HistogramOptions,
    "quantiles": Quantile,
}
_TEXT: Final = "tag:yaml.org,2002:str"
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


def read_mapping(text: str, source: str) -> MappingFile:
    """Parse and check; raises MappingError that names the ``source`` and the place."""
    try:
        document = yaml.load(text, Loader=_StrictLoader) or {}  # noqa: S506  # a SafeLoader below
    except yaml.YAMLError as error:
        raise MappingError(f"{source}: not readable as YAML: {error}") from error
    _check_keys(document, MappingFile, source)
    try:
        return msgspec.convert(document, MappingFile)
    except msgspec.ValidationError as error:
        raise MappingError(f"{source}: {error}") from error


def seconds(duration: str | int, where: str) -> float:
    """A Go duration, ``1h30m`` or ``500ms``, in seconds; 0 stands for never."""
    if duration in (0, "", "0"):
        return 0.0
    text = str(duration)
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        raise MappingError(f'{where}: "{text}" is no duration; write a number with a unit, like 30s, 10m or 48h')
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))


def choice(value: str, allowed: Mapping[str, str], where: str) -> str:
    """What ``value`` stands for, or an error with the nearest allowed word."""
    if value not in allowed:
        words = ", ".join(sorted(word for word in allowed if word))
        raise MappingError(f'{where}: "{value}" is none of {words}{did_you_mean(value, allowed)}')
    return allowed[value]


def _check_keys(value: Any, model: type[msgspec.Struct], where: str) -> None:
    """Refuse unknown keys, deepest level included, with the nearest known one."""
    if not isinstance(value, dict):
        return
    known = model.__struct_fields__
    for key, below in value.items():
        if key not in known:
            raise MappingError(f'{where}: unknown key "{key}"{did_you_mean(str(key), known)}')
        if key in _NESTED:
            items = below if isinstance(below, list) else [below]
            for number, item in enumerate(items, 1):
                place = f"{where}: {key} {number}" if isinstance(below, list) else f"{where}: {key}"
                _check_keys(item, _NESTED[key], place)


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, and keeps every label value the text that was written."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'the key "{key.value}" is given twice', key.start_mark
                )
            seen.add(key.value)
            key.tag = _TEXT  # `on` is a word here, not a truth
            if key.value == "labels" and isinstance(value, yaml.MappingNode):
                for _, label in value.value:
                    label.tag = _TEXT
        return super().construct_mapping(node, deep)
