"""Before a dead delivery is sent again: to where its receiver of alerting.yml is now, or to another receiver.

A dead mail keeps the addresses that it was to go to. Who corrects one in alerting.yml means the mail that died, too.
Rows that were one message stay one, as long as they go to the same place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, or_, select, update

from alerting import addressees, escalations, groups, numbers, outbox
from alerting.cleaning import one_line
from alerting.database import batches, insert_new
from alerting.events import AlertEvent, decode
from alerting.recoveries import TOLD
from alerting.routes import EMAIL, GRAFANA, Plan, Target, ways
from alerting.routing import Receiver
from alerting.tables import alert_delivery, alert_event, alert_follow_up

_d, _e, _f = alert_delivery.c, alert_event.c, alert_follow_up.c
_DEAD: Final = "dead"
_PENDING: Final = "pending"
Rows: TypeAlias = Sequence[Row[Any]]
_Message: TypeAlias = tuple[int | None, str, str]  # the wave that it was in, its channel and addresses


@dataclass(frozen=True)
class Correction:
    """A message whose receiver names other addresses now. ``new`` is empty where it names nobody who is still to hear.

    ``number`` is that of one of its lines.
    """

    number: str
    receiver: str
    old: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        if not self.old and not self.new:
            return (
                f"{self.number}: its addresses cannot be read, and {self.receiver} names nobody who has not heard "
                f"of it, so it fails again; or: windsock alerts replay {self.number} --to RECEIVER"
            )
        gone = ", ".join(address for address in self.old if address not in self.new)
        if not self.new:
            return (
                f"{self.number}: {self.receiver} does not name {gone} any more, nor anybody else who has not heard of "
                f"it, so it goes there again; or: windsock alerts replay {self.number} --to RECEIVER"
            )
        added = ", ".join(address for address in self.new if address not in self.old)
        if not self.old:
            return f"{self.number}: to {added}, for the addresses that it had cannot be read"
        return f"{self.number}: to {added} instead of {gone}" if added else f"{self.number}: no more to {gone}"


def correct(connection: Connection, plan: Plan, ids: Iterable[int] | None = None) -> list[Correction]:
    """Gives dead mails, these or all, the addresses that their receivers have in alerting.yml now.

    Who has been told of the same by another delivery, or is about to be, is left out.
    """
    chosen = (_d.state == _DEAD, _d.channel == EMAIL, _d.receiver.is_not(None))
    messages: dict[int, list[Row[Any]]] = {}
    for row in _named(connection, ids, *chosen):
        messages.setdefault(row.wave or row.id, []).append(row)
    sent_again = {row.id for message in messages.values() for row in message}
    found = (_correct(connection, plan, message, sent_again) for message in messages.values())
    return [correction for correction in found if correction is not None]


def in_vain(connection: Connection, ids: Iterable[int] | None = None) -> list[str]:
    """A sentence for each dead mail, of these or of all, that has no address which can be one: it would die again.

    What a task names with ``email=`` is stored with the alert, whatever the DAG file says now.
    """
    found: dict[int, Row[Any]] = {}
    for row in _named(connection, ids, _d.state == _DEAD, _d.channel == EMAIL):
        found.setdefault(row.wave or row.id, row)
    stored = [(row, addressees.known(row.address)) for row in found.values()]
    return [
        _no_address(str(numbers.of_delivery(connection, row.id)), addresses)
        for row, addresses in stored
        if addresses and not any(map(addressees.is_address, addresses))
    ]


def _no_address(number: str, addresses: Sequence[str]) -> str:
    told = ", ".join(map(one_line, addresses))
    return (
        f"{number}: no mail address is stored with it ({told}), so it fails again; to tell somebody: "
        f"windsock alerts replay {number} --to RECEIVER"
    )


def _correct(connection: Connection, plan: Plan, message: Rows, sent_again: Collection[int]) -> Correction | None:
    receiver = plan.receiver(message[0].receiver)
    if receiver is None:
        return None
    old = addressees.known(message[0].address)
    present = {target.addresses for row in message for target in _mails(row, receiver, plan)}
    kept = tuple(address for address in old if any(address in addresses for addresses in present))
    if kept == old and old:  # none: they cannot be read
        return None
    others = _others(connection, message)
    added = tuple(
        address
        for address in receiver.emails
        if address not in old and not all(address in _hearing(others, row, sent_again) for row in message)
    )
    new = kept + added
    number = str(numbers.of_delivery(connection, message[0].id))
    targets = [Target(EMAIL, new, receiver=row.receiver, turn=row.turn) for row in message]
    if not new or any(_is_there(others, row, target) for row, target in zip(message, targets, strict=True)):
        return Correction(number, receiver.name, old, ())
    for row, target in zip(message, targets, strict=True):
        connection.execute(update(alert_delivery).where(_d.id == row.id).values(_to(target)))
    return Correction(number, receiver.name, old, new)


def _mails(row: Row[Any], receiver: Receiver, plan: Plan) -> list[Target]:
    event = decode(row.payload)
    return [] if event is None else [target for target in ways(event, receiver, plan) if target.channel == EMAIL]


def redirect(
    connection: Connection,
    now: datetime,
    give_up_after: timedelta,
    receiver: Receiver,
    plan: Plan,
    known: Sequence[str],
    ids: Iterable[int] | None = None,
) -> int:
    """Sends what is dead, these or all, to all ways of this receiver instead; returns how many deliveries that makes.

    With them goes what waits for a channel that is none of ``known`` any more. A way by which the receiver has been, or
    is to be, told of the same is left out. One that is dead or suppressed has told nobody, and is told now. More dead
    deliveries of an alert than the receiver has ways stay dead. What was to follow them does not: this receiver's steps
    do, and its escalation has a clock from now on.
    """
    orphaned = and_(_d.state == _PENDING, _d.channel.not_in([*known, EMAIL, GRAFANA]))
    chosen = _named(connection, ids, or_(_d.state == _DEAD, orphaned), _d.channel != GRAFANA)
    waves = {row.wave for row in chosen if row.wave is not None}
    waiting: list[Row[Any]] = []
    for part in batches(sorted(waves)):
        waiting += _locked(connection, _d.state == "waiting", _d.wave.in_(part))
    by_event: dict[int, list[Row[Any]]] = {}
    for row in sorted([*chosen, *waiting], key=lambda row: row.id):
        by_event.setdefault(row.event_id, []).append(row)
    silent = _silent(connection, receiver, [row for rows in by_event.values() for row in rows])
    others = _others(connection, [row for rows in by_event.values() for row in rows])
    fresh = {"receiver": receiver.name, "state": _PENDING, "due_at": now, "attempts": 0, "waiting_since": now}
    fresh |= {"give_up_at": now + give_up_after, "error": None, "origin": None, "note": None}
    fresh |= {"held_by": None, "fell_back_at": None, "fell_back_to": None, "heard_before": None}
    moved: dict[_Message, list[int]] = {}
    for event_id, rows in by_event.items():
        event = decode(rows[0].payload)
        targets = [] if event is None else _untold(event, receiver, plan, others.get(event_id, ()))
        for place, target in _assigned(rows, silent.get(event_id, ()), targets):
            if place is not None and place.wave is not None:
                waves.add(place.wave)
            key = _write(connection, event_id, place, fresh | _to(target), now)
            moved.setdefault((rows[0].wave, target.channel, target.address), []).append(key)
    _form_messages(connection, waves, moved)
    ids = [key for keys in moved.values() for key in keys]
    for part in batches(ids):
        connection.execute(delete(alert_follow_up).where(_f.delivery_id.in_(part)))  # what the old receiver asked for
    escalations.start(connection, now, plan, {channel for _, channel, _ in moved})
    return len(ids)


def _untold(event: AlertEvent, receiver: Receiver, plan: Plan, others: Rows) -> list[Target]:
    told = [row for row in others if row.state in TOLD]
    people, channels = _people(told), {row.channel for row in told}
    found = []
    for target in ways(event, receiver, plan):
        addresses = tuple(address for address in target.addresses if address not in people)
        if addresses or not (target.addresses or target.channel in channels):
            found.append(replace(target, addresses=addresses))
    return found


def _assigned(rows: Rows, silent: Rows, targets: Sequence[Target]) -> list[tuple[Row[Any] | None, Target]]:
    """Each target with the row that it had before, or else with one that is free; None where there is none.

    Those that are ``silent`` are free for their own targets only.
    """
    free = list(rows)
    assigned: list[tuple[Row[Any] | None, Target]] = []
    for target in targets:
        there = [row for row in (*silent, *free) if (row.channel, row.address) == (target.channel, target.address)]
        own = min(there, key=lambda row: row.receiver != target.receiver, default=None)  # another receiver may share it
        if own is not None:
            free = [row for row in free if row.id != own.id]
            assigned.append((own, replace(target, turn=own.turn)))
    placed = {(target.channel, target.address) for _, target in assigned}
    for target in targets:
        if (target.channel, target.address) not in placed:
            row = free.pop(0) if free else None
            assigned.append((row, target if row is None else replace(target, turn=row.turn)))
    return assigned


def _write(
    connection: Connection, event_id: int, row: Row[Any] | None, values: Mapping[str, Any], now: datetime
) -> int:
    """Changes the row, or adds one; returns its id."""
    if row is not None:
        connection.execute(update(alert_delivery).where(_d.id == row.id).values(values))
        return int(row.id)
    added = {"event_id": event_id, "created_at": now, "turn": 0, **values}
    connection.execute(insert_new(connection, alert_delivery, "event_id", "channel", "target").values([added]))
    place = (_d.event_id == event_id, _d.channel == values["channel"], _d.target == values["target"])
    return int(connection.execute(select(_d.id).where(*place)).scalar_one())


def _form_messages(connection: Connection, waves: Iterable[int], moved: Mapping[_Message, list[int]]) -> None:
    """What was one message and goes to one place is one again, and so is what is left of it."""
    there = {key for ids in moved.values() for key in ids}
    for wave in waves:
        members = connection.execute(select(_d.id).where(_d.wave == wave).order_by(_d.id)).scalars().all()
        connection.execute(update(alert_delivery).where(_d.wave == wave).values(wave=None))
        rest = [key for key in members if key not in there]
        groups.form_wave(connection, rest)
        if rest and rest[0] != wave:
            groups.inherit_follow_ups(connection, wave, rest[0])
    for (old_wave, _, _), ids in moved.items():
        if old_wave is not None:
            groups.form_wave(connection, ids)


def _rows(*conditions: ColumnElement[bool]) -> Any:
    columns = (_d.id, _d.event_id, _d.channel, _d.target, _d.address, _d.receiver, _d.state, _d.turn, _d.wave)
    return select(*columns, _e.payload).join(alert_event, _e.id == _d.event_id).where(*conditions).order_by(_d.id)


def _locked(connection: Connection, *conditions: ColumnElement[bool]) -> list[Row[Any]]:
    """Nobody sends these, or sends them elsewhere, before this transaction has ended."""
    query = select(_d.id).where(*conditions).order_by(_d.id).with_for_update()
    found: list[Row[Any]] = []
    for part in batches(connection.execute(query).scalars().all()):
        found += connection.execute(_rows(_d.id.in_(part))).all()
    return found


def _named(connection: Connection, ids: Iterable[int] | None, *conditions: ColumnElement[bool]) -> list[Row[Any]]:
    """What is chosen of these deliveries, each with its whole message, or of all."""
    if ids is None:
        return _locked(connection, *conditions)
    parts = batches(outbox.whole_messages(connection, list(ids)))
    return [row for part in parts for row in _locked(connection, *conditions, _d.id.in_(part))]


def _silent(connection: Connection, receiver: Receiver, rows: Rows) -> dict[int, list[Row[Any]]]:
    """By event, this receiver's deliveries beside these rows that are dead or suppressed."""
    own = {row.id for row in rows}
    found: dict[int, list[Row[Any]]] = {}
    for part in batches(sorted({row.event_id for row in rows})):
        chosen = (_d.event_id.in_(part), _d.receiver == receiver.name, _d.state.in_((_DEAD, "suppressed")))
        for row in _locked(connection, *chosen):
            if row.id not in own:
                found.setdefault(row.event_id, []).append(row)
    return found


def _others(connection: Connection, rows: Rows) -> dict[int, list[Row[Any]]]:
    """By event, its deliveries but for these rows."""
    own = {row.id for row in rows}
    found: dict[int, list[Row[Any]]] = {}
    for part in batches(sorted({row.event_id for row in rows})):
        for row in connection.execute(_rows(_d.event_id.in_(part))).all():
            if row.id not in own:
                found.setdefault(row.event_id, []).append(row)
    return found


def _is_there(others: Mapping[int, Rows], row: Row[Any], target: Target) -> bool:
    return (target.channel, target.digest) in {(other.channel, other.target) for other in others.get(row.event_id, ())}


def _hearing(others: Mapping[int, Rows], row: Row[Any], sent_again: Collection[int]) -> set[str]:
    """Who has been told of this row's event by another delivery, or is to be told by it when it is sent again."""
    there = others.get(row.event_id, ())
    told = [other for other in there if other.state in TOLD]
    dead = [other for other in there if other.state == _DEAD and other.turn == row.turn]
    return _people([*told, *(other for other in dead if other.id in sent_again or other.receiver == row.receiver)])


def _people(rows: Rows) -> set[str]:
    return {address for row in rows for address in addressees.known(row.address)}


def _to(target: Target) -> dict[str, str]:
    return {"channel": target.channel, "address": target.address, "target": target.digest}
