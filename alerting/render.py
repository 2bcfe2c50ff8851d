"""From an event to what people read: one subject, a text, an HTML page and a short text for chat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from alerting import digest
from alerting.channels import Message
from alerting.cleaning import clean, defang, one_line, shorten, shorten_lines
from alerting.events import AlertEvent
from alerting.kinds import KINDS, EventKind

ReadTail = Callable[[str, int], list[str]]
Redact = Callable[[str], str]

ERROR_LIMIT: Final = 2_000
TEXT_LIMIT: Final = 20_000  # what the author of a DAG file wrote
LOG_LIMIT: Final = 20_000  # clients clip a mail at about 100 kB, markup included
LINE_LIMIT: Final = 1_000
CHAT_ERROR_LIMIT: Final = 500
CHAT_TEXT_LIMIT: Final = 900
CHAT_LOG_LINES: Final = 8
CHAT_LOG_LIMIT: Final = 900  # Discord takes 2 000 characters in all
SUBJECT_LIMIT: Final = 180
BLOCKED_SHOWN: Final = 12
MOST_TAGS: Final = 20  # of a message about several events


@dataclass(frozen=True)
class Fact:
    """One line of the table: a label and its value, each on one line."""

    label: str
    value: str


class Renderer:
    """Renders events. ``read_tail(log_path, lines)`` reads the end of an attempt's log, ``redact`` masks secrets.

    Every text of the event goes through ``redact`` first, then loses what a terminal or a mail client could mistake for
    commands, and only then is cut, so that no cut leaves half a secret standing.
    """

    def __init__(self, read_tail: ReadTail, redact: Redact, log_lines: int = 30) -> None:
        self._read_tail = read_tail
        self._redact = redact
        self._log_lines = log_lines
        loader = PackageLoader("alerting", "templates")
        options: dict[str, Any] = {"loader": loader, "undefined": StrictUndefined, "trim_blocks": True}
        self._html = SandboxedEnvironment(autoescape=True, lstrip_blocks=True, **options)
        self._text = SandboxedEnvironment(autoescape=False, lstrip_blocks=True, keep_trailing_newline=True, **options)

    def render(self, event: AlertEvent, recipients: tuple[str, ...] = ()) -> Message:
        """One message; the same event gives the same keys and the same subject each time."""
        values = self._values(event)
        return Message(
            key=event.dedup_key,
            thread=_thread(event),
            occurred_at=event.occurred_at,
            subject=self._subject(event),
            text=self._text.get_template("message.txt.j2").render(values),
            html=self._html.get_template("message.html.j2").render(values),
            chat=self._chat(event, values),
            failed=KINDS[event.kind].trouble,
            recipients=recipients,
            tags=self._tags(event),
            url=one_line(event.url) if event.url else "",
        )

    def render_wave(self, events: Sequence[AlertEvent], recipients: tuple[str, ...], reference: str) -> Message:
        """One message about several events, which names them all; ``reference`` is the command that shows them."""
        told = digest.sections(events, self._line)
        subject = shorten(digest.subject(events, self._line), SUBJECT_LIMIT)
        values = {"verdict": subject, "sections": told, "reference": reference}
        key = digest.key(events)
        text = self._text.get_template("wave.txt.j2").render(values)
        runs = {_thread(event) for event in events}
        return Message(
            key=key,
            thread=runs.pop() if len(runs) == 1 else key,
            occurred_at=min(event.occurred_at for event in events),
            subject=subject,
            text=text,
            html=self._html.get_template("wave.html.j2").render(values),
            chat=defang(digest.short(told, len(events), reference)),
            full=defang(text),
            failed=any(KINDS[event.kind].trouble for event in events),
            recipients=recipients,
            tags=tuple(sorted({tag for event in events for tag in self._tags(event)})[:MOST_TAGS]),
        )

    def _tags(self, event: AlertEvent) -> tuple[str, ...]:
        """Few and bounded, whatever the kind of event: no run, no time, no text."""
        known = (("event", event.kind.value), ("dag", event.dag_id), ("task", event.task_id))
        return tuple(f"{name}:{self._line(value)}" for name, value in known if value)

    def _subject(self, event: AlertEvent) -> str:
        """Without attempt and time of day, so that a client files all mails of one run's task as one conversation."""
        when = f" ({_instant(event.logical_date, seconds=False)})" if event.logical_date else ""
        where = self._line(_where(event)) or "Windsock"
        return shorten(f"{KINDS[event.kind].verdict}: {where}", SUBJECT_LIMIT - len(when)) + when

    def _chat(self, event: AlertEvent, values: dict[str, Any]) -> str:
        """The link is ours and stays a link; everything else is made harmless first."""
        log = shorten_lines(values["log"][-CHAT_LOG_LINES:], CHAT_LOG_LIMIT)
        said = shorten(values["sentence"], CHAT_TEXT_LIMIT)
        chat = {"sentence": said, "error": shorten(values["error"], CHAT_ERROR_LIMIT), "log": log}
        body = self._text.get_template("chat.txt.j2").render(values | chat)
        return defang(body).rstrip() + (f"\n{one_line(event.url)}" if event.url else "")

    def _values(self, event: AlertEvent) -> dict[str, Any]:
        return {
            "kind": event.kind.value,
            "severity": event.severity or KINDS[event.kind].severity,
            "verdict": KINDS[event.kind].verdict,
            "where": self._line(_where(event)),
            "sentence": self._said(event),
            "error": shorten(self._block(event.error or ""), ERROR_LIMIT),
            "facts": [Fact(label, self._line(value)) for label, value in _facts(event)],
            "blocked": [self._line(task_id) for task_id in event.blocked[:BLOCKED_SHOWN]],
            "blocked_more": max(0, len(event.blocked) - BLOCKED_SHOWN),
            "log": self._log(event),
            "url": one_line(event.url) if event.url else "",
            "log_path": self._line(event.log_path or ""),
        }

    def _said(self, event: AlertEvent) -> str:
        """What the author of a DAG file wrote keeps its lines; a sentence of ours has one."""
        return shorten(self._block(event.text), TEXT_LIMIT) if event.text else self._line(_sentence(event))

    def _log(self, event: AlertEvent) -> list[str]:
        if event.log_path is None or self._log_lines == 0:
            return []
        try:
            lines = self._read_tail(event.log_path, self._log_lines)
        except OSError as error:  # the alert is worth more than its log
            return [f"(the log cannot be read: {error.strerror or type(error).__name__})"]
        text = self._block("\n".join(lines))
        return shorten_lines([shorten(line, LINE_LIMIT) for line in text.splitlines()[-self._log_lines :]], LOG_LIMIT)

    def _block(self, text: str) -> str:
        return clean(self._redact(text)).strip("\n")

    def _line(self, text: str) -> str:
        return one_line(self._redact(text))


def _where(event: AlertEvent) -> str:
    name = ".".join(part for part in (event.dag_id, event.task_id) if part) or event.subject or ""
    return f"{name}[{event.map_index}]" if event.map_index >= 0 else name


def _sentence(event: AlertEvent) -> str:
    """Why this receiver is told, where that is not plain, and what happened."""
    return f"{event.note}. {_happened(event)}" if event.note else _happened(event)


def _happened(event: AlertEvent) -> str:
    if event.summary:
        return event.summary
    match event.kind:
        case EventKind.TASK_FAILED:
            return f"{_attempt(event)} failed and no retry will follow."
        case EventKind.TASK_RETRY:
            next_one = f" at {_instant(event.next_retry_at)}" if event.next_retry_at else ""
            return f"{_attempt(event)} failed; the next one starts{next_one}."
        case EventKind.RUN_FAILED:
            return f"The run failed{f': {event.cause}' if event.cause else ''}."
        case EventKind.TEST:
            return "If you read this, this receiver works. Nothing has failed."
        case _:
            return f"{KINDS[event.kind].verdict}."


def _attempt(event: AlertEvent) -> str:
    if event.try_number is None:
        return "The task"
    return f"Attempt {event.try_number}" + (f" of {event.max_tries}" if event.max_tries else "")


def _facts(event: AlertEvent) -> list[tuple[str, str]]:
    """What is known, in the order in which people ask."""
    facts = (
        ("DAG", event.dag_id),
        ("Task", event.task_id and _where(event).removeprefix(f"{event.dag_id}.")),
        ("Run", event.run_id),
        ("Attempt", _attempt(event).removeprefix("Attempt ") if event.try_number is not None else None),
        ("Due", event.due_at and _instant(event.due_at)),
        ("Missed", _some(event.missed)),
        ("Blocked by", _some(event.blocking)),
        ("Ended how", _ending(event)),
        ("Started", event.started_at and _instant(event.started_at)),
        (_what_then(event), _ended(event)),
        ("Expected end", event.predicted_at and _instant(event.predicted_at)),
        ("Next attempt", event.next_retry_at and _instant(event.next_retry_at)),
        ("Logical date", event.logical_date and _instant(event.logical_date)),
        ("Host", event.hostname),
        ("Operator", event.operator),
        ("Owner", event.owner),
        ("Tags", ", ".join(event.tags)),
    )
    return [(label, value) for label, value in facts if value]


def _some(names: Sequence[str]) -> str:
    more = len(names) - BLOCKED_SHOWN
    return ", ".join(names[:BLOCKED_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _what_then(event: AlertEvent) -> str:
    """What the moment of the event is; an attempt that nobody saw end has no other end."""
    if event.kind is EventKind.TEST:
        return "Sent"
    return "Ended" if event.ended_at or event.kind in (EventKind.TASK_FAILED, EventKind.TASK_RETRY) else "Noticed"


def _ending(event: AlertEvent) -> str | None:
    parts = (
        event.cause,
        None if event.exit_code is None else f"exit code {event.exit_code}",
        None if event.signal is None else f"signal {event.signal}",
    )
    return ", ".join(part for part in parts if part) or None


def _ended(event: AlertEvent) -> str | None:
    if event.ended_at is None and event.due_at is not None:
        return None  # what is late has not ended
    ended = event.ended_at or event.occurred_at
    if event.started_at is None:
        return _instant(ended)
    return f"{_instant(ended)}, after {_duration((ended - event.started_at).total_seconds())}"


def _instant(moment: datetime | None, *, seconds: bool = True) -> str:
    if moment is None:
        return ""
    return f"{moment.astimezone(UTC):{'%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d %H:%M'}} UTC"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _thread(event: AlertEvent) -> str:
    if event.run_id is None:
        return event.dedup_key
    return hashlib.sha256(f"{event.dag_id}\x1f{event.run_id}".encode("utf-8", "replace")).hexdigest()
