"""Troubles that go on: told once when they begin, and once when they are over, whoever looks and however often.

:func:`begin` and :func:`end` are called in the transaction of the change, together with ``outbox.record``. A row stands
for the trouble; inserting and deleting it are guarded by its key, so of several who see the same thing one is told that
it was the first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select
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
    by_key = {key_of(subject): subject for subject in subjects}
    if not by_key:
        return set()
    found = connection.execute(select(_t.subject).where(_t.kind == kind.value, _t.subject.in_(sorted(by_key))))
    return {by_key[key] for key in sorted(found.scalars()) if _remove(connection, kind, key)}


def _remove(connection: Connection, kind: EventKind, key: str) -> bool:
    guard = (_t.kind == kind.value, _t.subject == key)
    return connection.execute(delete(alert_trouble).where(*guard)).rowcount == 1


def since(connection: Connection, kinds: Collection[EventKind]) -> dict[tuple[EventKind, str], datetime]:
    """The troubles of these kinds that go on, and since when."""
    rows = connection.execute(select(alert_trouble).where(_t.kind.in_(sorted(kinds))))
    return {(EventKind(row.kind), row.subject): row.since for row in rows}
