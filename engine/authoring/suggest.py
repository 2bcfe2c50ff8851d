"""'Did you mean …?' for names that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` with its leading blank, or nothing where no choice comes near."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f" Did you mean {str(near[0])!r}?" if near else ""
