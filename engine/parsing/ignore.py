"""Files in the DAG folder that say what is no DAG file.

``.windsockignore`` holds glob patterns as ``.gitignore`` does; ``.airflowignore`` regular expressions, as in Airflow 2.
Both hold for their folder and those below; ``#`` begins a comment. A pattern that cannot be read is reported and
passed over.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

log = logging.getLogger(__name__)

GLOB_FILE = ".windsockignore"
REGEXP_FILE = ".airflowignore"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line. `negated` (glob only) lets a path in again that an earlier line left out."""

    pattern: re.Pattern[str]
    folders_only: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of one ignore file; they see paths relative to its folder."""

    folder: PurePosixPath
    rules: tuple[Rule, ...]

    def verdict(self, path: PurePosixPath, is_folder: bool) -> bool | None:
        """True: ignored; False: let in again; None: no rule speaks of it."""
        told: bool | None = None
        relative = str(path.relative_to(self.folder))
        for rule in self.rules:
            if (is_folder or not rule.folders_only) and rule.pattern.search(relative):
                told = not rule.negated
        return told


def is_ignored(rule_sets: tuple[RuleSet, ...], path: PurePosixPath, is_folder: bool) -> bool:
    """Whether `path` is left out; the rules of inner folders have the last word."""
    ignored = False
    for rules in rule_sets:
        if (verdict := rules.verdict(path, is_folder)) is not None:
            ignored = verdict
    return ignored


def read_rules(folder: PurePosixPath, file_name: str, text: str) -> RuleSet:
    """The rules of one ignore file."""
    read: Callable[[str], Rule] = _glob_rule if file_name == GLOB_FILE else _regexp_rule
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        if not (pattern := _without_comment(line)):
            continue
        try:
            rules.append(read(pattern))
        except re.error as error:
            log.warning("%s/%s line %d: %r is passed over: %s", folder, file_name, number, pattern, error)
    return RuleSet(folder, tuple(rules))


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s+)#.*", "", line).strip()


def _regexp_rule(pattern: str) -> Rule:
    return Rule(re.compile(pattern))


def _glob_rule(pattern: str) -> Rule:
    negated = pattern.startswith("!")
    body = pattern.removeprefix("!")
    folders_only = body.endswith("/")
    body = body.rstrip("/")
    anchored = "/" in body
    expression = _glob_expression(body.lstrip("/"))
    return Rule(re.compile(rf"\A{expression}\Z" if anchored else rf"(\A|/){expression}\Z"), folders_only, negated)


def _glob_expression(glob: str) -> str:
    parts = re.split(r"(\*\*/|/\*\*\Z|\*|\?|\[[^\]]+\])", glob)
    return "".join(_glob_part(part) for part in parts)


def _glob_part(part: str) -> str:
    match part:
        case "**/":
            return r"(?:.*/)?"
        case "/**":
            return r"/.*"
        case "*":
            return r"[^/]*"
        case "?":
            return r"[^/]"
    if part.startswith("[") and part.endswith("]"):
        return "[^" + part[2:] if part.startswith("[!") else part
    return re.escape(part)
