"""Reading the outbox: what is not finished, what was told, and how it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal,
    select,
    union_all,
)

from alerting import addressees, numbers, putting_off
from alerting.clock import Clock
from alerting.events import AlertEvent, decode
from alerting.numbers import Number
from alerting.outbox.deliveries import OPEN, DeliveryState
from alerting.tables import alert_ack, alert_delivery, alert_event, alert_follow_up, alert_group

_a, _d, _e, _f = alert_ack.c, alert_delivery.c, alert_event.c, alert_follow_up.c
_NEXT_DUE: Final = (
    select(_d.channel, func.min(_d.due_at))
    .where(_d.channel.in_(bindparam("channels", expanding=True)), _d.due_at.is_not(None))
    .group_by(_d.channel)
)
_NOW, _WAVE, _NEWS = range(1, 4)
_LOOK: Final = union_all(
    _NEXT_DUE.add_columns(literal(0)),
    select(literal(""), Clock(), literal(_NOW)),
    select(literal(""), func.min(alert_group.c.due_at), literal(_WAVE)),
    select(literal(""), Clock(), literal(_NEWS)).where(select(_e.id).where(_e.routed_at.is_(None)).exists()),
)


@dataclass(frozen=True)
class Look:
    """What there is to do: ``due`` as by :func:`next_due`, and when the next wave of a group is due."""

    now: datetime
    due: dict[str, datetime]
    wave_due: datetime | None
    has_news: bool  # events that nobody has routed


@dataclass(frozen=True)
class Backlog:
    """What is not finished yet.

    ``oldest`` is since when one of it waits in vain. What waited on purpose counts from when it might be sent: in a
    group, for a replay, or for the rate of its channel, whose end may be to come.
    """

    count: int = 0
    oldest: datetime | None = None
    happened_at: datetime | None = None  # the first of it


@dataclass(frozen=True)
class Entry:
    """One line of the history: an event and one of its deliveries, or the event alone until it is routed."""

    event_id: int
    delivery_id: int | None
    kind: str
    dag_id: str | None
    run_id: str | None
    task_id: str | None
    try_number: int | None
    occurred_at: datetime
    channel: str | None
    state: str  # a DeliveryState, or "recorded"
    attempts: int
    due_at: datetime | None
    delivered_at: datetime | None
    error: str | None
    receiver: str | None = None
    origin: str | None = None  # an Origin, where no route led to this receiver
    number: str | None = None  # of this line, as people write it; None for an event alone
    addresses: tuple[str, ...] = ()  # of mail
    wave: int | None = None  # where one message tells of several events
    fell_back_to: str | None = None  # the receiver that was to hear of it instead
    heard_before: tuple[int, ...] = ()  # deliveries for which that receiver was not told once more
    put_off: tuple[str, ...] = ()  # a sentence for each of what is to follow it and cannot be told for now
    held_until: datetime | None = None  # its group is told then, or the rate of its channel lets it through
    acked_by: str | None = None
    acked_at: datetime | None = None
    ack_comment: str | None = None


def next_due(connection: Connection, channels: Sequence[str]) -> dict[str, datetime]:
    """For each channel with open deliveries, the moment at which the first of them may be taken."""
    return {row[0]: row[1] for row in connection.execute(_NEXT_DUE, {"channels": list(channels)})}


def look(connection: Connection, channels: Sequence[str]) -> Look:
    """All that a deliverer asks again and again while nothing happens, in one statement."""
    rows = connection.execute(_LOOK, {"channels": list(channels)}).all()
    told = {row[2]: row[1] for row in rows}
    due = {row[0]: row[1] for row in rows if row[2] == 0}
    return Look(told[_NOW] or datetime.now(UTC), due, told[_WAVE], _NEWS in told)


def backlog(connection: Connection) -> Backlog:
    """How much is recorded or routed and not finished."""
    happened = func.min(_e.occurred_at)
    waited_on_purpose = (_d.waiting_since > _d.created_at, _d.waiting_since)
    unrouted = select(func.count(), happened, happened).where(_e.routed_at.is_(None))
    unfinished = (
        select(func.count(), func.min(case(waited_on_purpose, else_=_e.occurred_at)), happened)
        .join(alert_delivery, _e.id == _d.event_id)
        .where(_d.state.in_(OPEN))
    )
    rows = [connection.execute(query).one() for query in (unrouted, unfinished)]
    oldest, happened_at = (min((row[at] for row in rows if row[at]), default=None) for at in (1, 2))
    return Backlog(sum(row[0] for row in rows), oldest, happened_at)


def listing(connection: Connection, *, limit: int = 50, also: Sequence[ColumnElement[bool]] = ()) -> list[Entry]:
    """Deliveries, newest event first; ``also`` are conditions on events and deliveries."""
    return _read(connection, _entries().where(*also).order_by(_e.id.desc(), _d.id).limit(limit))


def _entries() -> Select[Any]:
    return select(
        _e.id.label("event_id"),
        _d.id.label("delivery_id"),
        *(_e.kind, _e.dag_id, _e.run_id, _e.task_id, _e.try_number, _e.occurred_at),
        _d.channel,
        func.coalesce(_d.state, "recorded").label("state"),
        func.coalesce(_attempts_of_message(), _d.attempts, 0).label("attempts"),
        *(_d.due_at, _d.delivered_at, _d.error, _d.receiver, _d.origin),
        _held_until().label("held_until"),
        *(_put_off(origin).label(f"put_off_{origin}") for origin in putting_off.NAMES),
        *(numbers.line().label("line"), _d.address, _d.wave, _d.fell_back_to, _d.heard_before),
        _a.author.label("acked_by"),
        _a.acked_at,
        _a.comment.label("ack_comment"),
    ).select_from(
        alert_event.outerjoin(alert_delivery, _e.id == _d.event_id).outerjoin(alert_ack, _a.event_id == _e.id)
    )


def _attempts_of_message() -> ScalarSelect[int]:
    """Where one message tells of several events, the row that carries it counts its attempts."""
    carrier = alert_delivery.alias("carrier")
    return select(carrier.c.attempts).where(carrier.c.id == _d.wave).correlate(alert_delivery).scalar_subquery()


def _put_off(origin: str) -> ScalarSelect[str | None]:
    """Why this follow-up of the message is put off: it is that of the row that carries it."""
    its_own = (_f.delivery_id == func.coalesce(_d.wave, _d.id), _f.origin == origin)
    return select(_f.error).where(*its_own).correlate(alert_delivery).scalar_subquery()


def _held_until() -> ColumnElement[datetime | None]:
    """What waits for a wave of its group waits for that. How what a rate holds is known: ``patience.excuse``."""
    group = select(alert_group.c.due_at).where(alert_group.c.id == _d.group_id)
    for_its_group = and_(_d.state == DeliveryState.WAITING.value, _d.wave.is_(None))
    for_the_rate = and_(_d.state == DeliveryState.PENDING.value, _d.waiting_since > _d.due_at)
    by_group = group.correlate(alert_delivery).scalar_subquery()
    return case((for_its_group, by_group), (for_the_rate, _d.waiting_since))


def _read(connection: Connection, query: Select[Any]) -> list[Entry]:
    return [_entry(dict(row)) for row in connection.execute(query).mappings()]


def _entry(row: dict[str, Any]) -> Entry:
    line, address, heard = row.pop("line"), row.pop("address"), row.pop("heard_before")
    put_off = {origin: row.pop(f"put_off_{origin}") for origin in putting_off.NAMES}
    return Entry(
        **row,
        number=None if row["delivery_id"] is None else str(Number(row["event_id"], line)),
        addresses=addressees.known(address),
        heard_before=_ids(heard),
        put_off=tuple(putting_off.sentence(origin, why) for origin, why in put_off.items() if why is not None),
    )


def _ids(stored: str | None) -> tuple[int, ...]:
    """None where they cannot be read: one bad row must not keep anybody from the others."""
    try:
        return msgspec.json.decode(stored or "[]", type=tuple[int, ...])
    except msgspec.DecodeError:
        return ()


def message_of(connection: Connection, delivery_id: int) -> list[Entry]:
    """All events of the message that a delivery belongs to, the one that carries it first."""
    wave = connection.execute(select(_d.wave).where(_d.id == delivery_id)).scalar()
    chosen = _d.id == delivery_id if wave is None else _d.wave == wave
    return _read(connection, _entries().where(chosen).order_by(_d.id))


def events_of(connection: Connection, delivery_id: int) -> list[AlertEvent]:
    """The events of that message, those that this version can read."""
    wave = connection.execute(select(_d.wave).where(_d.id == delivery_id)).scalar()
    chosen = _d.id == delivery_id if wave is None else _d.wave == wave
    query = select(_e.id, _e.payload).join(alert_delivery, _e.id == _d.event_id).where(chosen).order_by(_d.id)
    events = ((row.id, decode(row.payload)) for row in connection.execute(query))
    return [msgspec.structs.replace(event, number=key) for key, event in events if event is not None]


def counts(connection: Connection) -> list[tuple[str, str, int]]:
    """How many deliveries there are by channel and state."""
    query = select(_d.channel, _d.state, func.count()).group_by(_d.channel, _d.state).order_by(_d.channel, _d.state)
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]
