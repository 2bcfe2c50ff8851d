"""Leasing: who may send a delivery, for how long, and what he is given to send."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, case, select, update

from alerting import addressees, groups, numbers, overtaken
from alerting.events import AlertEvent, decode
from alerting.numbers import Number
from alerting.outbox.deliveries import ADDRESSEE, IN_VAIN, DeliveryState
from alerting.tables import alert_delivery, alert_event

_d, _e = alert_delivery.c, alert_event.c
_HOLDER: Final = 18  # characters of a token that name the holder
_TOKEN: Final = 36
UNREADABLE: Final = "this version cannot read the event; upgrade, then replay"
LEASE_RAN_OUT: Final = "no outcome before the lease ran out: the deliverer died, or the receiver did not answer"
_CANDIDATES: Final = (
    select(_d.id)
    .where(_d.channel.in_(bindparam("channels", expanding=True)), _d.due_at <= bindparam("now"))
    .order_by(_d.due_at, _d.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_GIVE: Final = (
    update(alert_delivery)
    .where(_d.id.in_(bindparam("ids", expanding=True)), _d.due_at <= bindparam("now"))
    # MySQL assigns from left to right: the error is worked out before the state changes.
    .ordered_values(
        (_d.error, case((_d.state == DeliveryState.SENDING, LEASE_RAN_OUT), else_=_d.error)),
        (_d.state, DeliveryState.SENDING.value),
        (_d.token, bindparam("their_token")),
        (_d.attempts, _d.attempts + 1),
        (_d.due_at, bindparam("until")),
    )
)


@dataclass(frozen=True)
class Lease:
    """The right to send one delivery until the lease runs out. ``event`` is None where its record cannot be read."""

    id: int
    token: str
    channel: str
    addresses: tuple[str, ...]
    attempts: int  # this one included
    give_up_at: datetime
    event: AlertEvent | None
    error: str | None = None  # of the attempt before
    refused: bool = False  # that one failed because of its addresses alone
    receiver: str | None = None  # of alerting.yml
    turn: int = 0  # how often the same was told here before
    wave: int | None = None  # where one message tells of several events
    number: str = ""  # of its line, as people write it
    others: tuple[AlertEvent, ...] = ()  # of the wave
    unread: tuple[int, ...] = ()  # the deliveries of the wave whose events cannot be read


@dataclass(frozen=True)
class Aside:
    """What lease() found that is not to be sent: ids of deliveries."""

    overtaken: list[int] = field(default_factory=list)  # by events; and ends of what nobody hears of for that
    unread: list[tuple[int, str]] = field(default_factory=list)  # dead, since nobody can read their events; the channel


def lease(
    connection: Connection,
    now: datetime,
    lease_for: timedelta,
    limit: int,
    channels: Sequence[str],
    holder: str = "",
    *,
    retries_first: bool = False,
    only: int | None = None,
    aside: Aside | None = None,
) -> list[Lease]:
    """Takes up to ``limit`` due deliveries of these channels, longest due first, each for ``lease_for``.

    ``holder`` names the deliverer, for :func:`end_leases_of`; its first 18 characters count. With ``only``, no other
    one is taken. ``aside`` gets the ids of those that were overtaken by events, and of the ends of what nobody hears of
    for that: they are suppressed, and others taken in their place; and those that are dead by step 5.

    Raises whatever a row makes it raise that holds what this version does not understand: see ``setting_aside``.

    With ``retries_first``, what was tried before goes first, where it is due again: its turn had come, and behind all
    that waits for the rate of a channel it would come again after hours. What was tried IN_VAIN times waits like the
    rest, so a message that nobody takes holds up no other for longer. It costs a look at all that is due.

    1. Lock candidates: pending ones that are due, and those being sent whose lease has run out.
    2. Give them one new token, count the attempt, and move due_at to the end of the lease, where they still are due.
    3. Read back what carries the token: that is what this caller owns, also where step 1 could not lock.
    4. Suppress what is not true any more, and begin again for as many.
    5. Of what is left, bury the part of a message that this version cannot read, so that the rest of it is told; and
       begin again, too.
    """
    leases: list[Lease] = []
    aside = aside or Aside()
    also = () if only is None else (_d.id == only,)
    while len(leases) < limit:
        ids = _candidates(connection, now, limit - len(leases), channels, *also, retries_first=retries_first)
        taken = _take(connection, now, lease_for, ids, holder)
        doubtful = [lease for lease in taken if overtaken.may_be((lease.event, *lease.others))]
        late = _set_aside(connection, now, channels, doubtful) if doubtful else []
        left = _leased(connection, [lease.id for lease in taken], taken[0].token) if late else taken
        unread = _bury_unread(connection, now, left)
        leases += _leased(connection, [lease.id for lease in left], left[0].token) if unread else left
        if not late and not unread:
            break
        aside.overtaken.extend(late)
        aside.unread.extend(unread)
    return leases


def _set_aside(connection: Connection, now: datetime, channels: Sequence[str], leases: Sequence[Lease]) -> list[int]:
    """Suppresses what was overtaken, in these leases and among all that is due, and ends of what nobody hears of.

    Returns their ids. A message of which a part is left goes on with it: where the row that carries it goes, the next
    one carries it.
    """
    members = {lease.id: _ids_of(connection, lease) for lease in leases}
    ids = [member for part in members.values() for member in part]
    found = overtaken.reasons(connection, now, ids)
    if found:
        found |= overtaken.due(connection, now, channels)
        overtaken.suppress(connection, found)
    ends = overtaken.unheard(connection, now, [member for member in ids if member not in found])
    overtaken.suppress(connection, ends)
    found |= ends
    for lease in leases:
        left = [member for member in members[lease.id] if member not in found]
        if lease.id in found and left:
            groups.carry_on(connection, now, lease.id, left)
    return sorted(found)


def due(connection: Connection, now: datetime, channel: str, limit: int, *, retries_first: bool = False) -> list[int]:
    """The ids of what lease() would look at."""
    return _candidates(connection, now, limit, [channel], retries_first=retries_first)


def _bury_unread(connection: Connection, now: datetime, leases: Sequence[Lease]) -> list[tuple[int, str]]:
    """Of messages of which a part can be read, the other part is dead. The rest goes on without it.

    A message of which nothing can be read is left to whoever was to send it.
    """
    found: list[tuple[int, str]] = []
    for lease in leases:
        left = [member for member in _ids_of(connection, lease) if member not in lease.unread] if lease.unread else []
        if not left:
            continue
        dead = {"state": DeliveryState.DEAD.value, "due_at": None, "token": None, "wave": None, "error": UNREADABLE}
        connection.execute(update(alert_delivery).where(_d.id.in_(lease.unread)).values(dead))
        if lease.id in lease.unread:
            groups.carry_on(connection, now, lease.id, left)
        found += [(key, lease.channel) for key in lease.unread]
    return found


def _ids_of(connection: Connection, lease: Lease) -> list[int]:
    """The row that carries the message, which is first, and those that wait for it."""
    if lease.wave is None:
        return [lease.id]
    others = select(_d.id).where(_d.wave == lease.wave, _d.id != lease.id).order_by(_d.id)
    return [lease.id, *connection.execute(others).scalars()]


def _take(connection: Connection, now: datetime, lease_for: timedelta, ids: Sequence[int], holder: str) -> list[Lease]:
    """Steps 2 and 3 of :func:`lease`."""
    if not ids:
        return []
    token = f"{holder[:_HOLDER]}{uuid.uuid4().hex}"[:_TOKEN]
    connection.execute(_GIVE, {"ids": ids, "now": now, "their_token": token, "until": now + lease_for})
    return _leased(connection, ids, token)


def _candidates(
    connection: Connection,
    now: datetime,
    limit: int,
    channels: Sequence[str],
    *also: ColumnElement[bool],
    retries_first: bool,
) -> list[int]:
    """Step 1 of :func:`lease`."""
    again = (_d.attempts > 0, _d.attempts < IN_VAIN)
    ids = _locked(connection, now, limit, channels, *also, *again) if retries_first else []
    if len(ids) < limit:
        rest = (_d.id.not_in(ids),) if ids else ()
        ids += _locked(connection, now, limit - len(ids), channels, *also, *rest)
    return sorted(ids)


def _locked(
    connection: Connection, now: datetime, limit: int, channels: Sequence[str], *also: ColumnElement[bool]
) -> list[int]:
    wanted = {"channels": list(channels), "now": now, "most": limit}
    return list(connection.execute(_CANDIDATES.where(*also) if also else _CANDIDATES, wanted).scalars())


def end_leases_of(connection: Connection, now: datetime, holder: str) -> int:
    """A deliverer is known to be dead: what it held is due now and not only when its leases run out."""
    held = (_d.state == DeliveryState.SENDING, _d.due_at > now, _d.token.startswith(holder[:_HOLDER], autoescape=True))
    return connection.execute(update(alert_delivery).where(*held).values(due_at=now)).rowcount


_ending: Final = alert_event.alias("ending")
_TOLD: Final = (
    *(_e.payload, _ending.c.occurred_at.label("over_at")),
    *(_d.event_id, _d.receiver, _d.turn, _d.note, _d.origin),
)
_LEASED: Final = (
    *(_d.id, _d.channel, _d.address, _d.attempts, _d.give_up_at, _d.error, _d.held_by, _d.wave),
    *(*_TOLD, numbers.line().label("line")),
)
_OWNED: Final = (
    select(*_LEASED)
    .join(alert_event, _e.id == _d.event_id)
    .outerjoin(_ending, _ending.c.id == _e.ended_by)
    .where(_d.id.in_(bindparam("ids", expanding=True)), _d.token == bindparam("their_token"))
    .order_by(_d.id)
)


def _leased(connection: Connection, ids: Sequence[int], token: str) -> list[Lease]:
    owned = connection.execute(_OWNED, {"ids": list(ids), "their_token": token}).all()
    return [_lease_of(row, token, _others(connection, row)) for row in owned]


def _lease_of(row: Any, token: str, others: Sequence[tuple[int, AlertEvent | None]]) -> Lease:
    told = _told(row)
    return Lease(
        id=row.id,
        token=token,
        channel=row.channel,
        addresses=addressees.decoded(row.address),
        attempts=row.attempts,
        give_up_at=row.give_up_at,
        event=told,
        error=row.error,
        refused=row.held_by == ADDRESSEE,
        receiver=row.receiver,
        turn=row.turn,
        wave=row.wave,
        number=str(Number(row.event_id, row.line)),
        others=tuple(event for _, event in others if event is not None),
        unread=tuple(key for key, event in ((row.id, told), *others) if event is None),
    )


def _others(connection: Connection, lease: Any) -> list[tuple[int, AlertEvent | None]]:
    """The deliveries that a message tells of besides the one that carries it, with their events."""
    if lease.wave is None:
        return []
    query = (
        select(_d.id, *_TOLD)
        .join(alert_event, _e.id == _d.event_id)
        .outerjoin(_ending, _ending.c.id == _e.ended_by)
        .where(_d.wave == lease.wave, _d.id != lease.wave)
        .order_by(_d.id)
    )
    return [(row.id, _told(row)) for row in connection.execute(query)]


def _told(row: Any) -> AlertEvent | None:
    """The event as this delivery tells it: also that it was over before anybody was told."""
    event = decode(row.payload)
    if event is None:
        return None
    told_as = None if row.note is None or row.origin is None else f"{row.origin} to {row.receiver}"
    return msgspec.structs.replace(
        event, number=row.event_id, note=row.note, turn=row.turn, told_as=told_as, over_at=row.over_at
    )
