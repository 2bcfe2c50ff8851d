"""Templates of names and labels, ``$1`` and ``${1}``, as statsd_exporter 0.30 reads them: differently by match type.

Behind a glob a reference reaches as far as letters, digits, ``_`` and ``$`` do, so ``$1_x`` and ``$1$2`` name no
capture. Behind a regex it is Go's ``Expand``: ``$1_x`` refers to ``1_x`` too, but ``$1$2`` are two references, and
``$$`` is a dollar sign. What names no capture becomes nothing.

One thing is done as its manual says, not as it does: behind a glob, a literal ``%`` beside a reference stays, and
``$1`` is not replaced inside of ``$11``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

Expand = Callable[[Sequence[str]], str]

_GLOB_REFERENCE: Final = re.compile(r"\$\{?([a-zA-Z0-9_$]+)\}?")
_REGEX_REFERENCE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+)|(\$))")


def glob_template(template: str, captures: int) -> Expand:
    """How the template reads, given what each ``*`` stands for; the first is 1."""
    parts: list[str | int] = []
    end = 0
    for reference in _GLOB_REFERENCE.finditer(template):
        parts.append(template[end : reference.start()])
        number = int(reference[1]) if reference[1].isdecimal() else 0
        parts.append(number - 1 if 1 <= number <= captures else "")
        end = reference.end()
    parts.append(template[end:])
    return lambda captured: "".join(part if isinstance(part, str) else captured[part] for part in parts)


def expand_regex_template(template: str, captures: Mapping[str, str]) -> str:
    """``captures`` are by number and by name; 0 is the whole match."""

    def replace(found: re.Match[str]) -> str:
        return "$" if found[3] else captures.get(found[1] or found[2], "")

    return _REGEX_REFERENCE.sub(replace, template) if "$" in template else template
