"""Names: the escaping that Prometheus needs, and the nearest known name for a wrong one."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_DASHES = re.compile(r"-+")
_FORBIDDEN = re.compile(r"[^a-zA-Z0-9_]")


def escape_metric_name(name: str) -> str:
    """Turn a StatsD name into a Prometheus one, as statsd_exporter does.

    Letters, digits and underscores stay; a run of dashes and every other character become one underscore; a
    leading digit gets an underscore in front.
    """
    escaped = _FORBIDDEN.sub("_", _DASHES.sub("_", name))
    return f"_{escaped}" if escaped[:1].isdigit() else escaped


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """``; did you mean "name"?`` or an empty string, to end an error message with."""
    nearest = difflib.get_close_matches(wrong, list(known), n=1)
    return f'; did you mean "{nearest[0]}"?' if nearest else ""
