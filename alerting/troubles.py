"""Troubles that go on: told once when they begin, and once when they are over, whoever looks and however often.

:func:`begin` and :func:`end` are called in the transaction of the change, together with ``outbox.record``. A row stands
for the trouble; inserting and deleting it are guarded by its key, so of several who see the same thing one is told that
it was the first.

1. Whoever begins a trouble locks its row, or makes it. Until that transaction has ended nobody can end the trouble:
   otherwise its end could be told first, and the row be gone that the next end needs.
2. Whoever changes several troubles does so in the order of their subjects, so that no two wait for each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from alerting.database import insert_new
from alerting.kinds import EventKind
from alerting.tables import alert_trouble

_t: Final = alert_trouble.c
SUBJECT_LIMIT: Final = 250


def key_of(subject: str) -> str:
    """A subject as the key of its row: paths and names may be longer, and hold bytes that are no text."""
    text = subject.encode("utf-8", "replace").decode().replace("\0", "�")
    return text if len(text) <= SUBJECT_LIMIT else text[-SUBJECT_LIMIT:]


def begin(connection: Connection, now: datetime, kind: EventKind, subject: str) -> bool:
    """A trouble is there; whether it is new. False: somebody has told it, and it is not over yet."""
    row: dict[str, Any] = {"kind": kind.value, "subject": key_of(subject), "since": now}
    while not _lock(connection, kind, key_of(subject)):
        if _insert(connection, row):
            return True
    return False


def renew(connection: Connection, now: datetime, kind: EventKind, subject: str) -> None:
    """It has shown itself once more: it is as if it had begun now."""
    guard = (_t.kind == kind.value, _t.subject == key_of(subject))
    connection.execute(update(alert_trouble).where(*guard).values(since=now))


def _lock(connection: Connection, kind: EventKind, key: str) -> bool:
    """Hold the row to the end of the transaction; whether it is there."""
    row = select(_t.subject).where(_t.kind == kind.value, _t.subject == key).with_for_update()
    return connection.execute(row).first() is not None


def _insert(connection: Connection, row: dict[str, Any]) -> bool:
    """False: another one was quicker, and may be done with it by now."""
    if connection.dialect.name not in ("mysql", "mariadb"):
        new = insert_new(connection, alert_trouble, "kind", "subject").values(row).returning(_t.kind)
        return connection.execute(new).first() is not None
    try:  # it has no RETURNING, and counts an untouched row; a refused INSERT undoes itself and nothing else
        connection.execute(insert(alert_trouble).values(row))
    except IntegrityError:
        return False
    return True


def end(connection: Connection, kind: EventKind, subjects: Iterable[str]) -> set[str]:
    """These are well; returns those of them that were in trouble until now."""
    well = list(subjects)
    return {subject for subject in known(connection, kind, well) if end_one(connection, kind, subject)}


def end_one(connection: Connection, kind: EventKind, subject: str) -> bool:
    """One is well; whether it was in trouble until now."""
    guard = (_t.kind == kind.value, _t.subject == key_of(subject))
    return connection.execute(delete(alert_trouble).where(*guard)).rowcount == 1


def known(connection: Connection, kind: EventKind, subjects: Iterable[str]) -> list[str]:
    """Those of these subjects that are in trouble, in order. Nothing is locked."""
    by_key = {key_of(subject): subject for subject in subjects}
    if not by_key:
        return []
    found = connection.execute(select(_t.subject).where(_t.kind == kind.value, _t.subject.in_(sorted(by_key))))
    return [by_key[key] for key in sorted(found.scalars())]


def since(connection: Connection, kinds: Collection[EventKind]) -> dict[tuple[EventKind, str], datetime]:
    """The troubles of these kinds that go on, and since when."""
    rows = connection.execute(select(alert_trouble).where(_t.kind.in_(sorted(kinds))))
    return {(EventKind(row.kind), row.subject): row.since for row in rows}
