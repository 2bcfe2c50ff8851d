"""The outbox's verbs: record, route, lease, then one of confirm, retry, release and bury; and replay.

Each verb is a few set-based statements on the caller's connection; none commits. A change of state is an UPDATE guarded
by the old state, and from the lease on by the token, so a verb that comes too late changes nothing and says so. Rows
that somebody else has locked are passed over where the database can do that; where it cannot, the guards alone keep two
deliverers apart.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, case, func, literal, not_, or_, select, update

from alerting import groups, inhibitions, numbers, overtaken, recoveries, silences, twins
from alerting.channels import Refusal
from alerting.database import BATCH, insert_new
from alerting.events import AlertEvent, decode
from alerting.groups import Draft
from alerting.kinds import KINDS, EventKind
from alerting.numbers import Number
from alerting.remedies import REPLAY, RESTART
from alerting.routes import EMAIL, GRAFANA, Plan, Suppressed, SuppressedBy, Target, hold, match
from alerting.routing import SETTINGS
from alerting.tables import alert_ack, alert_delivery, alert_event

_HOLDER: Final = 18  # characters of a token that name the holder
_TOKEN: Final = 36
BURIED_AT_ONCE: Final = 50  # messages in one transaction: each may have a fallback
MAIL_OFF: Final = "mail is off because no SMTP server is set: set WINDSOCK__SMTP__SMTP_HOST"
ANNOTATIONS_OFF: Final = "annotations are off because no token is set: set WINDSOCK__GRAFANA__TOKEN"
_ELSEWHERE: Final = "send it to another one (windsock alerts replay --to NAME)"
_BACK_INTO_SETTINGS: Final = f"{_ELSEWHERE}, or put its URL back into WINDSOCK__ALERTING__APPRISE_URLS"
_BACK_INTO_FILE: Final = f"{_ELSEWHERE}, or name it there again"
LEASE_RAN_OUT: Final = "no outcome before the lease ran out: the deliverer died, or the receiver did not answer"

_d, _e, _a = alert_delivery.c, alert_event.c, alert_ack.c


class DeliveryState(StrEnum):
    """State of one delivery."""

    PENDING = "pending"  # waits until due_at; lease() next
    SENDING = "sending"  # a deliverer holds its token; confirm(), retry(), release() or bury() next, or lease() again
    DELIVERED = "delivered"  # the receiver accepted it
    DEAD = "dead"  # given up, with its reason; replay() makes it pending again
    SUPPRESSED = "suppressed"  # nobody is told, with its reason
    WAITING = "waiting"  # for the wave of its group; groups.flush() next. Or for the row that carries its wave


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
    receiver: str | None = None  # of alerting.yml
    turn: int = 0  # how often the same was told here before
    wave: int | None = None  # where one message tells of several events
    number: str = ""  # of its line, as people write it
    others: tuple[AlertEvent, ...] = ()  # of the wave


@dataclass(frozen=True)
class Routed:
    """What one call of route() did."""

    kinds: tuple[EventKind, ...] = ()  # of the events it routed
    channels: tuple[str, ...] = ()  # of the deliveries that may be sent at once
    suppressed: tuple[SuppressedBy, ...] = ()  # why some are not told


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
    receiver: str | None = None
    origin: str | None = None  # an Origin, where no route led to this receiver
    number: str | None = None  # of this line, as people write it; None for an event alone
    addresses: tuple[str, ...] = ()  # of mail
    wave: int | None = None  # where one message tells of several events
    fell_back_to: str | None = None  # the receiver that was to hear of it instead
    heard_before: tuple[int, ...] = ()  # deliveries for which that receiver was not told once more
    acked_by: str | None = None
    acked_at: datetime | None = None
    ack_comment: str | None = None


def record(connection: Connection, events: Sequence[AlertEvent]) -> int:
    """Writes the events in the caller's transaction and returns how many were new.

    An event that is already there, by its dedup_key, is passed over; any other error is raised.
    """
    unique = list({event.dedup_key: event for event in events}.items())
    return sum(_record(connection, unique[start : start + BATCH]) for start in range(0, len(unique), BATCH))


def _record(connection: Connection, events: Sequence[tuple[str, AlertEvent]]) -> int:
    statement = insert_new(connection, alert_event, "dedup_key")
    rows = [_event_row(key, event) for key, event in events]
    if connection.dialect.name not in ("mysql", "mariadb"):
        return len(connection.execute(statement.values(rows).returning(_e.id)).all())
    # It has no RETURNING, and its row count takes an untouched row for a changed one.
    known = select(func.count()).where(_e.dedup_key.in_([key for key, _ in events]))
    before = int(connection.execute(known).scalar_one())
    connection.execute(statement.values(rows))
    return len(rows) - before


def known(connection: Connection, keys: Iterable[str]) -> set[str]:
    """Those of these keys of which an event is there."""
    wanted = sorted(set(keys))
    batches = (wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH))
    found = (connection.execute(select(_e.dedup_key).where(_e.dedup_key.in_(batch))) for batch in batches)
    return {key for rows in found for key in rows.scalars()}


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
        "episode_key": event.episode_key,
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
    2. Ask the plan, the silences, the inhibitions and the twins who is to be told; a suppressed row keeps the reason
       where somebody is not.
    3. What goes beyond a receiver's limit waits for its digest; what is grouped waits in its group.
    4. Write the rows. Then do the same for events that end a trouble: they go to whoever has a row about it.
    5. Mark the events. All writing passes over what is there already, so a second router does no harm.
    """
    query = (
        select(_e.id, _e.payload, _e.ended_by)
        .where(_e.routed_at.is_(None))
        .order_by(_e.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(query).all()
    if not found:
        return Routed()
    events = [(row.id, decode(row.payload)) for row in found]
    endings = {event_id: event for event_id, event in events if event is not None and KINDS[event.kind].ends}
    silenced = silences.active(connection, now)
    others = [(event_id, event) for event_id, event in events if event_id not in endings]
    over = {row.id for row in found if row.ended_by is not None}
    drafts, rows = _add(connection, now, _drafts(connection, now, others, plan, silenced, over), plan)
    if endings:
        told = recoveries.end_episodes(connection, endings, plan)
        ends = [Draft(key, event, target) for key, event in endings.items() for target in told[key]]
        more = _add(connection, now, [_unless_silenced(draft, plan, silenced) for draft in ends], plan)
        drafts, rows = drafts + more[0], rows + more[1]
    routed = update(alert_event).where(_e.id.in_([row.id for row in found]), _e.routed_at.is_(None))
    connection.execute(routed.values(routed_at=now))
    return Routed(
        tuple(event.kind for _, event in events if event is not None),
        tuple(row["channel"] for row in rows if row["state"] == DeliveryState.PENDING.value),
        tuple(draft.target.held.by for draft in drafts if draft.target.held is not None),
    )


def _drafts(
    connection: Connection,
    now: datetime,
    events: Sequence[tuple[int, AlertEvent | None]],
    plan: Plan,
    silenced: Sequence[silences.Silence],
    over: set[int],
) -> list[Draft]:
    """``over`` are those of the events that were ended before they were routed: nothing is explained by them."""
    told = [(event_id, event, _targets(event, plan, silenced)) for event_id, event in events]
    kinds = {event.kind for _, event in events if event is not None}
    if inhibitions.concerns(plan.inhibitions, kinds):
        rules, severity = plan.inhibitions, plan.severity
        sources = inhibitions.Sources(rules, inhibitions.open_sources(connection, now, rules, severity))
        fresh = [(key, event, targets) for key, event, targets in told if event is not None and key not in over]
        inhibitions.add_fresh(fresh, sources, severity, now - inhibitions.MOST_OPEN)
        told = [(key, event, _unless_explained(key, event, targets, plan, sources)) for key, event, targets in told]
    told = twins.unless_told(connection, told)
    return [Draft(event_id, event, target) for event_id, event, targets in told for target in targets]


def _targets(event: AlertEvent | None, plan: Plan, silenced: Sequence[silences.Silence]) -> tuple[Target, ...]:
    if event is None:
        return (Target("", held=Suppressed("this version cannot read the event")),)
    targets = match(event, plan, silenced)
    return (Target("", held=targets),) if isinstance(targets, Suppressed) else targets


def _unless_explained(
    event_id: int, event: AlertEvent | None, targets: tuple[Target, ...], plan: Plan, sources: inhibitions.Sources
) -> tuple[Target, ...]:
    why = None if event is None else groups.why_held(event_id, event, plan, (), sources)
    return targets if why is None else hold(targets, why)


def _unless_silenced(draft: Draft, plan: Plan, silenced: Sequence[silences.Silence]) -> Draft:
    why = None if draft.event is None else groups.why_held(draft.event_id, draft.event, plan, silenced)
    return draft if why is None else replace(draft, target=hold((draft.target,), why)[0])


def _add(
    connection: Connection, now: datetime, drafts: list[Draft], plan: Plan
) -> tuple[list[Draft], list[dict[str, Any]]]:
    if plan.routing is not None:
        drafts = groups.divert_storms(connection, now, drafts, plan.routing)
    return drafts, add(connection, now, drafts, plan.give_up_after)


def add(
    connection: Connection, now: datetime, drafts: Sequence[Draft], give_up_after: timedelta
) -> list[dict[str, Any]]:
    """Writes deliveries, and passes over what is there already; returns the rows."""
    ids = groups.open_groups(connection, now, [draft.target.group for draft in drafts if draft.target.group])
    rows = [_delivery_row(draft, now, give_up_after, ids) for draft in drafts]
    statement = insert_new(connection, alert_delivery, "event_id", "channel", "target")
    for start in range(0, len(rows), BATCH):
        connection.execute(statement.values(rows[start : start + BATCH]))
    groups.join_runs(connection, drafts, ids)
    return rows


def _delivery_row(draft: Draft, now: datetime, give_up_after: timedelta, ids: dict[str, int]) -> dict[str, Any]:
    target = draft.target
    group_id = None if target.group is None else ids[target.group.key]
    if target.held is not None:
        row = _row(target, DeliveryState.SUPPRESSED, None, target.held.reason)
        row["held_by"] = target.held.by.value
    elif group_id is not None:
        row = _row(target, DeliveryState.WAITING, None, None)
    else:
        row = _row(target, DeliveryState.PENDING, now, None)
    age = {"created_at": now, "waiting_since": row["due_at"], "give_up_at": now + give_up_after}
    common = {"event_id": draft.event_id, "attempts": 0, **age}
    why = {"receiver": target.receiver, "origin": target.origin and target.origin.value, "note": target.note}
    return common | row | why | {"group_id": group_id}


def _row(target: Target, state: DeliveryState, due_at: datetime | None, error: str | None) -> dict[str, Any]:
    return {
        "channel": target.channel,
        "target": target.digest,
        "address": target.address,
        "state": state.value,
        "due_at": due_at,
        "error": error,
        "held_by": None,
        "turn": target.turn,
    }


def lease(
    connection: Connection,
    now: datetime,
    lease_for: timedelta,
    limit: int,
    channels: Sequence[str],
    holder: str = "",
    *,
    set_aside: list[int] | None = None,
) -> list[Lease]:
    """Takes up to ``limit`` due deliveries of these channels, longest due first, each for ``lease_for``.

    ``holder`` names the deliverer, for :func:`end_leases_of`; its first 18 characters count. ``set_aside`` gets the
    ids of those that were overtaken by events, and of the ends of what nobody hears of for that: they are suppressed,
    and others taken in their place.

    1. Lock candidates: pending ones that are due, and those being sent whose lease has run out.
    2. Give them one new token, count the attempt, and move due_at to the end of the lease, where they still are due.
    3. Read back what carries the token: that is what this caller owns, also where step 1 could not lock.
    4. Suppress what is not true any more, and begin again for as many.
    """
    leases: list[Lease] = []
    late: list[int] = []
    while len(leases) < limit:
        taken = _take(connection, now, lease_for, limit - len(leases), channels, holder)
        doubtful = [lease for lease in taken if overtaken.may_be((lease.event, *lease.others))]
        gone = _set_aside(connection, now, channels, doubtful) if doubtful else []
        if not gone:
            leases += taken
            break
        late += gone
        leases += _leased(connection, [lease.id for lease in taken], taken[0].token)
    if set_aside is not None:
        set_aside += late
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
            groups.carry_on(connection, now, left)
    return sorted(found)


def _ids_of(connection: Connection, lease: Lease) -> list[int]:
    """The row that carries the message, which is first, and those that wait for it."""
    if lease.wave is None:
        return [lease.id]
    others = select(_d.id).where(_d.wave == lease.wave, _d.id != lease.id).order_by(_d.id)
    return [lease.id, *connection.execute(others).scalars()]


def _take(
    connection: Connection, now: datetime, lease_for: timedelta, limit: int, channels: Sequence[str], holder: str
) -> list[Lease]:
    """Steps 1 to 3 of :func:`lease`."""
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


_ending: Final = alert_event.alias("ending")
_TOLD: Final = (
    *(_e.payload, _ending.c.occurred_at.label("over_at")),
    *(_d.event_id, _d.receiver, _d.turn, _d.note, _d.origin),
)
_LEASED: Final = (
    *(_d.id, _d.channel, _d.address, _d.attempts, _d.give_up_at, _d.error, _d.wave),
    *(*_TOLD, numbers.line().label("line")),
)


def _leased(connection: Connection, ids: Sequence[int], token: str) -> list[Lease]:
    query = (
        select(*_LEASED)
        .join(alert_event, _e.id == _d.event_id)
        .outerjoin(_ending, _ending.c.id == _e.ended_by)
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
            event=_told(row),
            error=row.error,
            receiver=row.receiver,
            turn=row.turn,
            wave=row.wave,
            number=str(Number(row.event_id, row.line)),
            others=() if row.wave is None else _others(connection, row.id),
        )
        for row in connection.execute(query).all()
    ]


def _others(connection: Connection, wave: int) -> tuple[AlertEvent, ...]:
    query = (
        select(*_TOLD)
        .join(alert_event, _e.id == _d.event_id)
        .outerjoin(_ending, _ending.c.id == _e.ended_by)
        .where(_d.wave == wave, _d.id != wave)
        .order_by(_d.id)
    )
    return tuple(event for row in connection.execute(query) if (event := _told(row)) is not None)


def _told(row: Any) -> AlertEvent | None:
    """The event as this delivery tells it: also that it was over before anybody was told."""
    event = decode(row.payload)
    if event is None:
        return None
    told_as = None if row.note is None or row.origin is None else f"{row.origin} to {row.receiver}"
    return msgspec.structs.replace(
        event, number=row.event_id, note=row.note, turn=row.turn, told_as=told_as, over_at=row.over_at
    )


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
    for refusal in later:
        _keep_refused(connection, lease, refusal, DeliveryState.PENDING, now)
    for refusal in never:
        _keep_refused(connection, lease, refusal, DeliveryState.DEAD, None)
    _settle_others(connection, lease, delivered_at=now, **delivered)
    return True


def _keep_refused(
    connection: Connection, lease: Lease, refusal: Refusal, state: DeliveryState, due_at: datetime | None
) -> None:
    """Rows for the addresses that refused; those of a wave are a wave again."""
    row = _row(
        Target(lease.channel, refusal.addresses, receiver=lease.receiver, turn=lease.turn),
        *(state, due_at, refusal.reason),
    )
    row |= {"attempts": lease.attempts, "give_up_at": lease.give_up_at}
    members = (_d.id == lease.id,) if lease.wave is None else (_d.wave == lease.wave,)
    origins = connection.execute(
        select(*(_d.event_id, _d.created_at, _d.waiting_since), *(_d.receiver, _d.group_id, _d.origin, _d.note))
        .where(*members)
        .order_by(_d.id)
    ).mappings()
    rows = [row | dict(origin) for origin in origins]
    for start in range(0, len(rows), BATCH):
        statement = insert_new(connection, alert_delivery, "event_id", "channel", "target")
        connection.execute(statement.values(rows[start : start + BATCH]))
    if lease.wave is not None:
        unite(connection, lease.channel, row["target"], [origin["event_id"] for origin in rows], state)


def unite(
    connection: Connection, channel: str, target: str, event_ids: Sequence[int], state: DeliveryState
) -> int | None:
    """Makes one message of the deliveries of these events to one address; returns the id of the row that carries it.

    None where none of them is in this state.
    """
    chosen = (_d.channel == channel, _d.target == target, _d.event_id.in_(event_ids), _d.state == state.value)
    ids = connection.execute(select(_d.id).where(*chosen).order_by(_d.id)).scalars().all()
    groups.form_wave(connection, ids)
    return ids[0] if ids else None


def _settle_others(connection: Connection, lease: Lease, **values: Any) -> None:
    """The outcome of a message is that of every event which it tells of."""
    if lease.wave is not None:
        others = (_d.wave == lease.wave, _d.id != lease.wave, _d.state == DeliveryState.WAITING.value)
        connection.execute(update(alert_delivery).where(*others).values(**values))


def retry(connection: Connection, lease: Lease, due_at: datetime, error: str) -> bool:
    """It failed and is tried again at ``due_at``. False where the lease was lost."""
    return _settle(connection, lease, DeliveryState.PENDING, due_at=due_at, error=error)


def release(connection: Connection, lease: Lease, now: datetime) -> bool:
    """It was not tried; the attempt is not charged. False where the lease was lost."""
    return _settle(connection, lease, DeliveryState.PENDING, due_at=now, attempts=_d.attempts - 1)


def bury(connection: Connection, lease: Lease, error: str) -> bool:
    """It is given up, visibly. False where the lease was lost."""
    if not _settle(connection, lease, DeliveryState.DEAD, due_at=None, error=error):
        return False
    _settle_others(connection, lease, state=DeliveryState.DEAD.value, error=error)
    return True


def _settle(connection: Connection, lease: Lease, state: DeliveryState, **values: Any) -> bool:
    guard = (_d.id == lease.id, _d.token == lease.token)
    statement = update(alert_delivery).where(*guard).values(state=state.value, token=None, **values)
    return connection.execute(statement).rowcount == 1


def explain_orphans(connection: Connection, now: datetime, channels: Sequence[str]) -> int:
    """Says on deliveries that are due and belong to none of these channels what they wait for; returns on how many.

    They stay pending: a deliverer with newer settings may know a receiver that this one does not, and whoever forgot a
    setting at a start loses nothing by it.
    """
    reason = _missing() + _then(f", {RESTART}, and it is sent", ", and it is sent")
    news = or_(_d.error.is_(None), _d.error != reason, _d.state == DeliveryState.SENDING)
    statement = (
        update(alert_delivery)
        .where(_d.state.in_(_OPEN), _d.channel.not_in(channels), _d.due_at <= now, news)
        .values(error=reason, state=DeliveryState.PENDING.value, token=None)
    )
    return connection.execute(statement).rowcount


def bury_orphans(connection: Connection, now: datetime, channels: Sequence[str]) -> list[tuple[int, str]]:
    """Gives up pending deliveries that are past their age and belong to none of these channels, BURIED_AT_ONCE at most.

    Returns the ids of those that carried a message, each with its channel.
    """
    chosen = (_d.state == DeliveryState.PENDING, _d.channel.not_in(channels), _d.give_up_at <= now)
    query = select(_d.id, _d.channel).where(*chosen).order_by(_d.id).limit(BURIED_AT_ONCE)
    found = connection.execute(query.with_for_update(skip_locked=True)).all()
    if found:
        error = literal("given up: ") + _missing() + _then(f", {REPLAY}", ", then windsock alerts replay")
        dead = {"state": DeliveryState.DEAD.value, "due_at": None, "error": error}
        ids = [row.id for row in found]
        connection.execute(update(alert_delivery).where(_d.id.in_(ids), *chosen).values(dead))
        others = (_d.wave.in_(ids), _d.state == DeliveryState.WAITING.value)
        connection.execute(update(alert_delivery).where(*others).values(dead))
    return [(row.id, row.channel) for row in found]


def _missing() -> ColumnElement[str]:
    from_file = literal("channel ") + _d.channel + literal(f" is no longer in alerting.yml: {_BACK_INTO_FILE}")
    gone = literal("receiver ") + _d.channel + literal(f" is no longer in the settings: {_BACK_INTO_SETTINGS}")
    off = ((_d.channel == EMAIL, literal(MAIL_OFF)), (_d.channel == GRAFANA, literal(ANNOTATIONS_OFF)))
    return case(*off, (_came_from_file(), from_file), else_=gone)


def _then(settings: str, file: str) -> ColumnElement[str]:
    """What follows: the settings are read at a start only, alerting.yml at once."""
    of_settings = or_(_d.channel.in_((EMAIL, GRAFANA)), not_(_came_from_file()))
    return case((of_settings, literal(settings)), else_=literal(file))


def _came_from_file() -> ColumnElement[bool]:
    """No receiver of alerting.yml has the channels of the settings but the built-in one."""
    return func.coalesce(_d.receiver, SETTINGS) != SETTINGS


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
        chosen |= (_d.state == DeliveryState.PENDING) & _d.channel.not_in([*receivers, to, EMAIL, GRAFANA])
    if ids is not None:
        chosen &= _d.id.in_(_with_their_waves(connection, list(ids)))
    values: dict[str, Any] = {"state": "pending", "due_at": now, "attempts": 0}
    values |= {"waiting_since": now, "give_up_at": now + give_up_after}
    if to is not None:
        chosen &= _d.id.in_(_movable(connection, chosen, to))
        values["channel"] = to
    in_waves = select(_d.id, _d.wave).where(chosen, _d.wave.is_not(None)).order_by(_d.id)
    waves: dict[int, list[int]] = {}
    for row in connection.execute(in_waves).all():
        waves.setdefault(row.wave, []).append(row.id)
    count = connection.execute(update(alert_delivery).where(chosen).values(**values)).rowcount
    for members in waves.values():
        groups.form_wave(connection, members)
    return count


def any_dead(connection: Connection, ids: Sequence[int]) -> bool:
    """Whether replay() would find any of these."""
    query = select(_d.id).where(_d.id.in_(ids), _d.state == DeliveryState.DEAD).limit(1)
    return bool(ids) and connection.execute(query).first() is not None


def _with_their_waves(connection: Connection, ids: list[int]) -> list[int]:
    """One message is replayed as a whole, whichever of its deliveries is named."""
    waves = select(_d.wave).where(_d.id.in_(ids), _d.wave.is_not(None))
    others = connection.execute(select(_d.id).where(_d.wave.in_(connection.execute(waves).scalars().all())))
    return [*ids, *others.scalars()]


def _movable(connection: Connection, chosen: ColumnElement[bool], to: str) -> list[int]:
    """One delivery of each event that `to` has none of; its own dead ones too."""
    told = select(_d.event_id).where(_d.channel == to)
    others = _d.channel.not_in((EMAIL, GRAFANA)) & _d.event_id.not_in(told)
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


def _read(connection: Connection, query: Select[Any]) -> list[Entry]:
    return [_entry(dict(row)) for row in connection.execute(query).mappings()]


def _entry(row: dict[str, Any]) -> Entry:
    line, address, heard = row.pop("line"), row.pop("address"), row.pop("heard_before")
    return Entry(
        **row,
        number=None if row["delivery_id"] is None else str(Number(row["event_id"], line)),
        addresses=msgspec.json.decode(address or "[]", type=tuple[str, ...]),
        heard_before=msgspec.json.decode(heard or "[]", type=tuple[int, ...]),
    )


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
