"""Checks JSON against the schemas in tests/data/chat_schemas: the part of JSON Schema 2020-12 that these use.

A keyword that is not known here is an error, so that no rule of a schema is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "data" / "chat_schemas"
_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def problems(instance: Any, name: str) -> list[str]:
    """What the service ``name`` would not take; each with the way to it."""
    return problems_by(instance, json.loads((FOLDER / f"{name}.json").read_text()))


def problems_by(instance: Any, schema: dict[str, Any]) -> list[str]:
    """What this schema does not allow."""
    return list(_check(instance, schema, schema, "$"))


def _check(it: Any, schema: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[str]:
    for keyword, rule in schema.items():
        if keyword not in _RULES:
            raise ValueError(f"{path}: the keyword {keyword} is not known to this checker")
        yield from _RULES[keyword](it, rule, schema, root, path)


def _type(it: Any, rule: Any, _schema: Any, _root: Any, path: str) -> Iterator[str]:
    names = rule if isinstance(rule, list) else [rule]
    if not any(isinstance(it, _TYPES[name]) and (name == "boolean" or not isinstance(it, bool)) for name in names):
        yield f"{path}: is no {' or '.join(names)}: {it!r:.80}"


def _const(it: Any, rule: Any, _schema: Any, _root: Any, path: str) -> Iterator[str]:
    if it != rule:
        yield f"{path}: is not {rule!r}: {it!r:.80}"


def _enum(it: Any, rule: Any, _schema: Any, _root: Any, path: str) -> Iterator[str]:
    if it not in rule:
        yield f"{path}: is none of {rule}: {it!r:.80}"


def _required(it: Any, rule: Any, _schema: Any, _root: Any, path: str) -> Iterator[str]:
    if isinstance(it, dict):
        yield from (f"{path}: lacks {name}" for name in rule if name not in it)


def _properties(it: Any, rule: Any, _schema: Any, root: Any, path: str) -> Iterator[str]:
    if isinstance(it, dict):
        for name in it.keys() & rule.keys():
            yield from _check(it[name], rule[name], root, f"{path}.{name}")


def _additional(it: Any, rule: Any, schema: Any, _root: Any, path: str) -> Iterator[str]:
    assert rule is False
    if isinstance(it, dict):
        yield from (f"{path}: has {name}" for name in it if name not in schema["properties"])


def _items(it: Any, rule: Any, _schema: Any, root: Any, path: str) -> Iterator[str]:
    if isinstance(it, list):
        for position, each in enumerate(it):
            yield from _check(each, rule, root, f"{path}[{position}]")


def _length(kind: type, low: bool) -> Any:
    def check(it: Any, rule: Any, _schema: Any, _root: Any, path: str) -> Iterator[str]:
        if isinstance(it, kind) and (len(it) < rule if low else len(it) > rule):  # type: ignore[arg-type]
            yield f"{path}: has {len(it)}, and {'at least' if low else 'at most'} {rule} are taken"  # type: ignore[arg-type]

    return check


def _size(low: bool) -> Any:
    def check(it: Any, rule: Any, _schema: Any, _root: Any, path: str) -> Iterator[str]:
        if isinstance(it, int | float) and (it < rule if low else it > rule):
            yield f"{path}: is {it}, beyond {rule}"

    return check


def _pattern(it: Any, rule: Any, _schema: Any, _root: Any, path: str) -> Iterator[str]:
    if isinstance(it, str) and re.search(rule, it) is None:
        yield f"{path}: is not like {rule}: {it!r:.80}"


def _one_of(it: Any, rule: Any, _schema: Any, root: Any, path: str) -> Iterator[str]:
    tried = [list(_check(it, each, root, path)) for each in rule]
    if sum(not found for found in tried) != 1:
        yield f"{path}: fits not exactly one of {len(rule)}: {min(tried, key=len)}"


def _ref(it: Any, rule: Any, _schema: Any, root: Any, path: str) -> Iterator[str]:
    yield from _check(it, root["$defs"][rule.removeprefix("#/$defs/")], root, path)


def _nothing(*_: Any) -> Iterator[str]:
    yield from ()


_SILENT = ("$schema", "$comment", "$defs")
_RULES: dict[str, Any] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "minItems": _length(list, low=True),
    "maxItems": _length(list, low=False),
    "minLength": _length(str, low=True),
    "maxLength": _length(str, low=False),
    "minimum": _size(low=True),
    "maximum": _size(low=False),
    "pattern": _pattern,
    "oneOf": _one_of,
    "$ref": _ref,
    **dict.fromkeys(_SILENT, _nothing),
}
KEYWORDS = tuple(name for name in _RULES if name not in _SILENT)
