"""Silences: for a while, what their matchers accept is recorded and not told. They are rows: add, list, expire."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from alerting.errors import AlertingError
from alerting.matchers import Matcher, stored_matcher
from alerting.tables import alert_silence

log = logging.getLogger(__name__)

_s: Final = alert_silence.c


@dataclass(frozen=True)
class Silence:
    """Holds from ``starts_at`` until before ``ends_at``. What it held back stays untold when it ends."""

    id: int
    matchers: tuple[Matcher, ...]
    author: str
    comment: str
    starts_at: datetime
    ends_at: datetime

    @property
    def reason(self) -> str:
        until = f"{self.ends_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return f"silence {self.id} of {self.author} until {until}{f': {self.comment}' if self.comment else ''}"


def add(
    connection: Connection,
    now: datetime,
    matchers: Sequence[Matcher],
    *,
    author: str,
    comment: str,
    starts_at: datetime,
    ends_at: datetime,
) -> int:
    """Stores a silence and returns its id. Raises AlertingError for one that would never hold, or hold everything."""
    if not matchers:
        raise AlertingError('a silence needs matchers; to silence everything write event=~".*"')
    if ends_at <= max(now, starts_at):
        raise AlertingError("a silence must end after it starts, and later than now")
    values = {
        "matchers": msgspec.json.encode([str(matcher) for matcher in matchers]).decode(),
        "author": author,
        "comment": comment,
        "starts_at": starts_at,
        "ends_at": ends_at,
        "created_at": now,
    }
    key: Any = connection.execute(insert(alert_silence).values(values)).inserted_primary_key
    return int(key[0])


def active(connection: Connection, now: datetime) -> list[Silence]:
    """Those that hold at this moment, the oldest first."""
    query = select(alert_silence).where(_s.ends_at > now, _s.starts_at <= now).order_by(_s.id)
    return list(_read(connection.execute(query)))


def listing(connection: Connection, now: datetime, *, expired: bool = False) -> list[Silence]:
    """Those that hold or will; with ``expired`` those that have ended, too."""
    query = select(alert_silence).order_by(_s.ends_at, _s.id)
    if not expired:
        query = query.where(_s.ends_at > now)
    return list(_read(connection.execute(query)))


def expire(connection: Connection, now: datetime, ids: Sequence[int]) -> int:
    """Ends these silences now; returns how many had not ended yet."""
    chosen = (_s.id.in_(ids), _s.ends_at > now)
    return connection.execute(update(alert_silence).where(*chosen).values(ends_at=now)).rowcount


def why_not_open(connection: Connection, now: datetime, ids: Sequence[int]) -> list[str]:
    """A sentence for each of these silences that is not there, or has ended: expire() changes nothing about it."""
    rows = connection.execute(select(_s.id, _s.ends_at).where(_s.id.in_(ids)))
    ends: dict[int, datetime] = {row.id: row.ends_at for row in rows}
    found: list[str] = []
    for key in dict.fromkeys(ids):
        if key not in ends:
            found.append(f"there is no silence {key}; see: windsock alerts silence list --expired")
        elif ends[key] <= now:
            found.append(f"silence {key} ended already, at {ends[key].astimezone(UTC):%Y-%m-%d %H:%M} UTC")
    return found


def in_force(connection: Connection, now: datetime) -> tuple[int, datetime | None]:
    """How many hold at this moment, and when the last of them ends."""
    row = connection.execute(
        select(func.count(), func.max(_s.ends_at)).where(_s.ends_at > now, _s.starts_at <= now)
    ).one()
    return int(row[0]), row[1]


def _read(rows: Iterable[Row[Any]]) -> Iterator[Silence]:
    """One that cannot be read (a newer version wrote it) silences nothing: better told than lost."""
    for row in rows:
        try:
            matchers = tuple(stored_matcher(text) for text in msgspec.json.decode(row.matchers, type=list[str]))
        except ValueError as error:
            log.warning("silence %d cannot be read and holds nothing back: %s", row.id, error)
            continue
        yield Silence(row.id, matchers, row.author, row.comment, row.starts_at, row.ends_at)
