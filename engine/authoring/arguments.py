"""Checks of what an author passes: each returns the value in the form that is kept, or raises AuthoringError."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from types import FrameType
from typing import Any

from engine.authoring.exceptions import AuthoringError
from engine.authoring.suggest import did_you_mean

Callback = Callable[..., Any]

_ID = re.compile(r"[A-Za-z0-9_.-]{1,250}", re.ASCII)
_LARGEST = 2**31 - 1
_ADDRESSES = re.compile(r"\s*[,;]\s*")


def identifier(kind: str, value: object) -> str:
    """A dag_id or task_id: letters, digits, ``-``, ``_`` and ``.``, at most 250 characters."""
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."
    msg = f"{kind} {shown} is not valid."
    raise AuthoringError(msg, "Use 1 to 250 letters, digits, dashes, dots and underscores.")


def unknown(owner: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse arguments that nobody knows."""
    for name in names:
        hint = did_you_mean(name, known).strip()
        raise AuthoringError(f"{owner} has no argument {name!r}.", hint or "Remove it, or correct its name.")


def unsupported(owner: str, arguments: Mapping[str, object]) -> None:
    """Refuse what Airflow knows and Windsock does not yet, unless it is switched off."""
    for name, value in arguments.items():
        if value:
            msg = f"{owner}: {name} is not supported yet."
            raise AuthoringError(msg, f"Remove {name}={value!r}; ignoring it would run the task when it must not.")


def duration(name: str, value: object, *, numbers: bool = False, positive: bool = False) -> timedelta | None:
    """A timedelta; plain seconds too where Airflow takes them."""
    if value is None:
        return None
    if numbers and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = timedelta(seconds=value)
    if not isinstance(value, timedelta):
        msg = f"{name} must be a timedelta, not {value!r}."
        raise AuthoringError(msg, f"Write {name}=timedelta(minutes=10), from datetime import timedelta.")
    if value < timedelta(0) or (positive and not value):
        least = "more than" if positive else "at least"
        msg = f"{name} must be {least} zero, not {in_seconds(value)}."
        raise AuthoringError(msg, f"Write a time of {least} zero, such as {name}=timedelta(minutes=10).")
    return value


def in_seconds(value: timedelta) -> str:
    """``-3 s`` for what Python writes as ``-1 day, 23:59:57``."""
    return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + " s"


def whole_number(name: str, value: object, minimum: int | None = None) -> int:
    """An int, at least `minimum`, that fits into a column of the metastore."""
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be a whole number, not {value!r}."
        raise AuthoringError(msg, f"Write digits without quotes or fraction, such as {_short(name)}={minimum or 1}.")
    if minimum is not None and value < minimum:
        raise AuthoringError(
            f"{name} must be at least {minimum}, not {value}.", f"Write {_short(name)}={minimum}, or more."
        )
    if abs(value) > _LARGEST:
        raise AuthoringError(
            f"{name} must be at most {_LARGEST}, not {value}.", f"Write {_short(name)}=1000000, or less."
        )
    return value


def _short(name: str) -> str:
    """The argument itself, of ``Param: minLength``."""
    return name.rpartition(" ")[2]


def text(name: str, value: object) -> str:
    """A string that is not empty."""
    if isinstance(value, str) and value:
        return value
    msg = f"{name} must be a string that is not empty, not {value!r}."
    raise AuthoringError(msg, f"Write it in quotes: {name}='…'.")


def addresses(value: object) -> list[str]:
    """Mail addresses from a string (comma or semicolon between them) or a list of such strings."""
    if value is None:
        return []
    if isinstance(value, str):
        return [address for address in _ADDRESSES.split(value.strip()) if address]
    if isinstance(value, Iterable):
        return [address for item in value for address in addresses(item)]
    msg = f"email must be an address or a list of addresses, not {value!r}."
    raise AuthoringError(msg, "Write email='ops@example.org', or email=['ops@example.org', 'on-call@example.org'].")


def callbacks(name: str, value: object) -> list[Callback]:
    """One callable or a list of them."""
    if value is None:
        return []
    found: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value]
    for item in found:
        if not callable(item):
            msg = f"{name} must be a function or a list of functions, not {item!r}."
            raise AuthoringError(msg, "Pass the function itself, without calling it.")
    return found


def json_object(name: str, value: object) -> dict[str, Any]:
    """A dict that JSON can hold; the error names the place of what it cannot."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise AuthoringError(f"{name} must be a dict, not {value!r}.", "Write a dict, such as {'n': 1}.")
    return {_json_key(name, key): _json_value(f"{name}[{key!r}]", item) for key, item in value.items()}


def _json_key(place: str, key: object) -> str:
    if isinstance(key, str):
        return key
    msg = f"{place} has the key {key!r}, but JSON keys are strings."
    raise AuthoringError(msg, f"Write the key as {str(key)!r}.")


def _json_value(place: str, value: object) -> Any:
    if value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return json_object(place, value)
    if isinstance(value, (list, tuple)):
        return [_json_value(f"{place}[{index}]", item) for index, item in enumerate(value)]
    msg = f"{place} is {value!r}, which JSON cannot hold."
    raise AuthoringError(msg, "Params are strings, numbers, booleans, None, lists and dicts; turn it into one of them.")


def caller() -> tuple[str, int]:
    """File and line of the nearest code outside this package: where the author wrote it."""
    frame: FrameType | None = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").startswith("engine.authoring"):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame else ("", 0)
