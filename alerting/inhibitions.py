"""Inhibition: while the trouble that explains it is open, its consequence is recorded and not told.

As in Alertmanager: a rule names sources and targets by matchers, and labels that must be equal. A trouble is open from
its event until the one that ends it (``recoveries``), and for MOST_OPEN at the longest: an end that nobody ever told of
must not hold news back for ever. What a rule takes for a source and for a target alike does not inhibit its like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from sqlalchemy import Connection, select

from alerting.events import AlertEvent, decode
from alerting.kinds import KINDS, EventKind, Severity
from alerting.matchers import Labels, Matcher, all_accept, labels_of, values_of
from alerting.routing import Inhibition
from alerting.tables import alert_event

MOST_OPEN: Final = timedelta(days=1)
MOST_SOURCES: Final = 1_000  # the newest ones; bounds what one turn reads
_ENDING: Final = {known.ends for known in KINDS.values() if known.ends is not None}
_e = alert_event.c


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
        return f"{what}{f' ({about})' if about else ''}, event {self.id}"


@lru_cache(maxsize=1_000)
def source_kinds(rule: Inhibition) -> frozenset[EventKind]:
    """The kinds that may inhibit: a trouble without an end has no time in which it is open."""
    return frozenset(kind for kind in _ENDING if _may_be(rule.sources, kind))


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
    """The troubles that are open and of a kind that one of the rules names, newest first; one statement."""
    kinds = sorted({kind.value for rule in rules for kind in source_kinds(rule)})
    query = (
        select(_e.id, _e.payload)
        .where(_e.kind.in_(kinds), _e.ended_by.is_(None), _e.occurred_at > now - MOST_OPEN)
        .order_by(_e.id.desc())
        .limit(MOST_SOURCES)
    )
    rows = connection.execute(query).all() if kinds else []
    found = ((row.id, decode(row.payload)) for row in rows)
    return [Source(key, event, labels_of(event, severity)) for key, event in found if event is not None]


def inhibitor(
    event_id: int, event: AlertEvent, labels: Labels, rules: Sequence[Inhibition], sources: Sequence[Source]
) -> Source | None:
    """The newest open trouble that holds this event back; a pure function."""
    for rule in rules:
        if event.kind not in target_kinds(rule) or not all_accept(rule.targets, labels):
            continue
        like = all_accept(rule.sources, labels)
        for source in sources:
            if source.id != event_id and _inhibits(rule, source.labels, labels, like=like):
                return source
    return None


def _inhibits(rule: Inhibition, source: Labels, target: Labels, *, like: bool) -> bool:
    if not all_accept(rule.sources, source) or (like and all_accept(rule.targets, source)):
        return False
    return all(values_of(source, name) == values_of(target, name) for name in rule.equal)
