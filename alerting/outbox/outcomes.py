"""Outcomes: what becomes of a delivery that somebody had leased, one of confirm, retry, release and bury."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, update

from alerting.channels import Refusal
from alerting.database import batches, insert_new
from alerting.outbox.deliveries import ADDRESSEE, DeliveryState, row_of, unite
from alerting.outbox.leasing import Lease
from alerting.routes import Target
from alerting.tables import alert_delivery

_d: Final = alert_delivery.c
_DONE: Final = {"state": DeliveryState.DELIVERED.value, "token": None, "due_at": None, "error": None, "held_by": None}
_CONFIRM: Final = (
    update(alert_delivery)
    .where(
        _d.id == bindparam("delivery"),
        _d.channel == bindparam("there"),
        _d.address == bindparam("whom"),
        _d.state != DeliveryState.DELIVERED,
    )
    .values(delivered_at=bindparam("accepted_at"), **_DONE)
)


def confirm(
    connection: Connection,
    lease: Lease,
    now: datetime,
    *,
    later: Sequence[Refusal] = (),
    never: Sequence[Refusal] = (),
    again_at: datetime | None = None,
) -> bool:
    """The receiver has accepted it. False where it is confirmed already, and nothing is changed.

    Nor where it goes elsewhere meanwhile, by replay(): they have not accepted it there.

    That counts also after the lease: what was accepted is not to be sent again, whoever holds it now or gave it up. The
    holder's token is taken away, so his outcome changes nothing.

    Mail addresses that refused while others accepted live on in rows of their own, dead or to be tried ``again_at``,
    so that those who have it are not written to again and those who have not are not forgotten. The row that was
    accepted names those who have it: only they hear of its end.
    """
    refused = [*later, *never]
    address = {"address": _of_those_who_have_it(lease, refused)} if refused else {}
    whom = Target(lease.channel, lease.addresses).address
    guard = {"delivery": lease.id, "there": lease.channel, "whom": whom, "accepted_at": now}
    if connection.execute(_CONFIRM.values(address) if refused else _CONFIRM, guard).rowcount != 1:
        return False
    for refusal in later:
        _keep_refused(connection, lease, refusal, DeliveryState.PENDING, again_at or now)
    for refusal in never:
        _keep_refused(connection, lease, refusal, DeliveryState.DEAD, None)
    _settle_others(connection, lease, delivered_at=now, **_DONE, **address)
    return True


def _of_those_who_have_it(lease: Lease, refusals: Sequence[Refusal]) -> str:
    refused = {address for refusal in refusals for address in refusal.addresses}
    return Target(lease.channel, tuple(address for address in lease.addresses if address not in refused)).address


def _keep_refused(
    connection: Connection, lease: Lease, refusal: Refusal, state: DeliveryState, due_at: datetime | None
) -> None:
    """Rows for the addresses that refused; those of a wave are a wave again."""
    row = row_of(
        Target(lease.channel, refusal.addresses, receiver=lease.receiver, turn=lease.turn),
        *(state, due_at, refusal.reason),
    )
    row |= {"attempts": lease.attempts, "give_up_at": lease.give_up_at, "held_by": ADDRESSEE}
    members = (_d.id == lease.id,) if lease.wave is None else (_d.wave == lease.wave,)
    origins = connection.execute(
        select(*(_d.event_id, _d.created_at, _d.waiting_since), *(_d.receiver, _d.group_id, _d.origin, _d.note))
        .where(*members)
        .order_by(_d.id)
    ).mappings()
    rows = [row | dict(origin) for origin in origins]
    for part in batches(rows):
        statement = insert_new(connection, alert_delivery, "event_id", "channel", "target")
        connection.execute(statement.values(part))
    if lease.wave is not None:
        unite(connection, lease.channel, row["target"], [origin["event_id"] for origin in rows], state)


def _settle_others(connection: Connection, lease: Lease, **values: Any) -> None:
    """The outcome of a message is that of every event which it tells of."""
    if lease.wave is not None:
        others = (_d.wave == lease.wave, _d.id != lease.wave, _d.state == DeliveryState.WAITING.value)
        connection.execute(update(alert_delivery).where(*others).values(**values))


def retry(connection: Connection, lease: Lease, due_at: datetime, error: str, *, by_addressees: bool = False) -> bool:
    """It failed and is tried again at ``due_at``; ``by_addressees``: its addresses alone refuse it.

    False where the lease was lost.
    """
    held_by = ADDRESSEE if by_addressees else None
    return _settle(connection, lease, DeliveryState.PENDING, due_at=due_at, error=error, held_by=held_by)


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
