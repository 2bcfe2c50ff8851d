"""Where tables are written: a terminal has a width, and a file or another program takes whole lines."""

from __future__ import annotations

import os
import sys
from io import TextIOBase
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_BOUNDLESS: Final = 10_000  # characters; rich wants a width


def screen() -> Console:
    """The standard output. Where it is no terminal nothing is wrapped, cut or padded, unless COLUMNS gives a width."""
    from rich.console import Console

    look: dict[str, Any] = {"highlight": False, "emoji": False, "markup": False}
    console = Console(**look)
    if console.is_terminal:
        return console
    width = None if os.environ.get("COLUMNS", "").isdecimal() else _BOUNDLESS
    return Console(**look, file=_Unpadded(sys.stdout), width=width)  # type: ignore[arg-type]


class _Unpadded(TextIOBase):
    """Writes lines without the spaces at their ends. Each call brings whole lines, as rich writes them."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        self._file.write("\n".join(line.rstrip(" ") for line in text.split("\n")))
        return len(text)

    def flush(self) -> None:
        self._file.flush()
