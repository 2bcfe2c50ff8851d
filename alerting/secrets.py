"""What channels keep secret, for whoever runs code of others or shows its words.

``config`` understands alerting.yml; here it is only searched, at the start of processes that must be quick to start and
must not fail: no URL is tried, and a file that is wrong gives what can be found in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    import yaml

FROM_ENVIRONMENT: Final = "env:"
_CHANNELS: Final = "channels"
_KEY: Final = "hmac_secret"
_KEY_OF_URL: Final = re.compile(r"[?&]hmac=([^&#\s]+)", re.IGNORECASE)
_A_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
# In a file that is no YAML, or not any more.
_ANY_NAME: Final = re.compile(r"env:\w+")
_ANY_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'#,}]+")
_ANY_KEY: Final = re.compile(rf"{_KEY}[\"']?\s*:\s*[\"']?([^\s\"',}}]+)")


@dataclass
class Secrets:
    """What was found. ``names`` are environment variables, ``keys`` sign messages."""

    names: set[str] = field(default_factory=set)
    urls: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


def secrets_of(path: Path, urls: Iterable[str], environ: Mapping[str, str]) -> Secrets:
    """Those of the file, where there is one, and of these URLs of the settings; ``env:NAME`` stands for a variable."""
    found = Secrets()
    for url in urls:
        _take(found, url, environ)
    for text, is_key in _texts(path):
        _take(found, text, environ, is_key=is_key)
    return found


def _take(found: Secrets, text: str, environ: Mapping[str, str], *, is_key: bool = False) -> None:
    told = text.strip()
    if told.startswith(FROM_ENVIRONMENT):
        name = told.removeprefix(FROM_ENVIRONMENT)
        found.names.add(name)
        told = environ.get(name, "").strip()
    if is_key:
        found.keys.add(told)
    elif "://" in told:
        found.urls.add(told)
        for key in _KEY_OF_URL.findall(told):
            _take(found, unquote(key), environ, is_key=True)


def _texts(path: Path) -> Iterator[tuple[str, bool]]:
    """Every text that may be a URL or a key, and whether it is a key."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    try:
        yield from _texts_of_channels(text)
    except (ValueError, OverflowError, RecursionError):
        yield from ((found, False) for found in (*_ANY_NAME.findall(text), *_ANY_URL.findall(text)))
        yield from ((found, True) for found in _ANY_KEY.findall(text))


def _texts_of_channels(text: str) -> Iterator[tuple[str, bool]]:
    """Raises ValueError for what is no YAML, or has no channels where they should be."""
    import yaml  # only where there is a file

    try:
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError("no YAML") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ValueError("no mapping")
    for key, value in [] if root is None else root.value:
        if key.value == _CHANNELS:
            yield from _scalars(value)
        else:
            yield from _misplaced(key, value)


def _misplaced(*nodes: yaml.Node) -> Iterator[tuple[str, bool]]:
    """URLs where none belongs: whoever put one there has a secret in it all the same."""
    texts = (text for node in nodes for text, _ in _scalars(node))
    yield from ((text, False) for text in texts if _A_URL.fullmatch(text.strip()))


def _scalars(node: yaml.Node) -> Iterator[tuple[str, bool]]:
    """Whatever its shape; a part that several places refer to is looked at once for each key."""
    todo, seen = [(node, "")], set()
    while todo:
        each, key = todo.pop()
        if (id(each), key) in seen:
            continue
        seen.add((id(each), key))
        if isinstance(each.value, str):
            yield each.value, key == _KEY
        else:
            todo += [(part[1], str(part[0].value)) if isinstance(part, tuple) else (part, key) for part in each.value]
