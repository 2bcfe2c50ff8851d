"""The text of a cell in a column that is too narrow for it: lines end between words, as long as a word fits at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_ELLIPSIS: Final = "…"


@dataclass(frozen=True)
class Shape:
    """How a column takes a text. Of a list, such as ``1 dead, 2 delivered``, each part stays in one line."""

    width: int
    is_list: bool = False
    cut: bool = False  # a word that is too wide ends in an ellipsis; else it goes on in the next line


def widest_part(text: str, is_list: bool) -> int:
    """How many cells of a terminal what stays together takes at most."""
    from rich.cells import cell_len

    return max(map(cell_len, _parts(text, is_list)), default=0)


def wrapped(text: str, shape: Shape) -> str:
    """The text in lines of at most ``shape.width`` cells."""
    from rich.cells import cell_len

    lines: list[str] = []
    pieces = (piece for part in _parts(text, shape.is_list) for piece in _fitting(part, shape))
    for piece in pieces:
        if lines and cell_len(lines[-1]) + 1 + cell_len(piece) <= shape.width:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return "\n".join(lines)


def _parts(text: str, is_list: bool) -> list[str]:
    if not is_list:
        return text.split()
    *first, last = text.split(", ")
    return [*(f"{part}," for part in first), last]


def _fitting(part: str, shape: Shape) -> Iterator[str]:
    from rich.cells import cell_len, chop_cells, set_cell_size

    if cell_len(part) <= shape.width:
        yield part
    elif shape.cut:
        yield set_cell_size(part, shape.width - 1).rstrip() + _ELLIPSIS
    else:
        yield from chop_cells(part, shape.width)
