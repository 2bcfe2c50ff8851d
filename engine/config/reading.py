"""One raw value, text from the environment or a TOML value, into its key's type, or RefusedError."""

from __future__ import annotations

import difflib
import math
import re
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import Any, Literal, TypeVar

from engine.config import masking
from engine.config.sections import Key

TRUE = frozenset({"true", "yes", "on", "1"})
FALSE = frozenset({"false", "no", "off", "0"})
DRIVERS: Mapping[str, str] = {
    "sqlite": "pysqlite",
    "postgresql": "psycopg",
    "mysql": "pymysql",
    "mariadb": "pymysql",
}
REMOTE_SCHEMES = ("file", "s3", "gs", "az")
_OTHER_SCHEMES: Mapping[str, str] = {
    "s3a": "s3", "s3n": "s3", "gcs": "gs", "azure": "az", "wasb": "az", "wasbs": "az", "abfs": "az", "abfss": "az",
}  # fmt: skip
Number = TypeVar("Number", int, float)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?\]?")
_METRIC = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
_SPAN = re.compile(r"([0-9]+(ms|[smhdwy]))+")
_TARGET = re.compile(r"(?:[^\s/:\[\]]+|\[[0-9a-fA-F:.]+\]):\d{1,5}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


class RefusedError(ValueError):
    """The value is not allowed.

    ``allowed`` completes the sentence "<key> must be …"; ``hint`` is what was perhaps meant.
    """

    def __init__(self, allowed: str, hint: str | None = None) -> None:
        self.allowed = allowed
        self.hint = hint
        super().__init__(allowed)


class Reader:
    """Reads values for one home and environment, which paths may refer to."""

    def __init__(self, home: Path, environ: Mapping[str, str]) -> None:
        self.home = home
        self.variables = {**environ, "WINDSOCK_HOME": str(home)}

    def read(self, key: Key, raw: Any) -> Any:
        """`raw` as `key`'s type, checked and expanded."""
        if typing.get_origin(key.type) is Literal:
            return _choice(key, raw)
        if typing.get_origin(key.type) is tuple:
            return _items(key, raw)
        if key.type is Path:
            return self._path(raw)
        if key.about.form == "database_url":
            return self._database_url(_text(key, raw))
        return _SCALARS[key.type](key, raw)

    def _path(self, raw: Any) -> Path:
        if not isinstance(raw, str | Path) or not str(raw).strip():
            raise RefusedError("a path")
        return self._expand(str(raw).strip())

    def _expand(self, text: str) -> Path:
        """Absolute path: ``~`` and ``$VARIABLES`` filled in, a relative path taken from the home."""
        try:
            filled = Path(Template(text).substitute(self.variables))
        except (KeyError, ValueError) as error:
            raise RefusedError(f"a path whose $VARIABLES are all set ({error} is not)") from error
        try:
            return Path(self.home / filled.expanduser())
        except RuntimeError as error:
            raise RefusedError("a path whose ~user exists") from error

    def _database_url(self, text: str) -> str:
        """The URL with its driver named and, for SQLite, its path expanded."""
        scheme, separator, rest = text.partition("://")
        dialect, _, driver = scheme.partition("+")
        if not separator or dialect not in DRIVERS:
            schemes = _either(f"{name}://" for name in DRIVERS)
            raise RefusedError(f"a URL that starts with {schemes}", closest(dialect, DRIVERS))
        if driver not in ("", DRIVERS[dialect]):
            raise RefusedError(f"a URL that starts with {dialect}:// (there is no driver {driver} here)")
        if dialect == "sqlite":
            return self._sqlite_url(rest)
        if not rest.rpartition("@")[2].partition("/")[2].partition("?")[0]:
            raise RefusedError(f"a URL that names a database: {dialect}://user:password@host/database")
        return f"{dialect}+{DRIVERS[dialect]}://{rest}"

    def _sqlite_url(self, rest: str) -> str:
        path, query, options = rest.removeprefix("/").partition("?")
        if not rest.startswith("/") or path in ("", ":memory:"):
            raise RefusedError("a SQLite URL with a file: sqlite:////absolute/path.db")
        return f"sqlite:///{self._expand(path)}{query}{options}"


def closest(word: str, known: typing.Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of `known` that somebody who wrote `word` most likely meant."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[close[0]] if close else None


def _text(key: Key, raw: Any) -> str:
    if not isinstance(raw, str):
        raise RefusedError("text (in quotes)")
    if _CONTROL.search(raw):
        raise RefusedError("text without line breaks and control characters")
    return raw if key.about.mask else raw.strip()


def _formed_text(key: Key, raw: Any) -> str:
    return _FORMS[key.about.form](_text(key, raw))


def _choice(key: Key, raw: Any) -> str:
    choices = typing.get_args(key.type)
    text = _text(key, raw)
    for choice in choices:
        if text.lower() == choice.lower():
            return str(choice)
    raise RefusedError(_either(choices), closest(text, choices))


def _boolean(_key: Key, raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    text = raw.strip().lower() if isinstance(raw, str) else None
    if text not in TRUE | FALSE:
        raise RefusedError("true or false")
    return text in TRUE


def _whole(key: Key, raw: Any) -> int:
    return _number(key, raw, int, "a whole number")


def _real(key: Key, raw: Any) -> float:
    return _number(key, raw, float, "a number")


def _number(key: Key, raw: Any, kind: Callable[[Any], Number], noun: str) -> Number:
    wanted = RefusedError(f"{noun}{range_words(key)}")
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise wanted
    if kind is int and isinstance(raw, float):
        raise wanted
    try:
        value = kind(raw)
    except (ValueError, OverflowError) as error:
        raise wanted from error
    if not math.isfinite(value) or not _within(key, value):
        raise wanted
    return value


def _within(key: Key, value: float) -> bool:
    limits = key.limits
    if limits.at_least is not None and value < limits.at_least:
        return False
    if limits.at_most is not None and value > limits.at_most:
        return False
    return limits.above is None or value > limits.above


def range_words(key: Key) -> str:
    """`` from 1 to 65535``, `` of at least 1``, `` greater than 0`` or nothing."""
    limits = key.limits
    if limits.at_most is not None:
        return f" from {limits.at_least} to {limits.at_most}"
    if limits.at_least is not None:
        return f" of at least {limits.at_least}"
    return "" if limits.above is None else f" greater than {limits.above}"


def _items(key: Key, raw: Any) -> tuple[str, ...]:
    items = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise RefusedError('a list of texts: ["...", "..."]')
    stripped = tuple(item.strip() for item in items if item.strip())
    if key.about.form != "apprise_url":
        return tuple(_formed_text(key, item) for item in stripped)
    for position, item in enumerate(stripped, start=1):
        if not _SCHEME.fullmatch(_text(key, item)):
            raise RefusedError(
                f"URLs of the form service://… (item {position} is not one; a comma in a URL is written %2C)"
            )
    return stripped


def _any(text: str) -> str:
    return text


def _host(text: str) -> str:
    if text and not _HOST.fullmatch(text):
        raise RefusedError("a host name or an IP address, without scheme and port")
    return text


def _http_url(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", text):
        raise RefusedError("empty or a URL that starts with http:// or https://")
    if masking.hide_user(text) != text:  # these go into links, and onto command lines
        raise RefusedError("a URL without user and password (take out what stands before the @)")
    return text.rstrip("/")


def _secret_url(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^\s/?#]+\S*|env:[A-Za-z_]\w*", text):
        raise RefusedError("empty, env:NAME, or a URL that starts with http:// or https://")
    return text


def _token(text: str) -> str:
    if text and not re.fullmatch(r"[!-~]{16,500}", text):
        raise RefusedError("empty, or 16 to 500 letters, digits and signs without blanks")
    return text


def _timezone(text: str) -> str:
    """A name that zoneinfo knows; any spelling of ``utc`` becomes ``UTC``."""
    import zoneinfo

    if text.lower() == "utc":
        return "UTC"
    try:
        return zoneinfo.ZoneInfo(text).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = closest(text, zoneinfo.available_timezones())
        raise RefusedError("a time zone such as Europe/Berlin", near) from error


def _address(text: str) -> str:
    if "@" not in text.strip("@"):
        raise RefusedError("an email address: name@example.org or Name <name@example.org>")
    return text


def _metric(text: str) -> str:
    if not _METRIC.fullmatch(text):
        raise RefusedError("letters, digits, underscores and dots, and start with a letter")
    return text


def _target(text: str) -> str:
    if not _TARGET.fullmatch(text):
        raise RefusedError("addresses of the form host:port, without scheme and path")
    return text


def _span(text: str) -> str:
    if not _SPAN.fullmatch(text):
        raise RefusedError("a duration such as 15d, 12h or 1h30m")
    return text


def _remote_folder(text: str) -> str:
    """A URL of a scheme that there is, without a slash at its end; empty stays empty."""
    if not text:
        return text
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in REMOTE_SCHEMES:
        schemes = _either(f"{name}://" for name in REMOTE_SCHEMES)
        raise RefusedError(f"a URL that starts with {schemes}", _meant_scheme(scheme, separator))
    if scheme == "file" and not rest.startswith("/"):
        raise RefusedError("a URL with an absolute path: file:///mnt/share/logs")
    authority = rest.partition("/")[0]
    if "@" in authority:
        raise RefusedError(f"{scheme}://, a name and a path; credentials come from the environment")
    if scheme != "file" and not authority:
        raise RefusedError(f"a URL that names a bucket: {scheme}://bucket/prefix")
    return text.rstrip("/") if rest.strip("/") else text


def _meant_scheme(scheme: str, separator: str) -> str | None:
    if not separator:
        return f"file://{scheme}" if scheme.startswith("/") else None
    other = _OTHER_SCHEMES.get(scheme.lower()) or closest(scheme, REMOTE_SCHEMES, cutoff=0.5)
    return f"{other}://" if other else None


def _unsupported(text: str) -> str:
    if text:
        raise RefusedError("empty: there are no stored connections here, and credentials come from the environment")
    return text


def _either(words: typing.Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"


_FORMS: Mapping[str, Callable[[str], str]] = {
    "any": _any,
    "host": _host,
    "http_url": _http_url,
    "secret_url": _secret_url,
    "token": _token,
    "timezone": _timezone,
    "address": _address,
    "metric": _metric,
    "span": _span,
    "target": _target,
    "remote_folder": _remote_folder,
    "unsupported": _unsupported,
}
_SCALARS: Mapping[Any, Callable[[Key, Any], Any]] = {
    bool: _boolean,
    int: _whole,
    float: _real,
    str: _formed_text,
}
