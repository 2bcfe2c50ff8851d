"""What an XCom may be. Checked where a task pushes it, and again where its supervisor takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

LONGEST_KEY: Final = 250  # characters; the column holds no more
LARGEST_VALUE: Final = 1024 * 1024  # bytes of JSON
LARGEST_SUM: Final = 8 * 1024 * 1024  # of all values of one attempt


def check_key(key: object) -> None:
    """Raise TypeError or ValueError with the reason why this is no key."""
    if not isinstance(key, str):
        raise TypeError(f"an XCom key is a text, not {type(key).__name__}")
    if not key:
        raise ValueError("an XCom key must not be empty")
    if len(key) > LONGEST_KEY:
        raise ValueError(f"XCom key {key[:40]!r}… has {len(key)} characters; {LONGEST_KEY} are possible")
    if not key.isprintable():
        raise ValueError(f"XCom key {key!r} holds control characters; use letters, digits, dots and dashes")


def check_value(key: str, text: str) -> None:
    """Raise ValueError for JSON text that is too large."""
    size = len(text.encode())
    if size > LARGEST_VALUE:
        raise ValueError(
            f"XCom {key!r} is {size:,} bytes of JSON; {LARGEST_VALUE:,} are possible. "
            "Store the data elsewhere and hand on where it is, or set do_xcom_push=False"
        )


def check_sum(values: Mapping[str, str]) -> None:
    """Raise ValueError where all values together are too large."""
    size = sum(len(text) for text in values.values())
    if size > LARGEST_SUM:
        raise ValueError(f"its XComs are {size:,} bytes of JSON together; {LARGEST_SUM:,} are possible for one attempt")


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)  # NaN, Infinity and -Infinity are no JSON


def check_received(values: Mapping[str, str]) -> None:
    """Raise ValueError unless all of this may be stored: the sender's own code may have made it up."""
    for key, text in values.items():
        check_key(key)
        check_value(key, text)
        try:
            _DECODER.decode(text)
        except (ValueError, RecursionError):
            raise ValueError(f"XCom {key!r} is no JSON") from None
    check_sum(values)
