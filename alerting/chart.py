"""How long a task took lately, as a picture: a bar per attempt, drawn into a PNG of a few kilobytes.

The picture has no words, for a font would be a dependency; what it shows is said beside it. It has no background, so
that it suits a page in the dark too. The format is that of the PNG specification, with a palette (colour type 3) and
two bits for each dot.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH, HEIGHT = 1200, 160  # twice what a page shows, for screens with many dots
_GAP: Final = 6
_WIDEST: Final = 34
_MOST: Final = WIDTH // (2 * _GAP)
_EMPTY, _OTHER, _FAILED, _LINE = range(4)
_COLOURS: Final = bytes((0, 0, 0, 108, 142, 191, 217, 83, 79, 140, 150, 160))
_OPACITY: Final = bytes((0, 255, 255, 255))


@dataclass(frozen=True)
class Sample:
    """One ended attempt of the task."""

    seconds: float
    failed: bool = False


def draw(samples: Sequence[Sample]) -> bytes:
    """A PNG with a bar per attempt, the last one on the right and the longest as high as the picture."""
    samples = samples[-_MOST:]
    longest = max((sample.seconds for sample in samples), default=0.0) or 1.0
    step = min(WIDTH // max(len(samples), 1), _WIDEST + _GAP)
    bars = [(_height(sample.seconds / longest), _FAILED if sample.failed else _OTHER) for sample in samples]
    rows = [b""] * (HEIGHT - 2)
    above = HEIGHT - 2
    for top in sorted({top for top, _ in bars}, reverse=True):  # between two tops all rows are the same
        rows[HEIGHT - 2 - above : HEIGHT - 2 - top] = [_row(bars, top + 1, step)] * (above - top)
        above = top
    rows[HEIGHT - 2 - above :] = [_row(bars, above, step)] * above
    return _png([*rows, *[bytes([_LINE]) * WIDTH] * 2])


def _height(share: float) -> int:
    return max(3, round(share * (HEIGHT - 2)))


def _row(bars: Sequence[tuple[int, int]], height: int, step: int) -> bytes:
    """One line of dots; ``height`` is that of the line above the ground."""
    width = step - _GAP
    bar = {colour: bytes([colour]) * width + bytes(_GAP) for colour in (_EMPTY, _OTHER, _FAILED)}
    row = b"".join([bar[colour if top >= height else _EMPTY] for top, colour in bars])
    return row[:WIDTH].ljust(WIDTH, bytes([_EMPTY]))


def _packed(row: bytes) -> bytes:
    """Four dots to a byte, the first one in its highest bits."""
    first, second, third, fourth = (int.from_bytes(row[start::4], "big") for start in range(4))
    return (first << 6 | second << 4 | third << 2 | fourth).to_bytes(WIDTH // 4, "big")


def _png(rows: Sequence[bytes]) -> bytes:
    packed = {row: _packed(row) for row in set(rows)}
    raw = b"".join([b"\x00" + packed[row] for row in rows])  # filter 0: as it is
    header = struct.pack(">IIBBBBB", WIDTH, len(rows), 2, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", _COLOURS), (b"tRNS", _OPACITY), (b"IDAT", zlib.compress(raw, 1)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in (*chunks, (b"IEND", b"")))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
