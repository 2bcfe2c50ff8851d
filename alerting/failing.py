"""Channels that fail: told through the others, once while it lasts, and once when it is over.

A channel fails when a message for it is given up, or has waited for longer than the settings allow. It is well again
when it has accepted a message since then, and none waits for so long; one that is gone from the settings, when nothing
waits for it any more. What is told of this is no such message itself, so a failing pager cannot set off another alarm
about the failing pager.

What could not be routed is told under the name of a channel that does not exist, until it is replayed and routed. So
is what is put off, until nothing is left of it, nor was put off for longer than it takes to try it again; and a message
that nobody can read, until none was found for an hour.

A mail address that refuses what mail would take, for good or for as long as would make a channel fail, is a trouble of
its own, which mail tells to everybody else. It is over when that address has taken a message, and none waits for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, case, func, select

from alerting import addressees, outbox, putting_off, troubles
from alerting.addressees import ROUTING, TOGETHER, UNREADABLE
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.spans import span
from alerting.tables import alert_delivery, alert_event
from alerting.words import number_of

LOOK_BACK: Final = timedelta(hours=1)  # for what an address has taken: whoever looks does it much more often
NONE_UNREADABLE: Final = timedelta(hours=1)
NONE_PUT_OFF: Final = 2 * putting_off.PAUSE
_REPLAY: Final = "What was given up meanwhile: `windsock alerts replay`."
_SEE: Final = "See `windsock alerts list --state dead --state pending`, and `windsock alerts test` when it is mended."
_SEE_UNROUTED: Final = "See `windsock alerts list --state dead`, and `windsock alerts replay` when it is mended."
_SEE_PUT_OFF: Final = f"It is tried again every {span(putting_off.PAUSE)}, and told once whatever is wrong is mended."
_ABOUT_DELIVERY: Final = (EventKind.DELIVERY_FAILING, EventKind.DELIVERY_RECOVERED)
_d, _e = alert_delivery.c, alert_event.c


def is_about_delivery(event: AlertEvent | None) -> bool:
    """Whether its own fate is not told in turn."""
    return event is not None and event.kind in _ABOUT_DELIVERY


def gave_up(connection: Connection, now: datetime, channel: str, reason: str) -> bool:
    """A message for this channel is dead. In the transaction that buries it; whether that is news."""
    return _fails(connection, now, channel, f"A message through {channel} was given up: {reason.rstrip('.')}.")


def refused(connection: Connection, now: datetime, channel: str, reasons: Mapping[str, str]) -> int:
    """These addresses, each with its reason, take no message from a channel that others may well be reached through.

    In the transaction that writes the deaths down; returns how many of them are news.
    """
    by_subject = {addressees.subject_of(channel, address): reason.rstrip(".") for address, reason in reasons.items()}
    return sum(
        _fails(connection, now, subject, f"A message through {subject} was given up: {reason}.")
        for subject, reason in sorted(by_subject.items())
    )


def unroutable(connection: Connection, now: datetime, event_id: int, reason: str) -> bool:
    """Nobody was told of an event, since it could not be routed; whether that is news.

    In the transaction that sets it aside.
    """
    kind = connection.execute(select(_e.kind).where(_e.id == event_id)).scalar_one()
    if kind in _ABOUT_DELIVERY:
        return False
    summary = f"Nobody was told of alert {event_id}: {reason.rstrip('.')}."
    return _fails(connection, now, ROUTING, summary, _SEE_UNROUTED)


def unreadable(connection: Connection, now: datetime, delivery_id: int, reason: str) -> bool:
    """A message is dead, since nobody can read it; whether that is news. In the transaction that sets it aside."""
    query = select(_d.channel, _d.event_id, _e.kind).join(alert_event, _e.id == _d.event_id)
    row = connection.execute(query.where(_d.id == delivery_id)).one()
    if row.kind in _ABOUT_DELIVERY:
        return False
    summary = f"Nobody was told of alert {row.event_id} through {row.channel}: {reason.rstrip('.')}."
    is_news = _fails(connection, now, UNREADABLE, summary, _SEE_UNROUTED)
    if not is_news:
        troubles.renew(connection, now, EventKind.DELIVERY_FAILING, UNREADABLE)
    return is_news


def put_off(connection: Connection, now: datetime, what: str, reason: str) -> bool:
    """What is told together, or follows a message, cannot be told for now; whether that is news.

    In the transaction that puts it off.
    """
    is_news = _fails(connection, now, TOGETHER, f"Nobody can be told {what}: {reason.rstrip('.')}.", _SEE_PUT_OFF)
    if not is_news:
        troubles.renew(connection, now, EventKind.DELIVERY_FAILING, TOGETHER)
    return is_news


def look(connection: Connection, now: datetime, failing_after: timedelta, channels: Collection[str]) -> int:
    """Tell channels for which messages wait for too long, and those that are well again; returns how many events.

    ``channels`` are those that the settings name.
    """
    waiting = _long_waiting(connection, now - failing_after)
    failing = troubles.since(connection, [EventKind.DELIVERY_FAILING])
    told = 0
    for subject, oldest in sorted(waiting.items()):
        if (EventKind.DELIVERY_FAILING, troubles.key_of(subject)) not in failing:
            waited = number_of(max(1, round((now - oldest).total_seconds() / 60)), "minute")
            told += _fails(connection, now, subject, f"A message has waited for {subject} for {waited}.")
    still = {troubles.key_of(subject) for subject in waiting}
    for (_, subject), since in sorted(failing.items()):
        channel, address = addressees.parts(subject)
        if subject in still:
            continue
        if address is not None:
            if _has_reached(connection, channel, address, max(since, now - LOOK_BACK)):
                told += _recovered(connection, now, subject, f"{address} takes messages again.")
        elif channel == ROUTING:
            if not _has_dead(connection, channel) and not outbox.unrouted(connection, 1):
                told += _recovered(connection, now, channel, "No alert is left that could not be routed.", "")
        elif channel == TOGETHER:
            if since < now - NONE_PUT_OFF and not putting_off.is_any_left(connection):
                told += _recovered(connection, now, channel, "No group or follow-up is put off any more.", "")
        elif channel == UNREADABLE:
            if since < now - NONE_UNREADABLE:
                why = f"No unreadable message was found for {span(NONE_UNREADABLE)}."
                told += _recovered(connection, now, channel, why)
        elif channel not in channels and not _is_waited_for(connection, channel):
            told += _recovered(connection, now, channel, f"{channel} is no longer in the settings.")
        elif has_accepted(connection, channel, since):
            told += _recovered(connection, now, channel, f"{channel} accepts messages again.")
    return told


def _long_waiting(connection: Connection, before: datetime) -> dict[str, datetime]:
    """Channels with a message that was to be sent before that moment, and the oldest of them.

    Where its addresses alone do not take it, these instead of the channel.
    """
    addresses = case((_d.held_by == outbox.ADDRESSEE, _d.address), else_="")
    query = (
        select(_d.channel, addresses.label("addresses"), func.min(_d.waiting_since).label("oldest"))
        .join(alert_event, _e.id == _d.event_id)
        .where(_d.state.in_(("pending", "sending")), _d.waiting_since <= before, _e.kind.not_in(_ABOUT_DELIVERY))
        .group_by(_d.channel, "addresses")
    )
    found: dict[str, datetime] = {}
    for row in connection.execute(query):
        refusing = addressees.known(row.addresses)
        for subject in [addressees.subject_of(row.channel, address) for address in refusing] or [row.channel]:
            found[subject] = min(row.oldest, found.get(subject, row.oldest))
    return found


def _has_dead(connection: Connection, channel: str) -> bool:
    query = select(_d.id).where(_d.channel == channel, _d.state == "dead")
    return connection.execute(query.limit(1)).first() is not None


def has_accepted(connection: Connection, channel: str, since: datetime) -> bool:
    """Whether this channel has taken a message since then."""
    accepted = (_d.channel == channel, _d.state == "delivered", _d.delivered_at > since)
    return connection.execute(select(_d.id).where(*accepted).limit(1)).first() is not None


def _has_reached(connection: Connection, channel: str, address: str, since: datetime) -> bool:
    """Whether this address has taken a message since then."""
    accepted = (_d.channel == channel, _d.state == "delivered", _d.delivered_at > since)
    names = _d.address.contains(addressees.encoded([address])[1:-1], autoescape=True)
    return connection.execute(select(_d.id).where(*accepted, names).limit(1)).first() is not None


def _is_waited_for(connection: Connection, channel: str) -> bool:
    is_open = (_d.channel == channel, _d.due_at.is_not(None))
    return connection.execute(select(_d.id).where(*is_open).limit(1)).first() is not None


def _fails(connection: Connection, now: datetime, subject: str, summary: str, advice: str = _SEE) -> bool:
    if not troubles.begin(connection, now, EventKind.DELIVERY_FAILING, subject):
        return False
    return bool(outbox.record(connection, [_event(EventKind.DELIVERY_FAILING, now, subject, f"{summary} {advice}")]))


def _recovered(connection: Connection, now: datetime, subject: str, why: str, advice: str = _REPLAY) -> int:
    if not troubles.end(connection, EventKind.DELIVERY_FAILING, [subject]):
        return 0
    summary = f"{why} {advice}".rstrip()
    return outbox.record(connection, [_event(EventKind.DELIVERY_RECOVERED, now, subject, summary)])


def _event(kind: EventKind, now: datetime, subject: str, summary: str) -> AlertEvent:
    return AlertEvent(kind=kind, occurred_at=now, subject=subject, summary=summary)
