"""A silence leaves out whoever comes next, also where that receiver escalates itself: on every database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from alerting import fallbacks, follow_ups, outbox, silences
from alerting.config import read
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.matchers import parse_matcher
from alerting.routes import Origin, Plan, SuppressedBy
from alerting.telling import Told
from tests.contract.alerting.conftest import MINUTE, NOW, followed
from tests.contract.alerting.following import delivered, history, recorded, rows, told_to
from tests.contract.alerting.mailbox import Mail
from tests.contract.alerting.test_unreadable import a_deliverer

EventMaker = Callable[..., AlertEvent]
RULES = """
receivers:
  ops: {email: ops@example.org, escalate: {after: 10m, to: lead}, fallback: {to: lead, after: 5m}}
  lead: {email: lead@example.org, escalate: {after: 10m, to: boss}}
  boss: {email: boss@example.org}
route: {receiver: ops}
"""
CHAIN = Plan(routing=read(RULES, Path("alerting.yml"), {}), failing_after=15 * MINUTE)
NIGHT = timedelta(hours=8)
SILENCED = Told((), (), (SuppressedBy.SILENCE,))


def silenced(engine: Engine, ends_at: datetime = NOW + NIGHT) -> None:
    """What task t1 does is known."""
    with engine.begin() as connection:
        silences.add(
            connection, NOW, [parse_matcher("task=t1")], author="alice", comment="known", starts_at=NOW, ends_at=ends_at
        )


def died(connection: Connection) -> Told | None:
    """The mail to ops is refused for good, and what follows its death is done."""
    (lease,) = outbox.lease(connection, NOW, MINUTE, 1, ["email"])
    assert outbox.bury(connection, lease, "550 no such user")
    (step,) = fallbacks.note(connection, NOW, CHAIN, [lease.id])
    return follow_ups.follow_up(connection, NOW, CHAIN, only=step)


def stranded(connection: Connection) -> Told | None:
    """Mail has been down for longer than ops lets it wait."""
    found = fallbacks.stranded(connection, CHAIN, "email", 6 * MINUTE, NOW)
    return fallbacks.fall_back_all(connection, NOW, CHAIN, found)


def test_an_escalation_to_a_receiver_that_escalates_is_left_out_and_nobody_is_woken_when_the_silence_ends(
    engine: Engine, an_event: EventMaker
) -> None:
    recorded(engine, CHAIN, NOW, an_event(1))
    delivered(engine, CHAIN, NOW)
    silenced(engine)
    assert followed(engine, CHAIN, NOW + 11 * MINUTE) == SILENCED
    assert [(row.receiver, row.state, row.held_by) for row in rows(engine)] == [
        ("ops", "delivered", None),
        ("lead", "suppressed", "silence"),
    ]
    assert followed(engine, CHAIN, NOW + 2 * NIGHT) is None


@pytest.mark.parametrize(("falls_back", "state"), [(died, "dead"), (stranded, "pending")], ids=["died", "stranded"])
def test_a_fallback_to_a_receiver_that_escalates_is_left_out_and_nobody_is_woken_when_the_silence_ends(
    engine: Engine, an_event: EventMaker, falls_back: Callable[[Connection], Told | None], state: str
) -> None:
    recorded(engine, CHAIN, NOW, an_event(1))
    silenced(engine)
    with engine.begin() as connection:
        assert falls_back(connection) == SILENCED
    assert [(row.receiver, row.state, row.held_by, row.fell_back_to) for row in rows(engine)] == [
        ("ops", state, None, "lead"),
        ("lead", "suppressed", "silence", None),
    ]
    assert followed(engine, CHAIN, NOW + 2 * NIGHT) is None


def test_what_is_not_silenced_goes_on_in_the_same_turn(engine: Engine, an_event: EventMaker) -> None:
    recorded(engine, CHAIN, NOW, an_event(1), an_event(2))
    delivered(engine, CHAIN, NOW)
    silenced(engine)
    assert followed(engine, CHAIN, NOW + 11 * MINUTE) == Told((Origin.ESCALATION,), ("email",)) + SILENCED
    assert told_to(engine) == {("ops", "delivered"): 2, ("lead", "suppressed"): 1, ("lead", "pending"): 1}


def test_a_silenced_escalation_raises_no_alarm(engine: Engine, an_event: EventMaker) -> None:
    recorded(engine, CHAIN, NOW, an_event(1))
    delivered(engine, CHAIN, NOW)
    silenced(engine, NOW + timedelta(days=4_000))
    deliverer, _ = a_deliverer(engine, Mail(), CHAIN)
    deliverer._follow_up()
    assert EventKind.DELIVERY_FAILING not in [entry.kind for entry in history(engine)]
    assert told_to(engine) == {("ops", "delivered"): 1, ("lead", "suppressed"): 1}
