"""Groups: events of one receiver that are told in one message, in the way of Alertmanager.

A group's first event waits for ``wait``, so that others may join it; what comes after its first message waits for
``interval``. A group in which nothing came since its last message is idle; the next event begins anew with ``wait``.

All of it is rows: ``alert_group`` with the moment of the next wave, and deliveries that wait in it. A wave is formed in
one transaction in which nothing is sent, so a lock on the group's row is all the claim that is needed: a deliverer that
dies in it has done nothing, and the others pass the row over meanwhile. The router locks the groups that it adds to, so
nothing joins a group while its wave is formed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, delete, func, select, update

from alerting import inhibitions, mailings, overtaken, silences, throttle
from alerting.database import batches, insert_new
from alerting.document import LONGEST
from alerting.events import AlertEvent, decode
from alerting.inhibitions import concerns
from alerting.kinds import EventKind
from alerting.mailings import Member
from alerting.matchers import labels_of
from alerting.routes import Group, Plan, Suppressed, SuppressedBy, Target, is_about_groups, silence_of
from alerting.routing import Limit, Routing
from alerting.tables import alert_delivery, alert_event, alert_follow_up, alert_group

WAVE_MOST: Final = 2_000  # deliveries in one wave: bounds memory, and keeps a message in a size that can be sent
IDLE_KEPT: Final = timedelta(days=1)
_STORM: Final = (("digest", "more than the receiver's limit"),)
_MOST_ROUNDS: Final = 5
_WAITING: Final = "waiting"
_d, _g, _e, _f = alert_delivery.c, alert_group.c, alert_event.c, alert_follow_up.c


@dataclass(frozen=True)
class Draft:
    """A delivery that is about to be written."""

    event_id: int
    event: AlertEvent | None
    target: Target


@dataclass(frozen=True)
class Wave:
    """What one call of flush() did: the channels that have a message now, and how many deliveries were held back."""

    channels: tuple[str, ...] = ()
    silenced: int = 0
    inhibited: int = 0
    overtaken: int = 0


def divert_storms(connection: Connection, now: datetime, drafts: list[Draft], routing: Routing) -> list[Draft]:
    """Puts what goes beyond a receiver's limit into its digest. What is grouped is counted when its wave is formed."""
    events: dict[str, list[int]] = {}
    for receiver, event_id in sorted({(_told_at_once(draft), draft.event_id) for draft in drafts}):
        if receiver:
            events.setdefault(receiver, []).append(event_id)
    allowed = throttle.take(connection, now, routing.limits, {name: len(ids) for name, ids in events.items()})
    late = {(name, event_id) for name, ids in events.items() for event_id in ids[allowed[name] :]}
    digests = {name: digest_of(name, routing.limits[name]) for name, _ in late}
    return [
        replace(draft, target=replace(draft.target, group=digests[name])) if (name, draft.event_id) in late else draft
        for draft, name in ((draft, _told_at_once(draft)) for draft in drafts)
    ]


def _told_at_once(draft: Draft) -> str:
    """The receiver that is told of this alone and now; empty where that is not so.

    Tests are never late, nor is what may be about the digest in which it would wait.
    """
    target, event = draft.target, draft.event
    if target.group or target.held or event is None or event.kind is EventKind.TEST or is_about_groups(event):
        return ""
    return target.receiver or ""


def digest_of(receiver: str, limit: Limit) -> Group:
    """The group of what goes beyond a receiver's limit."""
    return Group(receiver, _STORM, limit.per, limit.per)


def open_groups(connection: Connection, now: datetime, groups: Iterable[Group]) -> dict[str, int]:
    """Locks these groups, new ones too, until the transaction ends; idle ones become due. Returns their ids by key."""
    wanted = {group.key: group for group in groups}
    ids: dict[str, int] = {}
    for _ in range(_MOST_ROUNDS):  # an idle one may be forgotten between the two statements
        missing = sorted(wanted.keys() - ids.keys())
        if not missing:
            return ids
        rows = [_group_row(wanted[key], now) for key in missing]
        connection.execute(insert_new(connection, alert_group, "group_key").values(rows))
        query = select(alert_group).where(_g.group_key.in_(missing)).order_by(_g.group_key)
        for row in connection.execute(query.with_for_update()).all():
            ids[row.group_key] = row.id
            values = _news(row, wanted[row.group_key], now)
            if values:
                connection.execute(update(alert_group).where(_g.id == row.id).values(values))
    raise AssertionError("a group was forgotten again and again while it was opened")


def _group_row(group: Group, now: datetime) -> dict[str, Any]:
    return {
        "group_key": group.key,
        "receiver": group.receiver,
        "labels": msgspec.json.encode(group.labels).decode(),
        "due_at": now + group.wait,
        "interval_seconds": group.interval.total_seconds(),
        "wait_seconds": group.wait.total_seconds(),
    }


def _news(row: Row[Any], group: Group, now: datetime) -> dict[str, Any]:
    """What is to be written to a group's row: one that was idle becomes due, and a file that changed holds at once."""
    if row.due_at is None:
        known: dict[str, Any] = {"due_at": now + group.wait}
    elif (row.wait_seconds, row.interval_seconds) == (group.wait.total_seconds(), group.interval.total_seconds()):
        return {}
    else:
        soonest = now + group.wait
        if row.waved_at is not None:
            soonest = max(soonest, row.waved_at + group.interval)
        known = {"due_at": min(row.due_at, soonest)}
    return known | {"wait_seconds": group.wait.total_seconds(), "interval_seconds": group.interval.total_seconds()}


def join_runs(connection: Connection, drafts: Sequence[Draft], ids: dict[str, int]) -> None:
    """A failed run is told together with its tasks: those that still wait for the same receiver join its group."""
    for draft in drafts:
        event, group = draft.event, draft.target.group
        if event is None or group is None or event.kind is not EventKind.RUN_FAILED:
            continue
        tasks = select(_e.id).where(
            _e.dag_id == event.dag_id,
            _e.run_id == event.run_id,
            _e.kind.in_((EventKind.TASK_FAILED.value, EventKind.TASK_RETRY.value)),
        )
        waiting = (_d.receiver == group.receiver, _d.state == _WAITING, _d.wave.is_(None), _d.event_id.in_(tasks))
        connection.execute(update(alert_delivery).where(*waiting).values(group_id=ids[group.key]))


def due(connection: Connection, now: datetime, limit: int) -> list[int]:
    """The ids of groups whose wave is due, the longest due first. Nothing is locked."""
    query = select(_g.id).where(_g.due_at <= now).order_by(_g.due_at, _g.id).limit(limit)
    return list(connection.execute(query).scalars())


def flush(connection: Connection, now: datetime, plan: Plan, only: int | None = None) -> Wave | None:
    """Forms the wave of one group that is due, or of ``only`` this one; None where none is.

    1. Lock the pace of the receiver whose group has been due for longest, as a router does before it locks groups, and
       then the group; one that another deliverer has locked is passed over.
    2. Lock what waits in it, at most WAVE_MOST; hold back what was silenced, explained by a trouble, or overtaken
       meanwhile.
    3. Beyond the receiver's limit, move the rest to its digest instead.
    4. Make one message for each channel, and one mail for all who are told the same.
    5. Say when to look again: at once where there is more, after the interval, or not until an event comes.
    """
    group = _locked(connection, now, plan, only)
    if group is None:
        return None
    members = _waiting(connection, group.id)
    held = overtaken.reasons(connection, now, [member.id for member in members])
    held |= overtaken.unheard(connection, now, [member.id for member in members if member.id not in held])
    held |= _held(connection, now, group.id, [member for member in members if member.id not in held], plan)
    told = [member for member in members if member.id not in held]
    for member_id, why in held.items():
        values: dict[str, Any] = {"state": "suppressed", "error": why.reason, "held_by": why.by.value}
        connection.execute(update(alert_delivery).where(_d.id == member_id).values(values))
    limit = _limit(group, plan)
    channels: tuple[str, ...] = ()
    if told and limit and not throttle.take_one(connection, now, group.receiver, limit):
        _move(connection, told, open_groups(connection, now, [digest_of(group.receiver, limit)]))
    else:
        channels = _send(connection, now, told, plan.give_up_after)
    values = {"due_at": _next_wave(group, now, len(members)), "waved_at": now}
    connection.execute(update(alert_group).where(_g.id == group.id).values(values))
    by = Counter(why.by for why in held.values())
    counted = (SuppressedBy.SILENCE, SuppressedBy.INHIBITED, SuppressedBy.OVERTAKEN)
    return Wave(channels, *(by[reason] for reason in counted))


def _locked(connection: Connection, now: datetime, plan: Plan, only: int | None) -> Row[Any] | None:
    due = select(alert_group).where(_g.due_at <= now).order_by(_g.due_at, _g.id).limit(1)
    if only is not None:
        due = due.where(_g.id == only)
    if plan.routing is not None and plan.routing.limits:
        first = connection.execute(due).one_or_none()
        if first is None:
            return None
        if first.receiver in plan.routing.limits:
            throttle.lock(connection, now, [first.receiver])
        due = due.where(_g.receiver == first.receiver)
    return connection.execute(due.with_for_update(skip_locked=True)).one_or_none()


def _waiting(connection: Connection, group_id: int) -> list[Member]:
    query = (
        select(_d.id, _d.event_id, _d.channel, _d.target)
        .where(_d.group_id == group_id, _d.state == _WAITING, _d.wave.is_(None))
        .order_by(_d.id)
        .limit(WAVE_MOST)
        .with_for_update()
    )
    return [Member(*row) for row in connection.execute(query)]


def _next_wave(group: Row[Any], now: datetime, members: int) -> datetime | None:
    if members == 0:
        return None
    return now if members == WAVE_MOST else now + min(LONGEST, timedelta(seconds=group.interval_seconds))


def _held(
    connection: Connection, now: datetime, group_id: int, members: Sequence[Member], plan: Plan
) -> dict[int, Suppressed]:
    """Which of the members are not told, and why; nothing is read of them where nothing could hold them back."""
    silenced = silences.active(connection, now) if members else []
    rules = plan.inhibitions if members else ()
    kinds = _kinds_waiting(connection, group_id) if rules else set()
    found = inhibitions.open_sources(connection, now, rules, plan.severity) if concerns(rules, kinds) else []
    if not silenced and not found:
        return {}
    sources = inhibitions.Sources(rules, found)
    reasons: dict[int, Suppressed] = {}
    for part in batches(members):
        query = select(_e.id, _e.payload).where(_e.id.in_({row.event_id for row in part}))
        events = {row.id: decode(row.payload) for row in connection.execute(query)}
        for row in part:
            event = events.get(row.event_id)
            why = None if event is None else why_held(row.event_id, event, plan, silenced, sources)
            if why is not None and event is not None:
                reasons[row.id] = why
                if why.by is SuppressedBy.INHIBITED:
                    sources.drop(row.event_id, labels_of(event, plan.severity))  # so that no two hold each other back
    return reasons


def _kinds_waiting(connection: Connection, group_id: int) -> set[EventKind]:
    query = (
        select(_e.kind)
        .join(alert_delivery, _d.event_id == _e.id)
        .where(_d.group_id == group_id, _d.state == _WAITING, _d.wave.is_(None))
        .distinct()
    )
    known = set(EventKind)
    return {EventKind(kind) for kind in connection.execute(query).scalars() if kind in known}


def why_held(
    event_id: int,
    event: AlertEvent,
    plan: Plan,
    silenced: Sequence[silences.Silence],
    sources: inhibitions.Sources | None = None,
) -> Suppressed | None:
    """The silence, or else the open trouble, for which an event is not told."""
    if event.kind is EventKind.TEST:
        return None
    labels = labels_of(event, plan.severity)
    silence = silence_of(labels, silenced)
    if silence is not None:
        return silence
    source = None if sources is None else sources.inhibitor(event_id, event, labels)
    return None if source is None else Suppressed(f"inhibited by {source.name}", SuppressedBy.INHIBITED)


def _limit(group: Row[Any], plan: Plan) -> Limit | None:
    """None for a digest, which is what comes of a limit."""
    is_digest = msgspec.json.decode(group.labels) == [list(label) for label in _STORM]
    return None if is_digest or plan.routing is None else plan.routing.limits.get(group.receiver)


def _move(connection: Connection, members: Sequence[Member], ids: dict[str, int]) -> None:
    (group_id,) = ids.values()
    for part in batches([member.id for member in members]):
        values = {"group_id": group_id, "error": None, "waiting_since": None}
        connection.execute(update(alert_delivery).where(_d.id.in_(part)).values(values))


def _send(
    connection: Connection, now: datetime, members: Sequence[Member], give_up_after: timedelta
) -> tuple[str, ...]:
    """One message per channel, and one mail per person; its first row carries it and is due.

    Its age counts from now: it has waited until here on purpose, or was put off and says so no more.
    """
    by_target: dict[tuple[str, str], list[int]] = {}
    for row in mailings.one_mail_each(connection, members):
        by_target.setdefault((row.channel, row.target), []).append(row.id)
    for ids in by_target.values():
        for part in batches(ids):
            young = {"waiting_since": now, "give_up_at": now + give_up_after, "error": None}
            connection.execute(update(alert_delivery).where(_d.id.in_(part)).values(young))
        first = {"state": "pending", "due_at": now}
        connection.execute(update(alert_delivery).where(_d.id == ids[0]).values(first))
        form_wave(connection, ids)
    return tuple(channel for channel, _ in by_target)


def form_wave(connection: Connection, ids: Sequence[int]) -> None:
    """The first of these rows carries the message about all of them; the others wait for its outcome.

    A dead wave stays dead as a whole. A row alone is no wave.
    """
    if len(ids) < 2:
        return
    for part in batches(ids):
        connection.execute(update(alert_delivery).where(_d.id.in_(part)).values(wave=ids[0]))
    for part in batches(ids[1:]):
        open_ones = (_d.id.in_(part), _d.state == "pending")
        connection.execute(update(alert_delivery).where(*open_ones).values(state=_WAITING, due_at=None))


def carry_on(connection: Connection, now: datetime, carrier_id: int, ids: Sequence[int]) -> None:
    """These rows, which waited for one that is no part of their message any more, are a message that is due.

    It is as old as theirs was: what excused that excuses it.
    """
    age = connection.execute(select(_d.waiting_since, _d.give_up_at).where(_d.id == carrier_id)).mappings().one()
    for part in batches(ids):
        connection.execute(update(alert_delivery).where(_d.id.in_(part)).values(wave=None))
    connection.execute(update(alert_delivery).where(_d.id == ids[0]).values(state="pending", due_at=now, **age))
    form_wave(connection, ids)
    inherit_follow_ups(connection, carrier_id, ids[0])


def inherit_follow_ups(connection: Connection, carrier_id: int, heir_id: int) -> None:
    """What is to follow a message follows it still, now that another row carries it."""
    has = connection.execute(select(_f.origin).where(_f.delivery_id == heir_id)).scalars().all()
    moved = update(alert_follow_up).where(_f.delivery_id == carrier_id, _f.origin.not_in(has))
    connection.execute(moved.values(delivery_id=heir_id))


def next_due(connection: Connection) -> datetime | None:
    """When the next wave of any group is due."""
    due: datetime | None = connection.execute(select(func.min(_g.due_at))).scalar()
    return due


def count_open(connection: Connection) -> int:
    """How many groups have, or may soon have, something to tell."""
    return int(connection.execute(select(func.count()).where(_g.due_at.is_not(None))).scalar_one())


def forget_idle(connection: Connection, now: datetime) -> int:
    """Removes groups that have had nothing to tell for a day; returns how many."""
    idle = (_g.due_at.is_(None), _g.waved_at < now - IDLE_KEPT)
    return connection.execute(delete(alert_group).where(*idle)).rowcount
