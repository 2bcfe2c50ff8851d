"""Who gets which mail: one for each person, whichever and however many addresses the failures of a run have.

The tasks of a run may each name other addresses, and so may the run itself. Told together, their alerts are not sorted
by lists of addresses, or whoever is on two lists would have two mails about the same wave: they are sorted by people.
Those who are to hear of the same alerts get one mail, with all of them as its recipients.

A delivery is of one alert to one list of addresses. Where people on its list get different mails, it is taken apart
into one delivery for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, select, update

from alerting import addressees
from alerting.database import batches, insert_new
from alerting.routes import EMAIL, Target
from alerting.tables import alert_delivery

_d: Final = alert_delivery.c
Addresses: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """A delivery that waits in a group. ``target`` stands for its addresses."""

    id: int
    event_id: int
    channel: str
    target: str


def one_mail_each(connection: Connection, members: Sequence[Member]) -> list[Member]:
    """The deliveries of a wave so that those with the same target are one message, and nobody has two mails.

    Rows are changed and added where people on one list are to get different mails. Follow-ups, which say why they
    come, stay as they are, and so does a delivery whose parts are there already.
    """
    mails = [member for member in members if member.channel == EMAIL]
    if len({member.target for member in mails}) < 2:
        return list(members)
    rows = _plain_rows(connection, [member.id for member in mails])
    there = _there(connection, sorted({row["event_id"] for row in rows.values()}))
    parts = by_people({key: _addresses(row) for key, row in rows.items()})
    while taken := {key for key, lists in parts.items() if _is_taken(rows[key], lists, there)}:
        rows = {key: row for key, row in rows.items() if key not in taken}
        parts = by_people({key: _addresses(row) for key, row in rows.items()})
    apart = {key: lists for key, lists in parts.items() if lists != [_addresses(rows[key])]}
    if not apart:
        return list(members)
    _take_apart(connection, rows, apart)
    found = _members(connection, [(rows[key], part) for key, lists in apart.items() for part in lists])
    return sorted([*(member for member in members if member.id not in apart), *found], key=lambda member: member.id)


def _plain_rows(connection: Connection, ids: Sequence[int]) -> dict[int, Mapping[str, Any]]:
    """Those of these deliveries that are told for the first time, and where a route led.

    One whose addresses cannot be read stays as it is: who would send it says so.
    """
    rows: dict[int, Mapping[str, Any]] = {}
    for batch in batches(ids):
        chosen = (_d.id.in_(batch), _d.turn == 0, _d.note.is_(None))
        query = select(alert_delivery).where(*chosen).order_by(_d.id)
        found = {row["id"]: row for row in connection.execute(query).mappings()}
        rows |= {key: row for key, row in found.items() if addressees.known(row["address"])}
    return rows


def _addresses(row: Mapping[str, Any]) -> Addresses:
    return addressees.known(row["address"])


def _there(connection: Connection, event_ids: Sequence[int]) -> dict[tuple[int, str], int]:
    """The mail deliveries that these events have, by event and target."""
    found: dict[tuple[int, str], int] = {}
    for batch in batches(event_ids):
        chosen = (_d.channel == EMAIL, _d.event_id.in_(batch))
        query = select(_d.event_id, _d.target, _d.id).where(*chosen)
        found |= {(row.event_id, row.target): row.id for row in connection.execute(query)}
    return found


def by_people(lists: Mapping[int, Addresses]) -> dict[int, list[Addresses]]:
    """For each delivery the lists that its own is taken apart into: of people with the same deliveries."""
    told: dict[str, list[int]] = {}
    for key, addresses in lists.items():
        for address in dict.fromkeys(addresses):
            told.setdefault(address, []).append(key)
    people: dict[tuple[int, ...], list[str]] = {}
    for address, keys in told.items():
        people.setdefault(tuple(keys), []).append(address)
    parts: dict[int, list[Addresses]] = {key: [] for key in lists}
    for deliveries, group in people.items():
        for key in deliveries:
            parts[key].append(tuple(group))
    return parts


def _is_taken(row: Mapping[str, Any], lists: Sequence[Addresses], there: Mapping[tuple[int, str], int]) -> bool:
    """Whether another delivery of the same event has the addresses of one of its parts."""
    places = [(row["event_id"], _target(row, addresses).digest) for addresses in lists]
    return any(there.get(place, row["id"]) != row["id"] for place in places)


def _take_apart(
    connection: Connection, rows: Mapping[int, Mapping[str, Any]], apart: Mapping[int, Sequence[Addresses]]
) -> None:
    """The first part stays in the row, the others get rows like it."""
    added: list[dict[str, Any]] = []
    for key, (first, *others) in apart.items():
        connection.execute(update(alert_delivery).where(_d.id == key).values(_to(rows[key], first)))
        like_it = {name: value for name, value in rows[key].items() if name != "id"}
        added += [like_it | _to(rows[key], addresses) for addresses in others]
    statement = insert_new(connection, alert_delivery, "event_id", "channel", "target")
    for batch in batches(added):
        connection.execute(statement.values(batch))


def _target(row: Mapping[str, Any], addresses: Addresses) -> Target:
    return Target(EMAIL, addresses, receiver=row["receiver"])


def _to(row: Mapping[str, Any], addresses: Addresses) -> dict[str, str]:
    target = _target(row, addresses)
    return {"address": target.address, "target": target.digest}


def _members(connection: Connection, wanted: Sequence[tuple[Mapping[str, Any], Addresses]]) -> list[Member]:
    """The rows of these parts of deliveries."""
    found = _there(connection, sorted({row["event_id"] for row, _ in wanted}))
    targets = [(row["event_id"], _target(row, addresses).digest) for row, addresses in wanted]
    return [Member(found[event_id, digest], event_id, EMAIL, digest) for event_id, digest in targets]
