"""A YAML document whose every part knows its line, so that a mistake can be told where it was made.

Problems are collected, not raised: who corrects a file wants to hear of all of them. Each is one line: the line's
number, the key, what is wrong, and what was perhaps meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeVar

import yaml

Value = TypeVar("Value")

_SPAN: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
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

    def root(self, text: str) -> Part | None:
        """The whole document; None where it is empty or is no YAML."""
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            what = " ".join(str(getattr(error, "problem", None) or error).split())
            self.problems.append((mark.line + 1 if mark else 1, f"this is not YAML: {what}"))
            return None
        return None if node is None else Part(node, "")

    def complain(self, part: Part, what: str) -> None:
        self.problems.append((part.line, f"{part.path}: {what}" if part.path else what))

    def fields(self, part: Part, known: Collection[str]) -> dict[str, Part]:
        """A mapping's parts; keys that are not known are complained of, with the one that was perhaps meant."""
        found = self.named(part)
        for key in [key for key in found if key not in known]:
            unknown = found.pop(key)
            self.problems.append((self._key_line(part, key), f"{unknown.path}: unknown key{meant(key, known)}"))
        return found

    def named(self, part: Part) -> dict[str, Part]:
        """A mapping's parts by key, whatever the keys are; a key that comes twice is complained of."""
        if not isinstance(part.node, yaml.MappingNode):
            self.complain(part, "must be a mapping (key: value)")
            return {}
        found: dict[str, Part] = {}
        for key, value in part.node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            child = Part(value, f"{part.path}.{name}" if part.path else name)
            if name in found:
                self.problems.append((key.start_mark.line + 1, f"{child.path}: comes twice"))
            found[name] = child
        return found

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
        found = _SPAN.fullmatch(text)
        if text and (found is None or not any(found.groups())):
            self.complain(part, f"{text!r} is no length of time; write one such as 30s, 5m or 1h30m")
        if found is None or not any(found.groups()):
            return None
        days, hours, minutes, seconds = (int(group or 0) for group in found.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)

    def count(self, part: Part) -> int | None:
        """A whole number, at least one."""
        text = self.text(part)
        if text.isdecimal() and int(text) > 0:
            return int(text)
        self.complain(part, "must be a whole number above zero")
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
        self.complain(part, f"there is no {what} {name!r}{meant(name, known)}")
        return None

    def parsed(self, part: Part, parse: Callable[[str], Value]) -> Value | None:
        """A text that ``parse`` understands; its ValueError is the complaint."""
        text = self.text(part)
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.complain(part, str(error))
            return None


def _is_null(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null"


def meant(word: str, known: Iterable[str]) -> str:
    """``, did you mean x?``, or what there is where that is little, or nothing."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f", did you mean {close[0]}?"
    return f"; there are: {', '.join(names)}" if names and len(names) <= 12 else ""
