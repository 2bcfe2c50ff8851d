"""Globs → the rule that a StatsD name finds: a tree of fields per kind of sample, as statsd_exporter 0.30 searches it.

Its ways, kept because mappings rely on them without knowing:

- Globs with the same fields are one path. The first rule that made a path's last node owns it: a glob that is the
  beginning of an earlier one, or equal to it, is never found. Yet the path takes the *place* of the last rule on it.
- A branch is entered only if the fields left fit the lengths of the globs below it.
- With ordering the whole tree is searched, and the rule whose place is first wins.
- Without ordering (``glob_disable_ordering``) the first hit wins, literal fields before ``*``, from the left. A dead
  end is left again only where the globs as a whole ask for it; see `_needs_backtracking`.
- A field that is itself ``*`` on the wire counts as literal, and is not captured.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from exporters.line import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

ANY: Final = "*"
T = TypeVar("T")


@dataclass(slots=True)
class _Node(Generic[T]):
    """A field of one or more globs. ``shortest`` and ``longest`` count the fields that may follow."""

    shortest: int
    longest: int
    rule: T | None = None
    place: int = 0
    below: dict[str, _Node[T]] = field(default_factory=dict)

    def fits(self, fields_left: int) -> bool:
        return self.shortest <= fields_left <= self.longest


class Globs(Generic[T]):
    """All globs of a mapping file. Added in the file's order, then only asked."""

    def __init__(self, *, ordered: bool) -> None:
        self._ordered = ordered
        self._roots: dict[Kind, _Node[T]] = {kind: _Node(0, 0) for kind in Kind}
        self._patterns: list[str] = []
        self._backtracking: bool | None = None

    def add(self, pattern: str, kind: Kind | None, rule: T) -> None:
        """``kind`` None stands for every kind."""
        place = len(self._patterns)
        self._patterns.append(pattern)
        for root in [self._roots[kind]] if kind else self._roots.values():
            self._plant(root, pattern.split("."), place, rule)

    def find(self, name: str, kind: Kind) -> tuple[T, Sequence[str]] | None:
        """The rule and what its ``*`` stand for."""
        if self._backtracking is None:
            self._backtracking = self._ordered or _needs_backtracking(self._patterns)
        search = _Search[T](name.split("."), self._ordered, self._backtracking)
        search.descend(self._roots[kind], 0, 0)
        return (search.found.rule, search.captures) if search.found and search.found.rule is not None else None

    @staticmethod
    def _plant(node: _Node[T], fields: Sequence[str], place: int, rule: T) -> None:
        for left, name in zip(range(len(fields) - 1, -1, -1), fields, strict=True):
            below = node.below.get(name)
            if below is None:
                below = node.below[name] = _Node(left, left, rule if left == 0 else None)
            below.shortest = min(left, below.shortest)
            below.longest = max(left, below.longest)
            node = below
        node.place = place


class _Search(Generic[T]):
    """One walk through a tree, for one name."""

    def __init__(self, fields: Sequence[str], ordered: bool, backtracking: bool) -> None:
        self._fields = fields
        self._ordered = ordered
        self._backtracking = backtracking
        self._captured = [""] * len(fields)
        self.found: _Node[T] | None = None
        self.captures: Sequence[str] = ()

    def descend(self, node: _Node[T], at: int, captured: int) -> None:
        """Try the field ``at`` below the node, literally and then as ``*``; ``captured`` fields are captured yet."""
        text = self._fields[at]
        left = len(self._fields) - at - 1
        literal, wild = node.below.get(text), node.below.get(ANY)
        takes_literal = literal is not None and literal.fits(left)
        if literal is not None and takes_literal:
            self._enter(literal, at, captured)
            if not self._backtracking or literal is wild or self._is_done:
                return
        if wild is not None and wild.fits(left):
            self._captured[captured] = text
            self._enter(wild, at, captured + 1)

    @property
    def _is_done(self) -> bool:
        return self.found is not None and not self._ordered

    def _enter(self, node: _Node[T], at: int, captured: int) -> None:
        if at + 1 < len(self._fields):
            self.descend(node, at + 1, captured)
        elif node.rule is not None and (self.found is None or node.place < self.found.place):
            self.found = node
            self.captures = tuple(self._captured)


def _needs_backtracking(patterns: Sequence[str]) -> bool:
    """Whether, without ordering, a literal field may lead astray from a glob that has ``*`` there.

    So it is for a glob beside which another of its length starts with the same fields up to one of its ``*``, unless
    it covers another glob, or another covers it.
    """
    by_length: dict[int, list[str]] = defaultdict(list)
    for pattern in patterns:
        by_length[pattern.count(".")].append(pattern)
    return any(
        _leads_astray(place, pattern, rivals)
        for rivals in by_length.values()
        for place, pattern in enumerate(rivals)
        if ANY in pattern
    )


def _leads_astray(place: int, pattern: str, patterns: Sequence[str]) -> bool:
    rivals = [rival for other, rival in enumerate(patterns) if other != place]
    heads = [pattern[:at] for at, character in enumerate(pattern) if character == ANY]
    shared = any(rival.startswith(head) for head in heads for rival in rivals)
    return shared and not any(_covers(pattern, rival) or _covers(rival, pattern) for rival in rivals)


def _covers(wide: str, narrow: str) -> bool:
    fields = re.escape(wide).replace(re.escape(ANY), "[^.]*")
    return re.fullmatch(fields, narrow) is not None
