"""From an event to what people read: one subject, a text, an HTML page and a short text for chat."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import quote

from alerting import digest, words
from alerting.channels import Attachment, Fact, Link, Listing, Message, brief_facts, tone
from alerting.chart import Sample, draw
from alerting.cleaning import clean, defang, one_line, shorten, shorten_lines
from alerting.events import AlertEvent
from alerting.kinds import KINDS, SEVERITIES, EventKind, Severity
from alerting.matchers import DEFAULT_SEVERITY, severity_of
from alerting.templating import Made, Part, Templates

ReadTail = Callable[[str, int], list[str]]
Redact = Callable[[str], str]
ReadHistory = Callable[[AlertEvent], Sequence[Sample]]
FindLinks = Callable[[AlertEvent], Iterable[Link]]
FindPage = Callable[[Sequence[AlertEvent]], str]
_Severities: TypeAlias = Mapping[EventKind, Severity]
_Found = TypeVar("_Found")
log = logging.getLogger(__name__)

ERROR_LIMIT: Final = 2_000
TEXT_LIMIT: Final = 20_000  # what the author of a DAG file wrote
LOG_LIMIT: Final = 20_000  # clients clip a mail at about 100 kB, markup included
LINE_LIMIT: Final = 1_000
CHAT_ERROR_LIMIT: Final = 500
CHAT_TEXT_LIMIT: Final = 900
CHAT_LOG_LINES: Final = 8
CHAT_LOG_LIMIT: Final = 900  # Discord takes 2 000 characters in all
CHAT_FACTS: Final = 10
CHAT_FACT_LIMIT: Final = 150
SUBJECT_LIMIT: Final = 180
FACTS_SHOWN: Final = 40  # an alert of Prometheus may have any number of labels
FACT_LIMIT: Final = 1_000
NAMES_SHOWN: Final = 12
MOST_TAGS: Final = 20  # of a message about several events
ATTACHED_LINES: Final = 500
ATTACHED_LIMIT: Final = 200_000
LOG_NAME: Final = "log.txt"
CHART_NAME: Final = "durations.png"
AROUND: Final = timedelta(minutes=15)  # what a board shows before and after
_OF_URLS: Final = "%/:?#[]!$&'()+,;="  # anything else is written as %XX: it could be markup, or a mention
ACKNOWLEDGE: Final = "Acknowledge"
FEWEST_SAMPLES: Final = 3  # fewer show no history


@dataclass(frozen=True)
class Chart:
    """The picture of the task's durations: the name of its file, and what it shows in words."""

    name: str
    caption: str


def _no_history(_event: AlertEvent) -> Sequence[Sample]:
    return ()


def _no_links(_event: AlertEvent) -> Iterable[Link]:
    return ()


def _no_page(_events: Sequence[AlertEvent]) -> str:
    return ""


def _nowhere(_event: AlertEvent) -> str:
    return ""


class Renderer:
    """Renders events. ``read_tail(log_path, lines)`` reads the end of an attempt's log, ``redact`` masks secrets.

    ``read_history`` gives the task's attempts of late, ``find_links`` where to go on besides the event's own page, and
    ``find_page`` the page on which one alert is acknowledged, or the list of several.

    Every text of the event goes through ``redact`` first, then loses what a terminal or a mail client could mistake for
    commands, and only then is cut, so that no cut leaves half a secret standing. What a template of the operator's
    makes goes through ``redact`` once more.

    An alert is worth more than its history and its links: where one of these three fails, the message goes without.
    """

    def __init__(
        self,
        read_tail: ReadTail,
        redact: Redact,
        log_lines: int = 30,
        *,
        templates: Templates | None = None,
        read_history: ReadHistory = _no_history,
        find_links: FindLinks = _no_links,
        find_page: FindPage = _no_page,
    ) -> None:
        self._read_tail = read_tail
        self._redact = redact
        self._log_lines = log_lines
        self._read_history = read_history
        self._find_links = find_links
        self._find_page = find_page
        self._templates = templates or Templates()
        self._known_to_fail: set[tuple[str, type[Exception]]] = set()

    @property
    def problems(self) -> dict[str, str]:
        """Templates that are not used, and why."""
        return dict(self._templates.problems)

    def redact(self, text: str) -> str:
        """The text without secrets."""
        return self._redact(text)

    def render(
        self, event: AlertEvent, recipients: tuple[str, ...] = (), severities: _Severities = DEFAULT_SEVERITY
    ) -> Message:
        """One message; the same event gives the same keys and the same subject each time.

        ``severities`` are the plan's: they colour the message, and set how loud a service is.

        Only a message with recipients, which is a mail, has attachments and the history of the task.
        """
        log = self._log(event, ATTACHED_LINES if recipients else self._log_lines)
        chart, picture = self._history(event) if recipients else (None, ())
        values = self._values(event, log, chart, severity_of(event, severities))
        chat = self._made(Part.CHAT, event.kind, _for_chat(values))
        ends = KINDS[event.kind].ends is not None
        links: tuple[Link, ...] = values["links"]
        return Message(
            key=event.dedup_key,
            thread=_thread(event),
            occurred_at=event.occurred_at,
            subject=self._headline(Part.SUBJECT, event.kind, values),
            text=self._made(Part.TEXT, event.kind, values).text,
            html=self._made(Part.HTML, event.kind, values).text,
            chat=defang(chat.text).rstrip() + _ways_on(links),
            failed=KINDS[event.kind].trouble,
            recipients=recipients,
            tags=self._tags(event),
            url=links[0].url if links else "",
            title=self._headline(Part.TITLE, event.kind, values),
            kind=event.kind.value,
            severity=values["severity"],
            resolved=ends,
            episode=event.episode_key,
            ended=(event.episode_key,) if ends else (),
            body=chat.text.strip() if chat.is_operators else "",
            sentence=values["sentence"],
            error=values["error"],
            facts=values["facts"],
            listings=values["listings"],
            log=values["log"],
            links=links,
            about=self._about(event),
            attachments=(*_log_file(log), *picture) if recipients else (),
        )

    def render_wave(
        self,
        events: Sequence[AlertEvent],
        recipients: tuple[str, ...],
        reference: str,
        severities: _Severities = DEFAULT_SEVERITY,
    ) -> Message:
        """One message about several events, which names them all; ``reference`` is the command that shows them."""
        links = tuple(self._links_of_wave(events))
        one_page = any(link.label == ACKNOWLEDGE for link in links)
        acknowledge = _nowhere if one_page else self._acknowledge
        told = digest.sections(events, digest.Words(self._line, self._first_line, self._url), acknowledge)
        headline = shorten(digest.subject(events, self._line, severities), SUBJECT_LIMIT)
        resolved = all(KINDS[event.kind].ends for event in events)
        loud = [event for event in events if resolved or not KINDS[event.kind].ends]  # an end is no louder than trouble
        severity = max((severity_of(event, severities) for event in loud), key=SEVERITIES.index)
        values = {
            "headline": headline,
            "severity": severity,
            "resolved": resolved,
            "tone": f"#{tone(severity, resolved=resolved)}",
            "sections": told,
            "links": links,
            "lines": digest.short(told, len(events), reference),
            "reference": reference,
        }
        key = digest.key(events)
        text = self._made(Part.TEXT, None, values).text
        chat = self._made(Part.CHAT, None, values)
        runs = {_thread(event) for event in events}
        return Message(
            key=key,
            thread=runs.pop() if len(runs) == 1 else key,
            occurred_at=min(event.occurred_at for event in events),
            subject=self._headline(Part.SUBJECT, None, values),
            text=text,
            html=self._made(Part.HTML, None, values).text,
            chat=defang(chat.text).rstrip() + _ways_on(links),
            full=defang(text),
            failed=any(KINDS[event.kind].trouble for event in events),
            recipients=recipients,
            tags=tuple(sorted({tag for event in events for tag in self._tags(event)})[:MOST_TAGS]),
            url=links[0].url if links else "",
            title=self._headline(Part.TITLE, None, values),
            severity=severity,
            resolved=resolved,
            episode=key,
            ended=tuple(sorted({event.episode_key for event in events if KINDS[event.kind].ends})),
            body=chat.text.strip() if chat.is_operators else "",
            sections=tuple(told),
            links=links,
            reference=reference,
        )

    def _made(self, part: Part, kind: EventKind | None, values: Mapping[str, Any]) -> Made:
        made = self._templates.make(part, kind, values)
        return Made(clean(made.text), is_operators=True) if made.is_operators else made

    def _headline(self, part: Part, kind: EventKind | None, values: Mapping[str, Any]) -> str:
        """Fit for a header; never empty, whatever an operator's template makes."""
        return shorten(one_line(self._made(part, kind, values).text), SUBJECT_LIMIT) or str(values["headline"])

    def _tags(self, event: AlertEvent) -> tuple[str, ...]:
        """Few and bounded, whatever the kind of event: no run, no time, no text."""
        known = (("event", event.kind.value), ("dag", event.dag_id), ("task", event.task_id))
        return tuple(f"{name}:{self._line(value)}" for name, value in known if value)

    def _values(self, event: AlertEvent, log: Sequence[str], chart: Chart | None, severity: Severity) -> dict[str, Any]:
        """What a template may use; documented in docs/alerting.md."""
        # Without attempt and time of day, so that a client files all mails of one run's task as one conversation.
        day = words.instant(event.logical_date, seconds=False)
        where = self._line(words.where(event))
        resolved = KINDS[event.kind].ends is not None
        return {
            "kind": event.kind.value,
            "severity": severity,
            "resolved": resolved,
            "tone": f"#{tone(severity, resolved=resolved)}",
            "verdict": words.verdict(event),
            "where": where,
            "headline": shorten(
                f"{words.verdict(event)}: {where or 'Windsock'}", SUBJECT_LIMIT - (len(day) + 3 if day else 0)
            ),
            "day": day,
            "sentence": self._said(event),
            "error": shorten(self._block(event.error or ""), ERROR_LIMIT),
            "facts": tuple(self._facts(event)),
            "listings": tuple(self._listings(event)),
            "links": tuple(self._links(event)),
            "chart": chart,
            "log": tuple(shorten_lines(list(log)[-self._log_lines :], LOG_LIMIT)) if self._log_lines else (),
            "log_path": self._line(event.log_path or ""),
            "event": self._about(event),
        }

    def _said(self, event: AlertEvent) -> str:
        """What the author of a DAG file wrote keeps its lines; a sentence of ours has one."""
        if not event.text:
            return self._line(words.sentence(event)) or f"{words.verdict(event)}."
        written = f"{event.note}.\n{event.text}" if event.note else event.text
        return shorten(self._block(written), TEXT_LIMIT)

    def _facts(self, event: AlertEvent) -> Iterable[Fact]:
        """Nothing may be left of a text when all that is harmful in it is gone."""
        for label, value in words.facts(event)[:FACTS_SHOWN]:
            name, told = self._line(label), shorten(self._line(value), FACT_LIMIT)
            if name and told:
                yield Fact(name, told)

    def _listings(self, event: AlertEvent) -> Iterable[Listing]:
        for title, names, more in words.listings(event):
            shown = tuple(told for name in names[:NAMES_SHOWN] if (told := self._line(name)))
            if shown:
                yield Listing(title, shown, more + max(0, len(names) - NAMES_SHOWN))

    def _links(self, event: AlertEvent) -> Iterable[Link]:
        """Each page once, and each label."""
        labels = dict(event.labels)
        board = labels.get("dashboard_url") or labels.get("panel_url") or ""
        is_foreign = words.is_of_prometheus(event)
        told: set[str] = set()
        for link in (
            Link(words.page_of(event), words.page_url(event)),  # what an alert of Prometheus leads to is its runbook
            Link(ACKNOWLEDGE, self._acknowledge(event)),
            Link("Board", _at_that_time(board, event)),  # those of the event itself are nearer than ours
            Link("Runbook", labels.get("runbook_url", "")),
            *self._try("links", lambda: tuple(self._find_links(event)), tuple(_no_links(event))),
            *((Link("Query", event.url or ""),) if is_foreign else ()),  # whoever reads this may not reach Prometheus
        ):
            url = self._url(link.url)
            if url and told.isdisjoint((url, link.label)):
                told |= {url, link.label}
                yield Link(link.label, url)

    def _acknowledge(self, event: AlertEvent) -> str:
        """The page where somebody says that he looks after a trouble. To follow the link does not say it yet."""
        return self._page([event]) if KINDS[event.kind].trouble else ""

    def _page(self, troubles: Sequence[AlertEvent]) -> str:
        return self._url(self._try("page", lambda: self._find_page(troubles), ""))

    def _links_of_wave(self, events: Sequence[AlertEvent]) -> Iterable[Link]:
        """The page of the one trouble in it, or the list of several; none where all is over."""
        troubles = [event for event in events if KINDS[event.kind].trouble]
        url = self._page(troubles) if troubles else ""
        if url:
            yield Link(ACKNOWLEDGE if len(troubles) == 1 else "Open the alerts", url)

    def _url(self, text: str) -> str:
        """Empty where it is no address of a page."""
        url = quote(one_line(self._redact(text)), safe=_OF_URLS)
        return url if url.startswith(("http://", "https://")) else ""

    def _about(self, event: AlertEvent) -> dict[str, str | int]:
        """For programs that get the message: the event's identifiers, as they are stored."""
        texts = {
            "kind": event.kind.value,
            "dag_id": event.dag_id,
            "run_id": event.run_id,
            "task_id": event.task_id,
            "subject": event.subject,
            "owner": event.owner,
            "pool": event.pool,
            "hostname": event.hostname,
            "cause": event.cause,
        }
        numbers = {
            "map_index": event.map_index if event.map_index >= 0 else None,
            "try_number": event.try_number,
            "max_tries": event.max_tries,
            "exit_code": event.exit_code,
            "signal": event.signal,
        }
        said = {name: self._line(text) for name, text in texts.items() if text}
        return said | {name: number for name, number in numbers.items() if number is not None}

    def _history(self, event: AlertEvent) -> tuple[Chart | None, tuple[Attachment, ...]]:
        """The chart of the task's durations, and its picture."""
        if event.task_id is None:
            return None, ()
        samples = self._try("history", lambda: self._read_history(event), _no_history(event))
        if len(samples) < FEWEST_SAMPLES:
            return None, ()
        longest = words.duration(max(sample.seconds for sample in samples))
        failed = sum(sample.failed for sample in samples)
        caption = f"Durations of the last {len(samples)} attempts: up to {longest}, {failed} of them failed"
        return Chart(CHART_NAME, caption), (Attachment(CHART_NAME, "image/png", draw(samples), alt=caption),)

    def _try(self, what: str, find: Callable[[], _Found], otherwise: _Found) -> _Found:
        """What it finds; where it fails that is logged, once for each type of error."""
        try:
            return find()
        except Exception as error:
            if (what, type(error)) not in self._known_to_fail:
                self._known_to_fail.add((what, type(error)))
                log.exception("messages go out without the %s of their alerts, which cannot be found", what)
            return otherwise

    def _log(self, event: AlertEvent, lines: int) -> list[str]:
        if event.log_path is None or self._log_lines == 0:
            return []
        lines = max(lines, self._log_lines)
        try:
            found = self._read_tail(event.log_path, lines)
        except OSError as error:  # the alert is worth more than its log
            return [f"(the log cannot be read: {error.strerror or type(error).__name__})"]
        text = self._block("\n".join(found))
        return [shorten(line, LINE_LIMIT) for line in text.splitlines()[-lines:]]

    def _block(self, text: str) -> str:
        return clean(self._redact(text)).strip("\n")

    def _line(self, text: str) -> str:
        return one_line(self._redact(text))

    def _first_line(self, text: str) -> str:
        """Of all of it redacted: a secret may have several lines."""
        return next(filter(None, map(one_line, self._block(text).splitlines())), "")


def _at_that_time(board: str, event: AlertEvent) -> str:
    """A board of Grafana from somewhat before the beginning to somewhat after the event."""
    if not board or re.search(r"[?&]from=", board):
        return board
    begin, end = (event.started_at or event.occurred_at) - AROUND, event.occurred_at + AROUND
    asked = f"from={round(begin.timestamp() * 1000)}&to={round(end.timestamp() * 1000)}"
    return f"{board}{'&' if '?' in board else '?'}{asked}"


def _ways_on(links: Sequence[Link]) -> str:
    """The end of a text for chat: the page that it is about, which is last, and where to acknowledge it."""
    acknowledge = [f"\n{link.label}: {link.url}" for link in links[1:] if link.label == ACKNOWLEDGE]
    return "".join(acknowledge) + (f"\n{links[0].url}" if links else "")


def _for_chat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same, with less of it."""
    brief = [Fact(fact.label, shorten(fact.value, CHAT_FACT_LIMIT)) for fact in brief_facts(values["facts"])]
    return {
        **values,
        "sentence": shorten(values["sentence"], CHAT_TEXT_LIMIT),
        "error": shorten(values["error"], CHAT_ERROR_LIMIT),
        "facts": brief[:CHAT_FACTS],
        "log": shorten_lines(list(values["log"][-CHAT_LOG_LINES:]), CHAT_LOG_LIMIT),
    }


def _log_file(log: Sequence[str]) -> tuple[Attachment, ...]:
    if not log:
        return ()
    text = "\n".join(shorten_lines(list(log), ATTACHED_LIMIT))
    return (Attachment(LOG_NAME, "text/plain", f"{text}\n".encode("utf-8", "replace")),)


def _thread(event: AlertEvent) -> str:
    if event.run_id is None:
        return event.dedup_key
    return hashlib.sha256(f"{event.dag_id}\x1f{event.run_id}".encode("utf-8", "replace")).hexdigest()
