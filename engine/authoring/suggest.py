"""'Did you mean …?' for names that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# Likenesses as of difflib, from 0 to 1.
NEAR: Final = 0.6  # may be meant
SLIP: Final = 0.8  # is hardly anything but a slip of the pen


def did_you_mean(word: str, choices: Iterable[str], *, cutoff: float = NEAR) -> str:
    """`` Did you mean 'x'?`` with its leading blank, or nothing where no choice comes near."""
    near = nearest(word, choices, cutoff)
    return f" Did you mean {near!r}?" if near else ""


def nearest(word: str, choices: Iterable[str], cutoff: float) -> str | None:
    """The choice that is most like `word`, if any is as like as `cutoff`."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(choices), n=1, cutoff=cutoff)
    return str(near[0]) if near else None
