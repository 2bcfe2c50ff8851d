"""Reading a mapping file: YAML text → checked data. What is not understood is refused, by line and key.

statsd_exporter 0.30 passes over unknown keys and takes the last of two equal ones; here both are errors, since a
misspelt key there changes silently what a rule does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml

from exporters.errors import MappingError
from exporters.naming import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Path = tuple[str | int, ...]
"""Keys and, counted from 0, numbers of items."""


class Quantile(msgspec.Struct, frozen=True):
    quantile: float
    error: float


class SummaryOptions(msgspec.Struct, frozen=True):
    quantiles: tuple[Quantile, ...] = ()
    max_age: str | int = 0
    age_buckets: int = 0
    buf_cap: int = 0  # statsd_exporter's buffer size: accepted, without a meaning here


class HistogramOptions(msgspec.Struct, frozen=True):
    buckets: tuple[float, ...] = ()
    native_histogram_bucket_factor: float = 0.0  # accepted; the text format carries classic buckets only
    native_histogram_max_buckets: int = 0


class Defaults(msgspec.Struct, frozen=True):
    observer_type: str | None = None
    timer_type: str | None = None
    match_type: str = ""
    glob_disable_ordering: bool = False
    ttl: str | int = 0
    summary_options: SummaryOptions = SummaryOptions()
    histogram_options: HistogramOptions = HistogramOptions()
    buckets: tuple[float, ...] = ()
    quantiles: tuple[Quantile, ...] = ()


class Entry(msgspec.Struct, frozen=True):
    match: str
    name: str
    labels: dict[str, str] = {}
    honor_labels: bool = False
    observer_type: str | None = None
    timer_type: str | None = None
    match_type: str = ""
    match_metric_type: str | None = None
    help: str = ""
    action: str = ""
    ttl: str | int = 0
    scale: float | None = None
    summary_options: SummaryOptions | None = None
    histogram_options: HistogramOptions | None = None
    buckets: tuple[float, ...] = ()
    quantiles: tuple[Quantile, ...] = ()


class MappingFile(msgspec.Struct, frozen=True):
    defaults: Defaults = Defaults()
    mappings: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Places:
    """Where in the file each key stands, to begin error messages with."""

    source: str
    lines: dict[Path, int] = field(default_factory=dict)

    def where(self, *path: str | int) -> str:
        """``mapping.yml:7: mappings 2: name``; the line is that of the nearest key that is written."""
        line = next((self.lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.lines), None)
        source = f"{self.source}:{line}" if line else self.source
        return ": ".join([source, *_spoken(path)])


# The one in C, where it was built: our own mapping in 10 ms instead of 60, at each start.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NESTED: Final[Mapping[str, type[msgspec.Struct]]] = {
    "defaults": Defaults,
    "mappings": Entry,
    "summary_options": SummaryOptions,
    "histogram_options": HistogramOptions,
    "quantiles": Quantile,
}
_TEXTS: Final = frozenset({"match", "name", "help"})
_TEXT: Final = "tag:yaml.org,2002:str"
_NULL: Final = "tag:yaml.org,2002:null"
_MERGE: Final = "tag:yaml.org,2002:merge"
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")
_PLACE_IN_MESSAGE: Final = re.compile(r" - at `(?:key in )?\$?([^`]*)`$")


def read_mapping(text: str, source: str) -> tuple[MappingFile, Places]:
    """Parse and check; raises MappingError that names the ``source``, the line and the key."""
    loader = _LOADER(text)
    try:
        root = loader.get_single_node()
        places = Places(source)
        if root is not None:
            _check(root, MappingFile, (), places)
        document = {} if root is None else loader.construct_document(root)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise MappingError(f"{source}: not readable as YAML: {error}") from error
    finally:
        loader.dispose()
    try:
        return msgspec.convert(_without_nulls(document) or {}, MappingFile), places
    except msgspec.ValidationError as error:
        raise MappingError(_located(str(error), places)) from error


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


def _check(node: yaml.Node, model: type[msgspec.Struct], path: Path, places: Places) -> None:
    """Note each key's line, deepest level included; refuse unknown keys and those given twice."""
    places.lines[path] = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in _pairs(node, path, places):
        if key not in model.__struct_fields__:
            where = places.where(*path, key)
            raise MappingError(f"{where}: unknown key{did_you_mean(key, model.__struct_fields__)}")
        if key in _TEXTS and isinstance(value, yaml.ScalarNode):
            _take_as_text(value)
        elif key == "labels":
            _check_labels(value, (*path, key), places)
        elif key in _NESTED and isinstance(value, yaml.SequenceNode):
            for number, item in enumerate(value.value):
                _check(item, _NESTED[key], (*path, key, number), places)
        elif key in _NESTED:
            _check(value, _NESTED[key], (*path, key), places)


def _pairs(node: yaml.MappingNode, path: Path, places: Places) -> Iterator[tuple[str, yaml.Node]]:
    """Key and value of each entry but merges, with the key's line noted."""
    seen: set[str] = set()
    for key, value in node.value:
        if key.tag == _MERGE:
            continue
        name = str(key.value)
        places.lines[*path, name] = key.start_mark.line + 1
        if name in seen:
            raise MappingError(f"{places.where(*path, name)}: given twice; remove one")
        seen.add(name)
        yield name, value


def _check_labels(labels: yaml.Node, path: Path, places: Places) -> None:
    """Every label, key and value, is the text that was written: ``on`` is a word here, not a truth."""
    if not isinstance(labels, yaml.MappingNode):
        return
    for _ in _pairs(labels, path, places):
        pass
    for key, value in labels.value:
        key.tag = _TEXT
        if isinstance(value, yaml.ScalarNode):
            _take_as_text(value)


def _take_as_text(scalar: yaml.ScalarNode) -> None:
    scalar.value = "" if scalar.tag == _NULL else scalar.value
    scalar.tag = _TEXT


def _without_nulls(value: Any) -> Any:
    """A key without a value is not there, as in Go."""
    if isinstance(value, dict):
        return {key: _without_nulls(below) for key, below in value.items() if below is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _located(message: str, places: Places) -> str:
    """Msgspec's message, with its place as line and keys in front."""
    found = _PLACE_IN_MESSAGE.search(message)
    path: Path = tuple(key or int(number) for key, number in _STEP.findall(found[1])) if found else ()
    return f"{places.where(*path)}: {message[: found.start()] if found else message}"


def _spoken(path: Path) -> Iterator[str]:
    """``mappings 2`` for the item that Python numbers 1; every other step by its name."""
    for place, step in enumerate(path):
        if isinstance(step, str):
            following = path[place + 1] if place + 1 < len(path) else None
            yield f"{step} {following + 1}" if isinstance(following, int) else step
