"""Who was told and what came of it, in words: for lists in the terminal and on pages. Nothing here is markup."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from alerting.kinds import EventKind
from alerting.outbox import DeliveryState, Entry
from alerting.routes import EMAIL, Origin
from alerting.state_words import shown

Rooms: TypeAlias = Callable[[str], str]  # what may be shown of a channel's URL, by its name; "" where nothing may

_BY_ORIGIN: Final[Mapping[str, str]] = {
    Origin.ESCALATION: "escalated",
    Origin.REPEAT: "told again",
    Origin.FALLBACK: "as the fallback",
    Origin.RESOLVED: "the end",
}


def receiver_of(entry: Entry) -> str:
    """The receiver of alerting.yml, or who else had a say in it."""
    if entry.receiver:
        return entry.receiver
    if entry.channel == EMAIL:
        return "the command" if entry.kind == EventKind.TEST else "task's email"
    return "settings" if entry.channel else "nobody"


def way_of(entry: Entry, rooms: Rooms) -> str:
    """The channel, and where it leads: ``email ops@example.org``, ``ops-room (slack://********)``; empty for nobody."""
    if not entry.channel:
        return ""
    room = rooms(entry.channel)
    return " ".join(part for part in (entry.channel, ", ".join(entry.addresses), room and f"({room})") if part)


def tries(count: int) -> str:
    """``1 attempt``, ``5 attempts``."""
    return f"{count} {'attempt' if count == 1 else 'attempts'}"


def remarks(entry: Entry, siblings: Sequence[Entry]) -> str:
    """Why it was told where no route led, what it waits for, what went wrong, and what follows it.

    ``siblings`` are all deliveries of the same alert.
    """
    return "; ".join(_remarks(entry, siblings))


def _remarks(entry: Entry, siblings: Sequence[Entry]) -> Iterator[str]:
    if entry.origin is not None:
        yield _BY_ORIGIN.get(entry.origin, entry.origin)  # another version may know more of them
    yield from _held(entry)
    if entry.error:
        yield entry.error
    yield from entry.put_off
    yield from fallback(entry, siblings)


def _held(entry: Entry) -> Iterator[str]:
    """What makes it wait on purpose, and until when, as far as that is known."""
    if entry.held_until is None:
        return
    until = f"{entry.held_until:%m-%d %H:%M:%S} UTC"
    if entry.state == DeliveryState.WAITING:
        yield f"waits for its group, which is told at {until}"
    else:
        yield f"waits for the rate of {entry.channel}, until {until}"


def fallback(entry: Entry, siblings: Sequence[Entry]) -> Iterator[str]:
    """What became of the fallback of a delivery: who was told instead, and who had heard of it before."""
    to = entry.fell_back_to
    if to is None:
        return
    instead = [one for one in siblings if one.origin == Origin.FALLBACK and one.receiver == to]
    instead = [one for one in instead if one.delivery_id not in entry.heard_before]
    before = [one for one in siblings if one.delivery_id in entry.heard_before]
    yield from (f"its fallback {to}: {one.number} ({shown(one.state, one.channel).words})" for one in instead)
    yield from (_heard(to, entry, one) for one in before)
    if not instead and not before:
        yield f"its fallback {to} has no way to be told of this"


def _heard(to: str, entry: Entry, before: Entry) -> str:
    if before.delivery_id == entry.delivery_id:
        return f"its fallback {to} would be told by the same way"
    if before.state == DeliveryState.DELIVERED:
        return f"its fallback {to} had heard of it already: {before.number}"
    return f"its fallback {to} is not told twice: {before.number} is {shown(before.state, before.channel).words}"
