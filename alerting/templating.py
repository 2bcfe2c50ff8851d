"""The templates of messages: our own, and the operator's in a folder, which come before them.

A message has five parts. For each, the first of these names that the folder has is taken, or else our own:
``task_failed.text.j2`` (for one kind of event) and ``message.text.j2`` (for every kind). A message about several events
is ``wave.text.j2``. A template may begin with ``{% extends "built-in/message.html.j2" %}`` and replace blocks.

Templates run in jinja2's sandbox: no attribute of Python's machinery can be reached from them. One that is broken is
reported once, and our own is used instead, so that no alert is lost by it. A file is read again when it changes.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from jinja2 import ChoiceLoader, FileSystemLoader, PackageLoader, PrefixLoader, StrictUndefined, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from alerting.cleaning import one_line, shorten
from alerting.kinds import EventKind

log = logging.getLogger(__name__)

OWN: Final = "built-in"
MESSAGE: Final = "message"
WAVE: Final = "wave"
REASON_LIMIT: Final = 300


class Part(StrEnum):
    """What a template makes; the middle of its file's name."""

    SUBJECT = "subject"  # of a mail
    TITLE = "title"  # the first line in chat
    TEXT = "text"  # the mail's plain text
    HTML = "html"  # the mail's page
    CHAT = "chat"  # plain text, for every chat service


@dataclass(frozen=True)
class Made:
    """What a template made, and whether it was the operator's."""

    text: str
    is_operators: bool = False


class Templates:
    """Our templates, and those of ``folder`` before them. May be used from several threads at once."""

    def __init__(self, folder: Path | None = None, redact: Callable[[str], str] = str) -> None:
        self._folder = folder
        self._redact = redact
        self.problems: dict[str, str] = {}  # a template's name, and why it is not used
        own = PrefixLoader({OWN: PackageLoader("alerting", "templates")})
        loader = own if folder is None else ChoiceLoader([own, FileSystemLoader(folder)])
        options: dict[str, Any] = {"loader": loader, "undefined": StrictUndefined, "trim_blocks": True}
        self._page = SandboxedEnvironment(autoescape=True, lstrip_blocks=True, **options)
        self._text = SandboxedEnvironment(autoescape=False, lstrip_blocks=True, keep_trailing_newline=True, **options)
        self._report_unknown_names()

    def make(self, part: Part, kind: EventKind | None, values: Mapping[str, Any]) -> Made:
        """One part of a message; without a ``kind``, of a message about several events."""
        for name in self._names(part, kind):
            if self._folder is not None and (self._folder / name).is_file():
                made = self._try(part, name, values)
                if made is not None:
                    return Made(made, is_operators=True)
        general = MESSAGE if kind else WAVE
        return Made(self._environment(part).get_template(f"{OWN}/{general}.{part}.j2").render(values))

    def _names(self, part: Part, kind: EventKind | None) -> tuple[str, ...]:
        return (f"{kind}.{part}.j2", f"{MESSAGE}.{part}.j2") if kind else (f"{WAVE}.{part}.j2",)

    def _environment(self, part: Part) -> SandboxedEnvironment:
        return self._page if part is Part.HTML else self._text

    def _try(self, part: Part, name: str, values: Mapping[str, Any]) -> str | None:
        try:
            made = self._environment(part).get_template(name).render(values)
        except Exception as error:  # it is the operator's program: anything may be wrong with it
            self._report(name, self._reason(error))
            return None
        self.problems.pop(name, None)
        return self._redact(made)

    def _reason(self, error: Exception) -> str:
        line = f"line {error.lineno}: " if isinstance(error, TemplateSyntaxError) else ""
        return shorten(f"{line}{one_line(self._redact(str(error))) or type(error).__name__}", REASON_LIMIT)

    def _report(self, name: str, reason: str) -> None:
        if self.problems.get(name) != reason:
            self.problems[name] = reason
            log.error("%s is not used, the built-in template is: %s", name, reason)

    def _report_unknown_names(self) -> None:
        if self._folder is None or not self._folder.is_dir():
            return
        for path in sorted(self._folder.rglob("*.j2")):
            name = path.relative_to(self._folder).as_posix()
            close = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.8)
            if name not in KNOWN and close:
                self._report(name, f"no message has such a template; did you mean {close[0]}?")


KNOWN: Final = tuple(
    f"{about}.{part}.j2" for about in (MESSAGE, WAVE, *(kind.value for kind in EventKind)) for part in Part
)
