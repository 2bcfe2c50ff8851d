"""A YAML document whose every part knows its line, so that a mistake can be told where it was made.

Problems are collected, not raised: who corrects a file wants to hear of all of them. Each is one line: the line's
number, the key, what is wrong, and what was perhaps meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeVar

import yaml

from alerting.cleaning import shorten

Value = TypeVar("Value")

LONGEST: Final = timedelta(days=3_650)  # longer ones, added to a moment, would leave the calendar
MOST: Final = 1_000_000
_LONGEST_SHOWN: Final = 80
_SPAN: Final = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?")
_URL_HERE: Final = "; this is a URL: put it under channels, and write its name here"
_NO_KEY: Final = "a key must be a text; is this a placeholder, such as {{ NAME }}, that nothing was put in for?"
_YES: Final = {"true", "yes", "on"}
_NO: Final = {"false", "no", "off"}


@dataclass(frozen=True)
class Part:
    """One value of the document and the way to it, such as ``route.routes[1].receiver``."""

    node: yaml.Node
    path: str

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)


@dataclass
class Document:
    """Reads parts and collects what is wrong with them; what cannot be read becomes an empty value or None."""

    problems: list[tuple[int, str]] = field(default_factory=list)
    meant: set[str] = field(default_factory=set)  # names that stand below an unknown key, or were written wrongly

    def root(self, text: str) -> Part | None:
        """The whole document; None where it is empty or is no YAML."""
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            what = " ".join(str(getattr(error, "problem", None) or error).split())
            hint = "; indent with spaces, not with tabs" if "'\\t'" in what else ""
            self.problems.append((mark.line + 1 if mark else 1, f"this is not YAML: {shown(what)}{hint}"))
            return None
        except RecursionError:
            self.problems.append((1, "this is not YAML for people: its parts are too deep inside each other"))
            return None
        except (ValueError, OverflowError) as error:  # an escape such as "\UFFFFFFFF"
            self.problems.append((1, f"this is not YAML: {shown(str(error))}"))
            return None
        return None if node is None else Part(node, "")

    def complain(self, part: Part, what: str) -> None:
        self.problems.append((part.line, f"{part.path}: {what}" if part.path else what))

    def fields(self, part: Part, known: Collection[str]) -> dict[str, Part]:
        """A mapping's parts; keys that are not known are complained of, with the one that was perhaps meant."""
        found = self.named(part)
        for key in [key for key in found if key not in known]:
            unknown = found.pop(key)
            self.meant |= set(_texts_in(unknown.node))
            what = f"{unknown.path}: unknown key{meant(key, known)}"
            self.problems.append((self._key_line(part, key), what))
        return found

    def lacks(self, part: Part, key: str, known: Collection[str], what: str) -> None:
        """Complains of a key that is not there, unless an unknown one stands for it, which is complained of already."""
        if not any(_close(other, (key,)) for other in self.known(part) if other not in known):
            self.complain(part, what)

    def named(self, part: Part) -> dict[str, Part]:
        """A mapping's parts by key, whatever the keys are; one that comes twice, or is no text, is complained of."""
        if not isinstance(part.node, yaml.MappingNode):
            self.complain(part, "must be a mapping (key: value)")
            return {}
        found: dict[str, Part] = {}
        for key, value in part.node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.complain(Part(key, part.path), _NO_KEY)
                continue
            name = str(key.value)
            child = Part(value, f"{part.path}.{shown(name)}" if part.path else shown(name))
            if name in found:
                self.problems.append((key.start_mark.line + 1, f"{child.path}: comes twice"))
            found[name] = child
        return found

    def known(self, part: Part) -> dict[str, Part]:
        """A mapping's parts that were read before: nothing is complained of a second time."""
        return Document().named(part)

    def _key_line(self, part: Part, name: str) -> int:
        return next(int(key.start_mark.line) + 1 for key, _ in part.node.value if key.value == name)

    def items(self, part: Part) -> list[Part]:
        """A list's parts; a single value counts as a list of one."""
        if isinstance(part.node, yaml.SequenceNode):
            return [Part(node, f"{part.path}[{position}]") for position, node in enumerate(part.node.value)]
        return [] if _is_null(part.node) else [part]

    def text(self, part: Part) -> str:
        if not isinstance(part.node, yaml.ScalarNode) or _is_null(part.node) or not str(part.node.value).strip():
            self.complain(part, "must be a text")
            return ""
        return str(part.node.value).strip()

    def texts(self, part: Part) -> tuple[str, ...]:
        return tuple(text for item in self.items(part) if (text := self.text(item)))

    def span(self, part: Part) -> timedelta | None:
        """A length of time such as ``30s``, ``5m`` or ``1h30m``."""
        text = self.text(part)
        if not text:
            return None
        found = _SPAN.fullmatch(text)
        if found is None or not any(found.groups()):
            self.complain(part, f"{shown(text)!r} is no length of time; write one such as 30s, 5m or 1h30m")
            return None
        days, hours, minutes, seconds = (int(group or 0) for group in found.groups())
        length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if length <= LONGEST:
            return length
        self.complain(part, f"{text!r} is too long; write at most {LONGEST.days}d, which is ten years")
        return None

    def count(self, part: Part) -> int | None:
        """A whole number, at least one."""
        text = self.text(part)
        if text.isdecimal() and len(text) <= len(str(MOST)) and 0 < int(text) <= MOST:
            return int(text)
        self.complain(part, f"must be a whole number above zero, and at most {MOST:,}")
        return None

    def flag(self, part: Part) -> bool:
        text = self.text(part).lower()
        if text not in _YES | _NO:
            self.complain(part, "must be true or false")
        return text in _YES

    def one_of(self, part: Part, known: Collection[str], what: str) -> str | None:
        """A name that must be one of the known ones."""
        name = self.text(part)
        if not name or name in known:
            return name or None
        self.meant |= set(_close(name, known))
        self.complain(part, f"there is no {what} {shown(name)!r}{_URL_HERE if is_url(name) else meant(name, known)}")
        return None

    def parsed(self, part: Part, parse: Callable[[str], Value]) -> Value | None:
        """A text that ``parse`` understands; its ValueError is the complaint."""
        text = self.text(part)
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as error:
            what = f"{shown(text)!r} is not understood" if is_url(text) else str(error)
            self.complain(part, what)
            return None

    def filled(self, given: Mapping[str, Part], *keys: str) -> None:
        """Complains of these keys where they are written and nothing is: what is empty must not count as everything."""
        for key in keys:
            if key in given and not self.items(given[key]):
                self.complain(given[key], "is empty; say what belongs here, or leave it out")

    def said(self, given: Mapping[str, Part], *keys: str) -> None:
        """Complains of these keys where they are written and nothing is, not even ``[]``, which means something."""
        for key in keys:
            if key in given and _is_null(given[key].node):
                self.complain(given[key], "is empty; write [] where that is meant, or leave it out")


def is_url(text: str) -> bool:
    """Whether this may be a URL, and so hold a secret."""
    return "://" in text


def shown(text: str) -> str:
    """As it may stand in a log and on a page: of what may be a URL only the scheme, of what is long the beginning."""
    scheme, separator, _ = text.partition("://")
    return f"{shorten(scheme, _LONGEST_SHOWN)}://…" if separator else shorten(text, _LONGEST_SHOWN)


def _texts_in(node: yaml.Node) -> Iterator[str]:
    """All scalars of a part, its keys too; each node once, since an alias may lead back to it."""
    todo, seen = [node], {id(node)}
    while todo:
        each = todo.pop()
        if isinstance(each, yaml.ScalarNode):
            yield str(each.value).strip()
            continue
        below = [one for pair in each.value for one in pair] if isinstance(each, yaml.MappingNode) else each.value
        todo += [child for child in below if id(child) not in seen]
        seen |= {id(child) for child in below}


def _is_null(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null"


def meant(word: str, known: Iterable[str]) -> str:
    """``, did you mean x?``, or what there is where that is little, or nothing."""
    names = sorted(name for name in known if not is_url(name))
    if close := _close(word, names):
        return f", did you mean {close[0]}?"
    return f"; there are: {', '.join(names)}" if names and len(names) <= 12 else ""


def _close(word: str, names: Iterable[str]) -> list[str]:
    """The one that was perhaps meant."""
    return difflib.get_close_matches(word, list(names), n=1, cutoff=0.6)
