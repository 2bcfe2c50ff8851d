"""The outbox's verbs: record, route, lease, then one of confirm, retry, release and bury; and replay.

Each verb is a few set-based statements on the caller's connection; none commits. A change of state is an UPDATE guarded
by the old state, and from the lease on by the token, so a verb that comes too late changes nothing and says so. Rows
that somebody else has locked are passed over where the database can do that; where it cannot, the guards alone keep two
deliverers apart.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Insert, Table, case, func, literal, or_, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite

from alerting.events import AlertEvent, EventKind
from alerting.routes import EMAIL, Plan, Suppressed, Target, match
from alerting.tables import alert_delivery, alert_event

_HOLDER: Final = 18  # characters of a token that name the holder
_TOKEN: Final = 36
BATCH: Final = 500  # rows per INSERT: SQLite allows 32 766 parameters in one statement
RESTART: Final = "restart (windsock down, windsock up --detach)"
REPLAY: Final = f"{RESTART}, then windsock alerts replay"
MAIL_OFF: Final = "mail is off because no SMTP server is set: set WINDSOCK__SMTP__SMTP_HOST"
_ELSEWHERE: Final = (
    "send it to another one (windsock alerts replay --to NAME), or put its URL back into "
    "WINDSOCK__ALERTING__APPRISE_URLS"
)
LEASE_RAN_OUT: Final = "no outcome before the lease ran out: the deliverer died, or the receiver did not answer"

_d, _e = alert_delivery.c, alert_event.c


class DeliveryState(StrEnum):
    """State of one delivery."""

    PENDING = "pending"  # waits until due_at; lease() next
    SENDING = "sending"  # a deliverer holds its token; confirm(), retry(), release() or bury() next, or lease() again
    DELIVERED = "delivered"  # the receiver accepted it
    DEAD = "dead"  # given up, with its reason; replay() makes it pending again
    SUPPRESSED = "suppressed"  # routed to nobody, with its reason


_OPEN: Final = (DeliveryState.PENDING, DeliveryState.SENDING)


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


@dataclass(frozen=True)
class Refusal:
    """Mail addresses that did not take a message which others took."""

    addresses: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Routed:
    """What one call of route() did."""

    kinds: tuple[EventKind, ...] = ()  # of the events it routed
    channels: tuple[str, ...] = ()  # of the deliveries it wrote


@dataclass(frozen=True)
class Backlog:
    """What is not finished yet."""

    count: int = 0
    oldest: datetime | None = None


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


def record(connection: Connection, events: Sequence[AlertEvent]) -> int:
    """Writes the events in the caller's transaction and returns how many were new.

    An event that is already there, by its dedup_key, is passed over; any other error is raised.
    """
    unique = list({event.dedup_key: event for event in events}.items())
    return sum(_record(connection, unique[start : start + BATCH]) for start in range(0, len(unique), BATCH))


def _record(connection: Connection, events: Sequence[tuple[str, AlertEvent]]) -> int:
    statement = _insert_new(connection, alert_event, "dedup_key")
    rows = [_event_row(key, event) for key, event in events]
    if connection.dialect.name not in ("mysql", "mariadb"):
        return len(connection.execute(statement.values(rows).returning(_e.id)).all())
    # It has no RETURNING, and its row count takes an untouched row for a changed one.
    known = select(func.count()).where(_e.dedup_key.in_([key for key, _ in events]))
    before = int(connection.execute(known).scalar_one())
    connection.execute(statement.values(rows))
    return len(rows) - before


def _insert_new(connection: Connection, table: Table, *key: str) -> Insert:
    """An INSERT that passes over rows whose unique key exists, and over nothing else (INSERT IGNORE hides more)."""
    match connection.dialect.name:
        case "postgresql":
            return postgresql.insert(table).on_conflict_do_nothing(index_elements=key)
        case "mysql" | "mariadb":
            return mysql.insert(table).on_duplicate_key_update({key[0]: table.c[key[0]]})
        case _:
            return sqlite.insert(table).on_conflict_do_nothing(index_elements=key)


def _event_row(key: str, event: AlertEvent) -> dict[str, Any]:
    return {
        "dedup_key": key,
        "kind": event.kind.value,
        "dag_id": _id(event.dag_id),
        "run_id": _id(event.run_id),
        "task_id": _id(event.task_id),
        "try_number": event.try_number,
        "occurred_at": event.occurred_at,
        "payload": _encode(event),
    }


def _id(value: str | None) -> str | None:
    """The column is for searching, the payload keeps the whole."""
    return None if value is None else _writable(value)[:250].replace("\0", "�")


def _encode(event: AlertEvent) -> str:
    try:
        return msgspec.json.encode(event).decode()
    except UnicodeEncodeError:  # a task's output need not be UTF-8, and a failure must be told all the same
        return msgspec.json.encode(_writable(msgspec.to_builtins(event))).decode()


def _writable(value: Any) -> Any:
    """Replaces the lone surrogates with which Python stands in for bytes that are not UTF-8."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list() | tuple():
            return [_writable(item) for item in value]
        case dict():
            return {key: _writable(item) for key, item in value.items()}
        case _:
            return value


def route(connection: Connection, now: datetime, plan: Plan, limit: int = 500) -> Routed:
    """Turns up to ``limit`` recorded events, oldest first, into deliveries.

    1. Lock events that nobody has routed; those that another deliverer has locked are passed over.
    2. Ask the plan; write one row per target, or one suppressed row with the reason.
    3. Mark the events. Both writes pass over what is there already, so a second router does no harm.
    """
    query = (
        select(_e.id, _e.payload)
        .where(_e.routed_at.is_(None))
        .order_by(_e.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(query).all()
    if not found:
        return Routed()
    events = [(row.id, _decode(row.payload)) for row in found]
    rows = [row for event_id, event in events for row in _delivery_rows(event_id, event, now, plan)]
    statement = _insert_new(connection, alert_delivery, "event_id", "channel", "target")
    for start in range(0, len(rows), BATCH):
        connection.execute(statement.values(rows[start : start + BATCH]))
    ids = [row.id for row in found]
    connection.execute(update(alert_event).where(_e.id.in_(ids), _e.routed_at.is_(None)).values(routed_at=now))
    kinds = tuple(event.kind for _, event in events if event is not None)
    return Routed(kinds, tuple(row["channel"] for row in rows if row["channel"]))


def _decode(payload: str) -> AlertEvent | None:
    """None where a newer version wrote it or somebody edited it: one bad row must not stop the rest."""
    try:
        return msgspec.json.decode(payload, type=AlertEvent)
    except msgspec.DecodeError:
        return None


def _delivery_rows(event_id: int, event: AlertEvent | None, now: datetime, plan: Plan) -> list[dict[str, Any]]:
    common = {"event_id": event_id, "attempts": 0, "created_at": now, "give_up_at": now + plan.give_up_after}
    targets = Suppressed("this version cannot read the event") if event is None else match(event, plan)
    if isinstance(targets, Suppressed):
        return [common | _row(Target(""), DeliveryState.SUPPRESSED, None, targets.reason)]
    return [common | _row(target, DeliveryState.PENDING, now, None) for target in targets]


def _row(target: Target, state: DeliveryState, due_at: datetime | None, error: str | None) -> dict[str, Any]:
    return {
        "channel": target.channel,
        "target": target.digest,
        "address": target.address,
        "state": state.value,
        "due_at": due_at,
        "error": error,
    }


def lease(
    connection: Connection,
    now: datetime,
    lease_for: timedelta,
    limit: int,
    channels: Sequence[str],
    holder: str = "",
) -> list[Lease]:
    """Takes up to ``limit`` due deliveries of these channels, longest due first, each for ``lease_for``.

    ``holder`` names the deliverer, for :func:`end_leases_of`; its first 18 characters count.

    1. Lock candidates: pending ones that are due, and those being sent whose lease has run out.
    2. Give them one new token, count the attempt, and move due_at to the end of the lease, where they still are due.
    3. Read back what carries the token: that is what this caller owns, also where step 1 could not lock.
    """
    candidates = (
        select(_d.id)
        .where(_d.channel.in_(channels), _d.due_at <= now)
        .order_by(_d.due_at, _d.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = sorted(connection.execute(candidates).scalars())
    if not ids:
        return []
    token = f"{holder[:_HOLDER]}{uuid.uuid4().hex}"[:_TOKEN]
    ran_out = case((_d.state == DeliveryState.SENDING, LEASE_RAN_OUT), else_=_d.error)
    connection.execute(
        update(alert_delivery)
        .where(_d.id.in_(ids), _d.due_at <= now)
        # MySQL assigns from left to right: the error is worked out before the state changes.
        .ordered_values(
            (_d.error, ran_out),
            (_d.state, DeliveryState.SENDING.value),
            (_d.token, token),
            (_d.attempts, _d.attempts + 1),
            (_d.due_at, now + lease_for),
        )
    )
    return _leased(connection, ids, token)


def end_leases_of(connection: Connection, now: datetime, holder: str) -> int:
    """A deliverer is known to be dead: what it held is due now and not only when its leases run out."""
    held = (_d.state == DeliveryState.SENDING, _d.due_at > now, _d.token.startswith(holder[:_HOLDER], autoescape=True))
    return connection.execute(update(alert_delivery).where(*held).values(due_at=now)).rowcount


def _leased(connection: Connection, ids: Sequence[int], token: str) -> list[Lease]:
    query = (
        select(_d.id, _d.channel, _d.address, _d.attempts, _d.give_up_at, _d.error, _e.payload)
        .join(alert_event, _e.id == _d.event_id)
        .where(_d.id.in_(ids), _d.token == token)
        .order_by(_d.id)
    )
    return [
        Lease(
            id=row.id,
            token=token,
            channel=row.channel,
            addresses=msgspec.json.decode(row.address or "[]", type=tuple[str, ...]),
            attempts=row.attempts,
            give_up_at=row.give_up_at,
            event=_decode(row.payload),
            error=row.error,
        )
        for row in connection.execute(query)
    ]


def confirm(
    connection: Connection,
    lease: Lease,
    now: datetime,
    *,
    later: Sequence[Refusal] = (),
    never: Sequence[Refusal] = (),
) -> bool:
    """The receiver has accepted it. False where it is confirmed already, and nothing is changed.

    That counts also after the lease: what was accepted is not to be sent again, whoever holds it now or gave it up. The
    holder's token is taken away, so his outcome changes nothing.

    Mail addresses that refused while others accepted live on in rows of their own, pending or dead, so that those who
    have it are not written to again and those who have not are not forgotten.
    """
    guard = (_d.id == lease.id, _d.channel == lease.channel, _d.state != DeliveryState.DELIVERED)
    delivered = {"state": DeliveryState.DELIVERED.value, "token": None, "due_at": None, "error": None}
    if connection.execute(update(alert_delivery).where(*guard).values(delivered_at=now, **delivered)).rowcount != 1:
        return False
    rows = [_refused_row(lease, refusal, DeliveryState.PENDING, now) for refusal in later]
    rows += [_refused_row(lease, refusal, DeliveryState.DEAD, None) for refusal in never]
    if rows:
        origin = select(_d.event_id, _d.created_at).where(_d.id == lease.id)
        event_id, created_at = connection.execute(origin).one()
        common = {"event_id": event_id, "created_at": created_at, "give_up_at": lease.give_up_at}
        statement = _insert_new(connection, alert_delivery, "event_id", "channel", "target")
        connection.execute(statement.values([row | common for row in rows]))
    return True


def _refused_row(lease: Lease, refusal: Refusal, state: DeliveryState, due_at: datetime | None) -> dict[str, Any]:
    row = _row(Target(lease.channel, refusal.addresses), state, due_at, refusal.reason)
    return row | {"attempts": lease.attempts}


def retry(connection: Connection, lease: Lease, due_at: datetime, error: str) -> bool:
    """It failed and is tried again at ``due_at``. False where the lease was lost."""
    return _settle(connection, lease, DeliveryState.PENDING, due_at=due_at, error=error)


def release(connection: Connection, lease: Lease, now: datetime) -> bool:
    """It was not tried; the attempt is not charged. False where the lease was lost."""
    return _settle(connection, lease, DeliveryState.PENDING, due_at=now, attempts=_d.attempts - 1)


def bury(connection: Connection, lease: Lease, error: str) -> bool:
    """It is given up, visibly. False where the lease was lost."""
    return _settle(connection, lease, DeliveryState.DEAD, due_at=None, error=error)


def _settle(connection: Connection, lease: Lease, state: DeliveryState, **values: Any) -> bool:
    guard = (_d.id == lease.id, _d.token == lease.token)
    statement = update(alert_delivery).where(*guard).values(state=state.value, token=None, **values)
    return connection.execute(statement).rowcount == 1


def explain_orphans(connection: Connection, now: datetime, channels: Sequence[str]) -> int:
    """Says on deliveries that are due and belong to none of these channels what they wait for; returns on how many.

    They stay pending: a deliverer with newer settings may know a receiver that this one does not, and whoever forgot a
    setting at a start loses nothing by it.
    """
    reason = _missing() + literal(f", {RESTART}, and it is sent")
    news = or_(_d.error.is_(None), _d.error != reason, _d.state == DeliveryState.SENDING)
    statement = (
        update(alert_delivery)
        .where(_d.state.in_(_OPEN), _d.channel.not_in(channels), _d.due_at <= now, news)
        .values(error=reason, state=DeliveryState.PENDING.value, token=None)
    )
    return connection.execute(statement).rowcount


def bury_orphans(connection: Connection, now: datetime, channels: Sequence[str]) -> tuple[str, ...]:
    """Gives up pending deliveries that are past their age and belong to none of these channels; returns theirs."""
    chosen = (_d.state == DeliveryState.PENDING, _d.channel.not_in(channels), _d.give_up_at <= now)
    found = connection.execute(select(_d.id, _d.channel).where(*chosen).with_for_update(skip_locked=True)).all()
    if found:
        error = literal("given up: ") + _missing() + literal(f", {REPLAY}")
        dead = {"state": DeliveryState.DEAD.value, "due_at": None, "error": error}
        connection.execute(update(alert_delivery).where(_d.id.in_([row.id for row in found]), *chosen).values(dead))
    return tuple(row.channel for row in found)


def _missing() -> ColumnElement[str]:
    gone = literal("receiver ") + _d.channel + literal(" is no longer in the settings: ") + literal(_ELSEWHERE)
    return case((_d.channel == EMAIL, MAIL_OFF), else_=gone)


def replay(
    connection: Connection,
    now: datetime,
    give_up_after: timedelta,
    ids: Iterable[int] | None = None,
    to: str | None = None,
    receivers: Sequence[str] = (),
) -> int:
    """Makes dead deliveries pending again, these or all; returns how many.

    With `to`, those of chat receivers go to that receiver, unless it was to be told of the same event already; and with
    them what waits for a receiver that is none of `receivers` any more.
    """
    chosen = _d.state == DeliveryState.DEAD
    if to is not None:
        chosen |= (_d.state == DeliveryState.PENDING) & _d.channel.not_in([*receivers, to, EMAIL])
    if ids is not None:
        chosen &= _d.id.in_(list(ids))
    values: dict[str, Any] = {"state": "pending", "due_at": now, "attempts": 0, "give_up_at": now + give_up_after}
    if to is not None:
        chosen &= _d.id.in_(_movable(connection, chosen, to))
        values["channel"] = to
    return connection.execute(update(alert_delivery).where(chosen).values(**values)).rowcount


def _movable(connection: Connection, chosen: ColumnElement[bool], to: str) -> list[int]:
    """One delivery of each event that `to` has none of; its own dead ones too."""
    told = select(_d.event_id).where(_d.channel == to)
    others = (_d.channel != EMAIL) & _d.event_id.not_in(told)
    rows = connection.execute(select(_d.id, _d.event_id).where(chosen, others | (_d.channel == to)))
    return list({row.event_id: row.id for row in rows}.values())


def next_due(connection: Connection, channels: Sequence[str]) -> dict[str, datetime]:
    """For each channel with open deliveries, the moment at which the first of them may be taken."""
    query = (
        select(_d.channel, func.min(_d.due_at))
        .where(_d.channel.in_(channels), _d.due_at.is_not(None))
        .group_by(_d.channel)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def backlog(connection: Connection) -> Backlog:
    """How much is recorded or routed and not finished, and when the oldest of it happened."""
    unrouted = select(func.count(), func.min(_e.occurred_at)).where(_e.routed_at.is_(None))
    unfinished = (
        select(func.count(), func.min(_e.occurred_at))
        .join(alert_delivery, _e.id == _d.event_id)
        .where(_d.state.in_(_OPEN))
    )
    rows = [connection.execute(query).one() for query in (unrouted, unfinished)]
    return Backlog(sum(row[0] for row in rows), min((row[1] for row in rows if row[1]), default=None))


def listing(
    connection: Connection,
    *,
    limit: int = 50,
    states: Sequence[str] = (),
    dag_id: str | None = None,
    before_event: int | None = None,
) -> list[Entry]:
    """The history, newest event first."""
    state = func.coalesce(_d.state, "recorded")
    query = (
        select(
            _e.id.label("event_id"),
            _d.id.label("delivery_id"),
            *(_e.kind, _e.dag_id, _e.run_id, _e.task_id, _e.try_number, _e.occurred_at),
            _d.channel,
            state.label("state"),
            func.coalesce(_d.attempts, 0).label("attempts"),
            *(_d.due_at, _d.delivered_at, _d.error),
        )
        .select_from(alert_event.outerjoin(alert_delivery, _e.id == _d.event_id))
        .order_by(_e.id.desc(), _d.id)
        .limit(limit)
    )
    if states:
        query = query.where(state.in_(states))
    if dag_id is not None:
        query = query.where(_e.dag_id == dag_id)
    if before_event is not None:
        query = query.where(_e.id < before_event)
    return [Entry(**row) for row in connection.execute(query).mappings()]
