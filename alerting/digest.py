"""What a message about several events says: run by run, each event named once, the failures of runs first."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from alerting import words
from alerting.channels import Section
from alerting.cleaning import shorten, shorten_lines
from alerting.events import AlertEvent
from alerting.kinds import KINDS, SEVERITIES, EventKind, Severity
from alerting.matchers import severity_of
from alerting.words import number_of

Write = Callable[[str], str]
Page = Callable[[AlertEvent], str]

DETAILED_MOST: Final = 30  # beyond so many events each is only named
ERROR_LIMIT: Final = 200
SAID_LIMIT: Final = 200
CHAT_LIMIT: Final = 1_500  # Discord takes 2 000 characters in all
SUBJECT_PLACES: Final = 3
SORTS_LIMIT: Final = 100  # characters of a subject, which has a limit of its own
PLACE_LIMIT: Final = 60
_ORDER: Final = {kind: place for place, kind in enumerate(KINDS)}


def _no_page(_event: AlertEvent) -> str:
    return ""


@dataclass(frozen=True)
class Words:
    """How what an event says is made fit for a message: ``line`` redacts a text and puts it on one line."""

    line: Write
    first_line: Write  # the same, and leaves out all lines but the first
    url: Write


def sections(events: Sequence[AlertEvent], write: Words, acknowledge: Page = _no_page) -> list[Section]:
    """In the order in which runs first come.

    ``acknowledge`` gives the address of the page where that is done with one of several troubles, or nothing.

    What is said of why the receiver is told stands before them.
    """
    notes = dict.fromkeys(event.note for event in events if event.note)
    runs: dict[tuple[str, str], list[AlertEvent]] = {}
    for event in events:
        runs.setdefault((event.dag_id or "", event.run_id or ""), []).append(event)
    detailed = len(events) <= DETAILED_MOST
    describe = _described if detailed else _named
    told = [
        Section(
            write.line(f"{dag}, run {run}" if run else dag) or "Windsock",
            tuple(describe(members, write)),
            write.url(_page(members)) if detailed else "",
            tuple(map(acknowledge, _in_order(members))) if detailed else (),
        )
        for (dag, run), members in runs.items()
    ]
    return [*(Section(write.line(note), ()) for note in notes), *told]


def _page(events: Sequence[AlertEvent]) -> str:
    return next((url for event in _in_order(events) if (url := words.page_url(event))), "")


def _place(kind: EventKind) -> int:
    """The failures of runs first, what is over last."""
    if kind is EventKind.RUN_FAILED:
        return 0
    return 2 if KINDS[kind].ends else 1


def _in_order(events: Iterable[AlertEvent]) -> list[AlertEvent]:
    return sorted(events, key=lambda event: _place(event.kind))


def _described(events: Sequence[AlertEvent], write: Words) -> Iterable[str]:
    for event in _in_order(events):
        told = _told(event, write)
        attempt = f" (attempt {event.try_number} of {event.max_tries})" if event.try_number and event.max_tries else ""
        at = words.instant(event.due_at)
        due = f" (due at {at})" if at and at not in told else ""
        over = f" (over since {words.instant(event.over_at)})" if event.over_at else ""
        yield f"{_verdict(event)}{write.line(_name(event))}{attempt}{due}{over}{told and f': {told}'}"


def _told(event: AlertEvent, write: Words) -> str:
    """What its author wrote, or one sentence; and the error, where that does not say it already."""
    said = write.first_line(event.text or words.summary(event))
    error = event.error or ""
    if said and write.first_line(error).casefold() in said.casefold():
        return shorten(said, SAID_LIMIT)
    parts = (shorten(said.removesuffix("."), SAID_LIMIT) if error else said, shorten(write.line(error), ERROR_LIMIT))
    return ": ".join(filter(None, parts))


def _named(events: Sequence[AlertEvent], write: Words) -> Iterable[str]:
    by_kind: dict[EventKind, list[str]] = {}
    for event in events:
        by_kind.setdefault(event.kind, []).append(write.line(_name(event)))
    for kind in sorted(by_kind, key=_place):
        names = [name for name in by_kind[kind] if name]
        yield f"{KINDS[kind].short} ({len(names)}): {', '.join(names)}" if names else KINDS[kind].short


def _verdict(event: AlertEvent) -> str:
    mark = "" if not _name(event) else " " if event.dag_id else ": "
    return f"{KINDS[event.kind].short}{mark}"


def _name(event: AlertEvent) -> str:
    """Within its DAG and run, which the title names."""
    if event.dag_id is None:
        return words.where(event)
    name = event.task_id or ", ".join(event.missed)
    return f"{name}[{event.map_index}]" if event.map_index >= 0 else name


def subject(events: Sequence[AlertEvent], line: Write, severities: Mapping[EventKind, Severity]) -> str:
    """How many events of which sort, trouble first, and of which DAGs, or what else they are about."""
    places = list(dict.fromkeys(shorten(line(_place_name(event)), PLACE_LIMIT) or "Windsock" for event in events))
    more = f" and {len(places) - SUBJECT_PLACES} more" if len(places) > SUBJECT_PLACES else ""
    return f"{_counted(events, severities)}: {', '.join(places[:SUBJECT_PLACES])}{more}"


def _place_name(event: AlertEvent) -> str:
    """Of a DAG file its name alone: the way to it is long, and in the message."""
    place = event.dag_id or words.where(event)
    return place.rpartition("/")[2] if event.kind in (EventKind.DAG_BROKEN, EventKind.DAG_REPAIRED) else place


def _counted(events: Sequence[AlertEvent], severities: Mapping[EventKind, Severity]) -> str:
    """``3 failures, 1 broken file, 2 recovered``; beyond SORTS_LIMIT characters the rest is ``5 others``."""
    sorts = Counter(KINDS[event.kind].counted for event in sorted(events, key=partial(_rank, severities)))
    told = ""
    rest = len(events)
    for (one, several), count in sorts.items():
        longer = f"{told}{', ' if told else ''}{count} {one if count == 1 else several}"
        if len(longer) > SORTS_LIMIT:
            break
        told, rest = longer, rest - count
    return f"{told}, {number_of(rest, 'other')}" if rest else told


def _rank(severities: Mapping[EventKind, Severity], event: AlertEvent) -> tuple[bool, bool, int, int]:
    """Trouble first, the worst of it before the rest, and what is over last; then as in the table of kinds."""
    kind = KINDS[event.kind]
    worst_first = -SEVERITIES.index(severity_of(event, severities))
    return kind.ends is not None, not kind.trouble, worst_first, _ORDER[event.kind]


def short(told: Sequence[Section], count: int, reference: str) -> list[str]:
    """For chat: as many lines as fit, and where to see all."""
    lines = [text for section in told for text in (section.title, *(f"  {line}" for line in section.lines))]
    kept = shorten_lines([shorten(line, CHAT_LIMIT // 3) for line in lines[::-1]], CHAT_LIMIT)[::-1]
    return [*kept, f"All {count}: {reference}"]


def key(events: Sequence[AlertEvent]) -> str:
    """The same for the same events, in whichever order they come. 64 hex digits."""
    return hashlib.sha256("\x1f".join(sorted(event.dedup_key for event in events)).encode()).hexdigest()
