"""Reads the selectors out of a query, PromQL or LogQL, as far as the linter's rules need it.

Not a parser: what is no query at all is for Prometheus to refuse. It knows names, braces, windows and the function
around them, and says what cannot be right in any case: brackets that do not match, text without an end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dashboards.errors import BoardError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)
      | (?P<window>\[[^\]]*\])
      | (?P<number>\d[\w.]*)
      | (?P<name>\$?[A-Za-z_:][\w:]*)
      | (?P<operator>=~|!~|!=|==|<=|>=|[-+*/%^<>=,(){}|.$])
    """,
    re.VERBOSE,
)
_MATCHER: Final = re.compile(r"\s*([A-Za-z_]\w*)\s*(=~|!~|!=|=)\s*(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`)\s*")
_LABEL_LISTS: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS: Final = _LABEL_LISTS | {"and", "or", "unless", "offset", "bool", "atan2", "inf", "nan", "start", "end"}
_CLOSING: Final = {"(": ")", "{": "}"}


class NoQueryError(BoardError):
    """The text cannot be a query."""


@dataclass(frozen=True)
class Selector:
    """``name{matchers}[window]`` inside ``function(…)``; the matchers are (label, operator, value)."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    window: str = ""
    functions: tuple[str, ...] = ()  # the calls around it, the innermost last

    def has(self, label: str, value: str) -> bool:
        """Whether the label is matched by this regular expression and by nothing else."""
        return [(operator, held) for name, operator, held in self.matchers if name == label] == [("=~", value)]


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


def selectors(query: str) -> list[Selector]:
    """Every selector; raises NoQueryError."""
    tokens = [token for token in _tokens(query) if token.kind != "space"]
    if not tokens:
        raise NoQueryError("it is empty")
    found: list[Selector] = []
    calls: list[str] = []  # what stands before each open bracket
    place = 0
    while place < len(tokens):
        token = tokens[place]
        after = tokens[place + 1].text if place + 1 < len(tokens) else ""
        if token.text == "{" or _is_series(token, after):
            selector, place = _selector(tokens, place, tuple(call for call in calls if call))
            found.append(selector)
            continue
        if token.text == "(":
            before = tokens[place - 1] if place else _Token("", "")
            if before.text.lower() in _LABEL_LISTS:
                place = _closing(tokens, place) + 1
                continue
            calls.append(before.text if before.kind == "name" else "")
        elif token.text == ")":
            if not calls:
                raise NoQueryError("a bracket is closed that was not opened")
            calls.pop()
        place += 1
    if calls:
        raise NoQueryError("a bracket is not closed")
    return found


def _is_series(token: _Token, after: str) -> bool:
    """A name that is no word of the language, no variable, no function and no aggregation."""
    named = token.kind == "name" and not token.text.startswith("$") and token.text.lower() not in _WORDS
    return named and after != "(" and after.lower() not in _LABEL_LISTS


def _tokens(query: str) -> Iterator[_Token]:
    place = 0
    while place < len(query):
        match = _TOKEN.match(query, place)
        if match is None or match.lastgroup is None:
            raise NoQueryError(f"it cannot be read from {query[place : place + 20]!r} on")
        yield _Token(match.lastgroup, match.group())
        place = match.end()


def _selector(tokens: Sequence[_Token], place: int, functions: tuple[str, ...]) -> tuple[Selector, int]:
    """The selector that begins here, and the place behind it."""
    name = ""
    if tokens[place].kind == "name":
        name, place = tokens[place].text, place + 1
    matchers: tuple[tuple[str, str, str], ...] = ()
    if place < len(tokens) and tokens[place].text == "{":
        end = _closing(tokens, place)
        matchers = _matchers("".join(token.text for token in tokens[place + 1 : end]))
        place = end + 1
    window = ""
    if place < len(tokens) and tokens[place].kind == "window":
        window, place = tokens[place].text[1:-1], place + 1
    return Selector(name, matchers, window, functions), place


def _matchers(text: str) -> tuple[tuple[str, str, str], ...]:
    found, rest = [], text
    while rest.strip():
        match = _MATCHER.match(rest)
        if match is None:
            raise NoQueryError(f"{rest!r} is no label matcher")
        found.append((match[1], match[2], match[3][1:-1]))
        rest = rest[match.end() :]
        if rest and not rest.startswith(","):
            raise NoQueryError(f"a comma is missing before {rest!r}")
        rest = rest[1:]
    return tuple(found)


def _closing(tokens: Sequence[_Token], opening: int) -> int:
    """The place of the bracket that closes this one."""
    opener, depth = tokens[opening].text, 0
    for place in range(opening, len(tokens)):
        depth += (tokens[place].text == opener) - (tokens[place].text == _CLOSING[opener])
        if depth == 0:
            return place
    raise NoQueryError("a bracket is not closed")
