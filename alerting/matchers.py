"""What an event is known by, its labels, and conditions on them, in the way of Alertmanager.

``=`` and ``!=`` compare, ``=~`` and ``!~`` match a regular expression of RE2 against the whole value. A label that an
event has not is the empty text. An event may have several tags: ``tag="x"`` holds where one of them is x, ``tag!="x"``
where none is. ``label.NAME`` is a label of an alert of Prometheus.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from alerting.document import meant
from alerting.events import AlertEvent
from alerting.kinds import (
    CAUSES_OF_CALLBACKS,
    CAUSES_OF_RUNS,
    CAUSES_OF_TASKS,
    KINDS,
    SEVERITIES,
    EventKind,
    Severity,
)

Labels: TypeAlias = Mapping[str, tuple[str, ...]]

LABELS: Final = ("dag", "run", "task", "tag", "owner", "event", "severity", "pool", "try", "cause", "subject")
FOREIGN: Final = "label."  # before the name of a label of Prometheus
DEFAULT_SEVERITY: Final[Mapping[EventKind, Severity]] = {kind: known.severity for kind, known in KINDS.items()}
# Labels of which every value is known; "" where an event may have none.
_CLOSED: Final[Mapping[str, tuple[str, ...]]] = {
    "event": tuple(EventKind),
    "severity": SEVERITIES,
    "cause": ("", *dict.fromkeys((*CAUSES_OF_TASKS, *CAUSES_OF_RUNS, *CAUSES_OF_CALLBACKS))),
}
_WORDS: Final = re.compile(r"\w*(?:\|\w*)*")
_GROUPED: Final = re.compile(r"\((?:\?:)?([^()]*)\)")
_MAX_REGEX_BYTES: Final = 1 << 20
_FOREIGN_NAME: Final = re.compile(r"label\.[A-Za-z_][A-Za-z0-9_]*")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_FORM: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
Operator: TypeAlias = Literal["=", "!=", "=~", "!~"]


def severity_of(event: AlertEvent, severity: Mapping[EventKind, Severity] = DEFAULT_SEVERITY) -> Severity:
    """What the event itself knows, and else what ``severity`` says of its kind."""
    return event.severity or severity.get(event.kind, DEFAULT_SEVERITY[event.kind])


def labels_of(event: AlertEvent, severity: Mapping[EventKind, Severity] = DEFAULT_SEVERITY) -> Labels:
    """Each label and its values: one, but for tags; the empty text where there is none."""
    return {
        "dag": (event.dag_id or "",),
        "run": (event.run_id or "",),
        "task": (event.task_id or "",),
        "tag": event.tags or ("",),
        "owner": (event.owner or "",),
        "event": (event.kind.value,),
        "severity": (severity_of(event, severity),),
        "pool": (event.pool or "",),
        "try": ("" if event.try_number is None else str(event.try_number),),
        "cause": (event.cause or "",),
        "subject": (event.subject or "",),
        **{f"{FOREIGN}{name}": (value,) for name, value in event.labels},
    }


def values_of(labels: Labels, name: str) -> tuple[str, ...]:
    """An alert of Prometheus has labels of its own; the ones that it has not are the empty text."""
    return labels.get(name, ("",))


def is_label(name: str) -> bool:
    return name in LABELS or _FOREIGN_NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Matcher:
    """One condition on one label."""

    label: str
    operator: Operator
    value: str
    regex: Any = field(default=None, compare=False, repr=False)

    def accepts(self, labels: Labels) -> bool:
        return any(map(self.takes, values_of(labels, self.label))) is not self.negative

    def takes(self, value: str) -> bool:
        """Whether the comparison itself holds, before a negation."""
        return value == self.value if self.regex is None else self.regex.fullmatch(value) is not None

    @property
    def negative(self) -> bool:
        return self.operator in ("!=", "!~")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{self.label}{self.operator}"{escaped}"'


def parse_matcher(text: str) -> Matcher:
    """``dag=~"etl_.*"``, with or without quotes. Raises ValueError with one sentence."""
    matcher = stored_matcher(text)
    _check_values(matcher)
    return matcher


def stored_matcher(text: str) -> Matcher:
    """As :func:`parse_matcher`, of a version that may know other values than this one."""
    found = _FORM.fullmatch(text)
    if found is None:
        msg = f'{text!r} is no matcher; write one such as dag="daily" or task=~"load_.*" (=, !=, =~, !~)'
        raise ValueError(msg)
    if _has_loose_quote(found[3]):
        msg = f'{text!r} has a quotation mark within its value; write several matchers as a list, and a mark as \\"'
        raise ValueError(msg)
    label, operator, value = found[1], _operator(found[2]), _unquoted(found[3])
    if not is_label(label):
        msg = f"there is no label {label!r}{meant(label, LABELS)}"
        raise ValueError(msg)
    return Matcher(label, operator, value, _compiled(value) if operator in ("=~", "!~") else None)


def _operator(text: str) -> Operator:
    match text:
        case "=" | "!=" | "=~" | "!~":
            return text
        case _:
            raise AssertionError(text)


def _has_loose_quote(text: str) -> bool:
    """In Alertmanager's way, ``a="x", b="y"`` would be two matchers; here it must not be taken for a value."""
    return '"' in text and _QUOTED.fullmatch(text) is None


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return text


def _check_values(matcher: Matcher) -> None:
    """Where a label has few values, one that does not exist is a mistake and not a condition that never holds.

    So is one of several that a regular expression only lists: the others hold, and nobody would see what it lacks.
    """
    known = _CLOSED.get(matcher.label)
    if known is None:
        return
    wrong = [word for word in _listed(matcher) if word not in known]
    if wrong:
        raise ValueError(f"there is no {matcher.label} {wrong[0]!r}{_perhaps(wrong[0], known)}")
    if not any(map(matcher.takes, known)):
        raise ValueError(f"no {matcher.label} matches {matcher.value!r}{_perhaps(matcher.value, known)}")


def _listed(matcher: Matcher) -> list[str]:
    """The values that a condition names as they are: one, or the alternatives of a plain regular expression."""
    if matcher.regex is None:
        return [matcher.value]
    pattern = matcher.value.removeprefix("^").removesuffix("$")
    if (grouped := _GROUPED.fullmatch(pattern)) is not None:
        pattern = grouped[1]
    return [word for word in pattern.split("|") if word] if _WORDS.fullmatch(pattern) else []


def _perhaps(word: str, known: tuple[str, ...]) -> str:
    named = [value for value in known if value]
    return meant(word, named) or f"; there are: {', '.join(named)}"


def _compiled(pattern: str) -> Any:
    import re2  # some 2 MB: only where there is a regular expression

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_REGEX_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        msg = f"{pattern!r} is no regular expression of RE2: {reason}; it knows no look-around and no back-references"
        raise ValueError(msg) from error


def all_accept(matchers: tuple[Matcher, ...], labels: Labels) -> bool:
    return all(matcher.accepts(labels) for matcher in matchers)


def implied(matcher: Matcher, given: tuple[Matcher, ...]) -> bool:
    """Whether whatever ``given`` accepts is surely accepted by ``matcher``. False does not mean that it is not."""
    if matcher in given:
        return True
    fixed = [other.value for other in given if other.label == matcher.label and other.operator == "="]
    if matcher.label == "tag" and matcher.negative:
        return False  # there may be further tags
    return any(matcher.takes(value) is not matcher.negative for value in fixed)


def contradictory(matchers: tuple[Matcher, ...]) -> tuple[Matcher, Matcher] | None:
    """Two conditions of which never both hold, where that is plain."""
    for first in matchers:
        if first.operator != "=":
            continue
        for other in matchers:
            if other.label != first.label or other is first or other.takes(first.value) is not other.negative:
                continue
            if first.label != "tag" or other.negative:
                return first, other
    return None
