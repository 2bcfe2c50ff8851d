"""An event that cannot be routed holds up no other one, is not lost, and people are told of it: on every database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import DataError, OperationalError, SQLAlchemyError, StatementError

from alerting import failing, outbox
from alerting.addressees import ROUTING
from alerting.config import read
from alerting.database import transact
from alerting.deliver import Deliverer
from alerting.events import AlertEvent, decode
from alerting.kinds import EventKind
from alerting.render import Renderer
from alerting.routes import Plan
from alerting.routing import Grouping
from alerting.tables import alert_delivery, alert_event
from tests.contract.alerting.conftest import MINUTE, NOW
from tests.contract.alerting.mailbox import Mail
from tests.integration.alerting.running import Meter, Running, at_work, history, record

EventMaker = Callable[..., AlertEvent]
FILE = """\
receivers: {ops: {email: ops@example.org}}
route: {receiver: ops, routes: [{matchers: dag=poisoned, receiver: ops, group_by: [dag]}]}
"""


def mended() -> Plan:
    return Plan(routing=read(FILE, Path("alerting.yml"), {}), failing_after=15 * MINUTE)


def a_plan() -> Plan:
    """What is routed to the group of one DAG raises OverflowError: no moment lies so far ahead."""
    plan = mended()
    assert plan.routing is not None
    (child,) = plan.routing.root.routes
    root = replace(plan.routing.root, routes=(replace(child, grouping=Grouping(("dag",), timedelta.max)),))
    return replace(plan, routing=replace(plan.routing, root=root))


def aside(engine: Engine) -> list[outbox.Entry]:
    return [entry for entry in history(engine) if entry.channel == ROUTING]


def set_aside(engine: Engine, event: AlertEvent) -> None:
    record(engine, event)
    with engine.begin() as connection:
        (key,) = outbox.unrouted(connection, 10)
        assert outbox.set_aside(connection, NOW, key, "it cannot be routed")
        assert failing.unroutable(connection, NOW, key, "it cannot be routed")


def test_what_one_event_raises_is_dead_with_its_reason_and_the_others_are_told(
    engine: Engine, an_event: EventMaker
) -> None:
    record(engine, an_event(1), an_event(2, dag_id="poisoned"), an_event(3))
    mail, world = Mail(), Running(engine, Meter())
    deliverer = Deliverer(engine, [mail], Renderer(lambda *_: [], str), a_plan(), meter=world.meter, poll_seconds=0.1)
    with at_work(deliverer, world):
        world.until(delivered=3, dead=1)
    (dead,) = aside(engine)
    assert (dead.dag_id, dead.state) == ("poisoned", "dead")
    assert dead.error is not None
    assert dead.error.startswith("it cannot be routed: unexpected OverflowError in groups.py, line ")
    assert world.meter.counts[f"alerts.dead,channel={ROUTING}"] == 1
    (told,) = [text for text in mail.got if "Nobody was told of alert" in text]
    assert f"alert {dead.event_id}: it cannot be routed" in told


def test_an_event_that_this_version_cannot_read_is_dead_and_told_after_the_upgrade(
    engine: Engine, an_event: EventMaker
) -> None:
    record(engine, an_event(1, dag_id="newer"), an_event(2))
    newer = alert_event.c.dag_id == "newer"
    with engine.begin() as connection:
        written = connection.execute(select(alert_event.c.payload).where(newer)).scalar_one()
        connection.execute(update(alert_event).where(newer).values(kind="from_2031", payload='{"kind": "from_2031"}'))
    mail, world = Mail(), Running(engine, Meter())
    plan = mended()
    deliverer = Deliverer(engine, [mail], Renderer(lambda *_: [], str), plan, meter=world.meter, poll_seconds=0.1)
    with at_work(deliverer, world):
        world.until(delivered=2, dead=1)  # the other one, and the news of this one
    (dead,) = aside(engine)
    why = "it cannot be routed: this version cannot read the event; upgrade, then replay"
    assert (dead.dag_id, dead.error) == ("newer", why)
    assert len([text for text in mail.got if f"Nobody was told of alert {dead.event_id}: {why}" in text]) == 1
    with engine.begin() as connection:
        connection.execute(update(alert_event).where(newer).values(kind="task_failed", payload=written))
        assert outbox.replay(connection, NOW, timedelta(days=1)) == 1
        assert outbox.route(connection, NOW, plan) == outbox.Routed((EventKind.TASK_FAILED,), ("email",))
    assert not aside(engine)


def test_no_event_is_set_aside_for_an_older_delivery_that_cannot_be_read(engine: Engine, an_event: EventMaker) -> None:
    plan = Plan()
    record(engine, an_event(1))
    transact(engine, lambda connection, now: outbox.route(connection, now, plan))
    with engine.begin() as connection:
        connection.execute(update(alert_delivery).values(address="{"))
    record(engine, an_event(2))
    subject = Deliverer(engine, [Mail()], Renderer(lambda *_: [], str), plan)
    (lane,) = subject._lanes.values()
    lane.start()  # it has a thread to spare, so what is due is leased while it is routed
    try:
        subject._route()
    finally:
        lane.close(20)
    with engine.begin() as connection:
        channels = connection.execute(select(alert_delivery.c.channel).order_by(alert_delivery.c.id)).scalars().all()
    assert channels == ["email", "email"]


def test_what_was_set_aside_is_routed_anew_by_a_replay(engine: Engine, an_event: EventMaker) -> None:
    set_aside(engine, an_event(1, dag_id="poisoned"))
    ids = [entry.delivery_id or 0 for entry in aside(engine)]
    with engine.begin() as connection:
        assert outbox.replay(connection, NOW + MINUTE, timedelta(days=1), [*ids, 0]) == 1
        assert outbox.replay(connection, NOW + MINUTE, timedelta(days=1)) == 0
        assert outbox.route(connection, NOW + MINUTE, mended()).kinds
    assert not aside(engine)
    assert ("ops", "waiting") in [(entry.receiver, entry.state) for entry in history(engine)]


def test_the_trouble_lasts_until_nothing_is_left_that_could_not_be_routed(engine: Engine, an_event: EventMaker) -> None:
    set_aside(engine, an_event(1))
    with engine.begin() as connection:
        assert failing.look(connection, NOW + timedelta(days=1), 15 * MINUTE, ["email"]) == 0
        outbox.replay(connection, NOW, timedelta(days=1))
        outbox.route(connection, NOW, mended())
        assert failing.look(connection, NOW, 15 * MINUTE, ["email"]) == 1
    assert EventKind.DELIVERY_RECOVERED in [entry.kind for entry in history(engine)]


def test_a_replay_while_the_fault_lasts_does_not_end_the_trouble(engine: Engine, an_event: EventMaker) -> None:
    set_aside(engine, an_event(1))
    with engine.begin() as connection:
        outbox.route(connection, NOW, mended())  # the news of it
        outbox.replay(connection, NOW, timedelta(days=1))
        assert failing.look(connection, NOW, 15 * MINUTE, ["email"]) == 0
        (key,) = outbox.unrouted(connection, 10)
        assert outbox.set_aside(connection, NOW, key, "it cannot be routed")
        assert not failing.unroutable(connection, NOW, key, "it cannot be routed")


def test_whoever_is_told_of_it_is_told_what_helps(engine: Engine, an_event: EventMaker) -> None:
    set_aside(engine, an_event(1))
    with engine.begin() as connection:
        outbox.replay(connection, NOW, timedelta(days=1))
        outbox.route(connection, NOW, mended())
        assert failing.look(connection, NOW, 15 * MINUTE, ["email"]) == 1
        news = alert_event.c.kind.in_([EventKind.DELIVERY_FAILING.value, EventKind.DELIVERY_RECOVERED.value])
        payloads = connection.execute(select(alert_event.c.payload).where(news).order_by(alert_event.c.id)).scalars()
        begun, over = (event.summary for event in map(decode, payloads) if event is not None)
    assert begun is not None
    assert begun.endswith(
        "it cannot be routed. See `windsock alerts list --state dead`, and `windsock alerts replay` when it is mended."
    )
    assert over == "No alert is left that could not be routed."


def test_that_the_news_of_a_trouble_cannot_be_routed_is_no_news(engine: Engine) -> None:
    record(engine, AlertEvent(kind=EventKind.DELIVERY_FAILING, occurred_at=NOW, subject="chat"))
    with engine.begin() as connection:
        (key,) = outbox.unrouted(connection, 10)
        outbox.set_aside(connection, NOW, key, "it cannot be routed")
        assert not failing.unroutable(connection, NOW, key, "it cannot be routed")
        assert outbox.unrouted(connection, 10) == []


def test_what_somebody_else_has_routed_meanwhile_is_not_set_aside(engine: Engine, an_event: EventMaker) -> None:
    record(engine, an_event(1))
    with engine.begin() as connection:
        (key,) = outbox.unrouted(connection, 10)
        outbox.route(connection, NOW, mended())
        assert not outbox.set_aside(connection, NOW, key, "it cannot be routed")
    assert not aside(engine)


def test_a_receivers_name_may_hold_what_no_database_takes(engine: Engine, an_event: EventMaker) -> None:
    record(engine, an_event(1, kind=EventKind.NOTIFIED, receiver="ops\0\udcff"), an_event(2))
    with engine.begin() as connection:
        assert len(outbox.route(connection, NOW, mended()).kinds) == 2
    assert [entry.state for entry in history(engine)] == ["pending", "pending"]


@pytest.mark.parametrize(
    ("error", "at_fault"),
    [
        (OverflowError("date value out of range"), True),
        (DataError("INSERT", {}, Exception("NUL")), True),
        (StatementError("no time zone", "INSERT", {}, TypeError()), True),
        (OperationalError("SELECT", {}, Exception("server closed the connection")), False),
        (DataError("INSERT", {}, Exception("gone"), connection_invalidated=True), False),
        (SQLAlchemyError("no connection in the pool"), False),
        (ConnectionResetError("reset by peer"), False),
        (MemoryError(), False),
        (StatementError("no memory", "INSERT", {}, MemoryError()), False),
        (RecursionError("maximum recursion depth exceeded"), True),
        (RuntimeError("generator raised StopIteration"), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_a_database_that_is_away_or_a_machine_without_memory_is_no_fault_of_an_event(
    error: Exception, at_fault: bool
) -> None:
    assert outbox.is_at_fault(error) is at_fault
