"""Inhibition: while the trouble that explains it is open, its consequence is recorded and not told.

As in Alertmanager: a rule names sources and targets by matchers, and labels that must be equal. A trouble is open from
its event until the one that ends it (``recoveries``), and for MOST_OPEN at the longest: an end that nobody ever told of
must not hold news back for ever. What a rule takes for a source and for a target alike does not inhibit its like.

A trouble that nobody was told of explains nothing, so it holds nothing back: one is a source while somebody has, or is
about to have, a message about it, or where people said by a silence or a mute window that they know of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from sqlalchemy import Connection, or_, select

from alerting.events import AlertEvent, decode
from alerting.kinds import KINDS, WITH_END, EventKind, Severity
from alerting.matchers import Labels, Matcher, all_accept, labels_of, values_of
from alerting.recoveries import TOLD
from alerting.routes import SuppressedBy, Target
from alerting.routing import Inhibition
from alerting.tables import alert_delivery, alert_event

MOST_OPEN: Final = timedelta(days=1)
MOST_SOURCES: Final = 1_000  # the newest ones; bounds what one turn reads
_KNOWN_TO_PEOPLE: Final = (SuppressedBy.SILENCE, SuppressedBy.MUTE_WINDOW)
_d, _e = alert_delivery.c, alert_event.c


@dataclass(frozen=True)
class Source:
    """A trouble that is open."""

    id: int
    event: AlertEvent
    labels: Labels

    @property
    def name(self) -> str:
        about = ".".join(part for part in (self.event.dag_id, self.event.task_id) if part) or self.event.subject
        what = KINDS[self.event.kind].short
        return f"{what}{f' ({about})' if about else ''}, alert {self.id}"


@lru_cache(maxsize=1_000)
def source_kinds(rule: Inhibition) -> frozenset[EventKind]:
    """The kinds that may inhibit: a trouble without an end has no time in which it is open."""
    return frozenset(kind for kind in WITH_END if _may_be(rule.sources, kind))


@lru_cache(maxsize=1_000)
def target_kinds(rule: Inhibition) -> frozenset[EventKind]:
    """The kinds that may be inhibited. The end of a trouble is told to whoever was told of it, and a test always."""
    return frozenset(
        kind
        for kind, known in KINDS.items()
        if known.ends is None and kind is not EventKind.TEST and _may_be(rule.targets, kind)
    )


def _may_be(matchers: Sequence[Matcher], kind: EventKind) -> bool:
    return all(matcher.accepts({"event": (kind.value,)}) for matcher in matchers if matcher.label == "event")


def concerns(rules: Sequence[Inhibition], kinds: set[EventKind]) -> bool:
    """Whether any of these rules may hold back any of these kinds; asked before a statement is spent on it."""
    return any(target_kinds(rule) & kinds for rule in rules)


def open_sources(
    connection: Connection, now: datetime, rules: Sequence[Inhibition], severity: Mapping[EventKind, Severity]
) -> list[Source]:
    """The troubles that are open, told, and of a kind that one of the rules names, newest first; one statement."""
    kinds = sorted({kind.value for rule in rules for kind in source_kinds(rule)})
    known = or_(_d.state.in_(TOLD), _d.held_by.in_([reason.value for reason in _KNOWN_TO_PEOPLE]))
    query = (
        select(_e.id, _e.payload)
        .where(_e.kind.in_(kinds), _e.ended_by.is_(None), _e.occurred_at > now - MOST_OPEN)
        .where(select(_d.id).where(_d.event_id == _e.id, known).exists())
        .order_by(_e.occurred_at.desc(), _e.id.desc())
        .limit(MOST_SOURCES)
    )
    rows = connection.execute(query).all() if kinds else []
    found = ((row.id, decode(row.payload)) for row in rows)
    return [Source(key, event, labels_of(event, severity)) for key, event in found if event is not None]


def is_known(targets: Iterable[Target]) -> bool:
    """Whether an event with these targets may be a source: ``open_sources`` for one whose rows are not written yet."""
    return any(target.held is None or target.held.by in _KNOWN_TO_PEOPLE for target in targets)


@dataclass
class _Shelf:
    """The sources of one rule that have the same values of its ``equal`` labels, by the number of their event."""

    others: dict[int, Source] = field(default_factory=dict)
    alike: dict[int, Source] = field(default_factory=dict)  # the rule takes them for targets, too


class Sources:
    """Open troubles, arranged so that an event is compared with those only that may hold it back."""

    def __init__(self, rules: Sequence[Inhibition] = (), sources: Iterable[Source] = ()) -> None:
        self._shelves: list[tuple[Inhibition, dict[object, _Shelf]]] = [(rule, {}) for rule in rules]
        for source in sources:
            self.add(source)

    def add(self, source: Source) -> None:
        for rule, shelves in self._shelves:
            if all_accept(rule.sources, source.labels):
                shelf = shelves.setdefault(_place(rule, source.labels), _Shelf())
                is_alike = all_accept(rule.targets, source.labels)
                (shelf.alike if is_alike else shelf.others)[source.id] = source

    def drop(self, event_id: int, labels: Labels) -> None:
        """This one is not told after all."""
        for rule, shelves in self._shelves:
            shelf = shelves.get(_place(rule, labels), _Shelf())
            shelf.others.pop(event_id, None)
            shelf.alike.pop(event_id, None)

    def inhibitor(self, event_id: int, event: AlertEvent, labels: Labels) -> Source | None:
        """An open trouble that holds this event back."""
        for rule, shelves in self._shelves:
            shelf = shelves.get(_place(rule, labels))
            if shelf is None or event.kind not in target_kinds(rule) or not all_accept(rule.targets, labels):
                continue
            kept = (shelf.others,) if all_accept(rule.sources, labels) else (shelf.others, shelf.alike)
            found = next((source for part in kept for source in part.values() if source.id != event_id), None)
            if found is not None:
                return found
        return None


def _place(rule: Inhibition, labels: Labels) -> object:
    return tuple(values_of(labels, name) for name in rule.equal)


def add_fresh(
    events: Sequence[tuple[int, AlertEvent, tuple[Target, ...]]],
    sources: Sources,
    severity: Mapping[EventKind, Severity],
    since: datetime,
) -> None:
    """Makes sources of those of these events that are troubles, told, and not explained by another one.

    Whatever order they come in, something remains that is told: of two that would hold each other back the first one
    becomes a source, and the second does not.
    """
    for event_id, event, targets in events:
        if event.kind in WITH_END and event.occurred_at > since and is_known(targets):
            labels = labels_of(event, severity)
            if sources.inhibitor(event_id, event, labels) is None:
                sources.add(Source(event_id, event, labels))
