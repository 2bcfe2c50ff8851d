"""What user code wrote, made harmless: for terminals, which obey escapes, and for databases, which refuse NUL bytes.

Whatever is stored or shown and was not written by Windsock itself passes through here. It is slim, since parse
processes import it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

# CSI, OSC (title, hyperlink) and the two-character escapes, as terminals understand them; a lone ESC too.
_ESCAPES: Final = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[^\n])?|\x9b[0-?]*[ -/]*[@-~]"
# C0 but tab and line feed, DEL, C1.
_CONTROLS: Final = re.compile(rf"{_ESCAPES}|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """Without terminal escapes and control characters; tabs and line feeds stay. Lone surrogates become escapes."""
    return _CONTROLS.sub("", text.encode(errors="backslashreplace").decode())


def one_line(text: str) -> str:
    """Clean, and on one line: fit for a summary, a header, a cell."""
    return " ".join(clean(text.replace("\r", "\n")).split())


def presentable(text: str, redact: Callable[[str], str], limit: int) -> str:
    """On one line, redacted, and only then at most `limit` characters long: half a secret is not recognised."""
    line = redact(one_line(text))
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"
