"""A fallback that cannot be told undoes no outcome and holds up no other one: on every database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from alerting import fallbacks, follow_ups, outbox, putting_off
from alerting.channels import Channel, Delivered, Failure, Message, Outcome, Permanent, Refusal
from alerting.config import read
from alerting.database import transact
from alerting.deliver import Deliverer
from alerting.events import AlertEvent, decode
from alerting.kinds import EventKind
from alerting.lanes import Worker
from alerting.putting_off import PAUSE
from alerting.render import Renderer
from alerting.routes import Origin, Plan
from alerting.routing import Escalation
from alerting.tables import alert_delivery, alert_event, alert_follow_up
from alerting.telling import Told
from tests.contract.alerting.conftest import MINUTE, NOW
from tests.integration.alerting.running import NoMail, history, record

EventMaker = Callable[..., AlertEvent]
RULES = """
channels: {room: 'json://127.0.0.1:9/'}
receivers:
  ops: {channels: room, fallback: {to: lead, after: 5m}}
  night: {channels: room, fallback: {to: owl, after: 5m}}
  team: {email: [good@example.org, gone@example.org], fallback: owl}
  owl: {email: owl@example.org, escalate: {after: 10m, to: lead}}
  lead: {email: lead@example.org}
route:
  receiver: ops
  routes: [{matchers: dag=nightly, receiver: night}, {matchers: dag=weekly, receiver: team}]
"""
WHOLE = Plan(routing=read(RULES, Path("alerting.yml"), {}), failing_after=15 * MINUTE)
_d, _e, _f = alert_delivery.c, alert_event.c, alert_follow_up.c


def spoilt() -> Plan:
    """owl cannot be told: no moment lies as far ahead as the escalation from there."""
    routing = WHOLE.routing
    assert routing is not None
    owl = replace(routing.receivers["owl"], escalate=Escalation(timedelta.max, "lead"))
    return replace(WHOLE, routing=replace(routing, receivers={**routing.receivers, "owl": owl}))


class Answering:
    """Gives the same answer to each message, and counts them."""

    concurrency = 1

    def __init__(self, name: str, answer: Outcome) -> None:
        self.name = name
        self.answer = answer
        self.asked = 0

    def send(self, _message: Message) -> Outcome:
        self.asked += 1
        return self.answer


def deliverer(engine: Engine, *channels: Channel) -> Deliverer:
    return Deliverer(engine, channels, Renderer(lambda *_: [], str), spoilt())


def send_next(subject: Deliverer, channel: str) -> bool:
    """What a thread of its lane does; whether there was a message."""
    return subject._sender.deliver_next(subject._lanes[channel], Worker())


def put_aside(engine: Engine, *events: AlertEvent, **values: object) -> None:
    """These are routed, and their deliveries are so."""
    record(engine, *events)
    transact(engine, lambda connection, now: outbox.route(connection, now, WHOLE))
    with engine.begin() as connection:
        if values:
            connection.execute(update(alert_delivery).values(values))


def alarms(engine: Engine) -> list[str]:
    with engine.begin() as connection:
        failing = select(_e.payload).where(_e.kind == EventKind.DELIVERY_FAILING.value)
        found = [decode(payload) for payload in connection.execute(failing).scalars()]
    return [event.summary or "" for event in found if event is not None]


def of_receiver(engine: Engine, name: str) -> list[outbox.Entry]:
    return [entry for entry in history(engine) if entry.receiver == name]


def test_what_is_refused_for_good_is_dead_though_its_fallback_cannot_be_told(
    engine: Engine, an_event: EventMaker
) -> None:
    put_aside(engine, an_event(1, dag_id="nightly"))
    room = Answering("room", Permanent(Failure.REJECTED, "error 400"))
    subject = deliverer(engine, NoMail(), room)
    assert send_next(subject, "room")
    (dead,) = of_receiver(engine, "night")
    assert (dead.state, room.asked) == ("dead", 1)
    assert dead.error == "error 400"
    (put_off,) = dead.put_off
    assert put_off.startswith("its fallback cannot be told: unexpected OverflowError in ")
    assert any(summary.startswith("Nobody can be told the fallback of alert") for summary in alarms(engine))
    with engine.begin() as connection:
        later = connection.execute(select(_f.due_at)).scalar_one()
        assert follow_ups.follow_up(connection, later - MINUTE, WHOLE) is None
        assert follow_ups.follow_up(connection, later, WHOLE) == Told((Origin.FALLBACK,), ("email",))
        note = connection.execute(select(_d.note).where(_d.receiver == "owl")).scalar_one()
    assert note == "Meant for night, which could not be told through room: error 400"


def test_who_has_a_mail_does_not_get_it_again_since_the_fallback_of_others_cannot_be_told(
    engine: Engine, an_event: EventMaker
) -> None:
    put_aside(engine, an_event(1, dag_id="weekly"))
    mail = Answering("email", Delivered(never=(Refusal(("gone@example.org",), "550 no such user"),)))
    subject = deliverer(engine, mail, Answering("room", Delivered()))
    assert send_next(subject, "email")
    assert [(entry.state, entry.addresses) for entry in of_receiver(engine, "team")] == [
        ("delivered", ("good@example.org",)),
        ("dead", ("gone@example.org",)),
    ]


def test_what_waits_in_vain_and_cannot_fall_back_holds_up_nothing(engine: Engine, an_event: EventMaker) -> None:
    long_ago = {"attempts": 3, "error": "busy", "waiting_since": NOW}
    put_aside(engine, an_event(1, dag_id="nightly"), an_event(2), **long_ago)
    subject = deliverer(engine, NoMail(), Answering("room", Delivered()))
    for _ in range(2):
        subject._measure(busy=False)
        subject._gauges_due = 0.0
    assert [entry.task_id for entry in of_receiver(engine, "lead")] == ["t2"]
    about_room, about_fallback = alarms(engine)
    assert about_room.startswith("A message has waited for room for ")
    assert about_fallback.startswith("Nobody can be told the fallback of alert ")


def test_of_many_that_wait_in_vain_each_turn_tells_as_many_as_it_may_until_none_is_left(
    engine: Engine, an_event: EventMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallbacks, "AT_ONCE", 2)
    put_aside(engine, *(an_event(n) for n in range(5)), attempts=3, error="busy", waiting_since=NOW)
    subject = deliverer(engine, NoMail(), Answering("room", Delivered()))
    told = []
    for _ in range(5):
        subject._measure(busy=True)
        told.append(len(of_receiver(engine, "lead")))
    assert told == [2, 4, 5, 5, 5]
    assert subject._gauges_due > 0  # nobody looks again before its time


def test_what_waits_for_a_channel_that_is_down_and_cannot_fall_back_holds_up_nothing(
    engine: Engine, an_event: EventMaker
) -> None:
    put_aside(engine, an_event(1, dag_id="nightly"), an_event(2))
    subject = deliverer(engine, NoMail(), Answering("room", Delivered()))
    subject._lanes["room"].failed(Worker(), None)
    for _ in range(2):
        assert not subject._fall_back_from("room", 6 * MINUTE)
    assert [entry.task_id for entry in of_receiver(engine, "lead")] == ["t2"]
    (waiting,) = of_receiver(engine, "night")
    assert waiting.state == "pending"
    (put_off,) = waiting.put_off
    assert put_off.startswith("its fallback cannot be told: ")


def test_what_was_put_off_falls_back_when_it_is_due_again(engine: Engine, an_event: EventMaker) -> None:
    record(engine, an_event(1, dag_id="nightly"))
    with engine.begin() as connection:
        outbox.route(connection, NOW, WHOLE)
        (key,) = connection.execute(select(_d.id)).scalars()
        assert putting_off.put_off_fallback(connection, NOW, key, "unexpected") is not None
        assert fallbacks.stranded(connection, WHOLE, "room", 6 * MINUTE, NOW) == {}
        assert follow_ups.follow_up(connection, NOW + PAUSE, WHOLE) == Told()
        assert list(fallbacks.stranded(connection, WHOLE, "room", 6 * MINUTE, NOW)) == [key]


def put_off_and_tried_again(engine: Engine, *events: AlertEvent) -> outbox.Lease:
    """The fallback of the message about this is put off; the message is under way."""
    record(engine, *events)
    with engine.begin() as connection:
        outbox.route(connection, NOW, WHOLE)
        (key,) = connection.execute(select(_d.id)).scalars()
        assert putting_off.put_off_fallback(connection, NOW, key, "unexpected") is not None
        (lease,) = outbox.lease(connection, NOW, MINUTE, 1, ["room"])
        assert outbox.retry(connection, lease, NOW, "busy")
        (lease,) = outbox.lease(connection, NOW, MINUTE, 1, ["room"])
    return lease


def test_what_dies_while_its_fallback_is_put_off_falls_back_at_once(engine: Engine, an_event: EventMaker) -> None:
    lease = put_off_and_tried_again(engine, an_event(1, dag_id="nightly"))
    with engine.begin() as connection:
        assert outbox.bury(connection, lease, "error 404")
        (step,) = fallbacks.note(connection, NOW + MINUTE, WHOLE, [lease.id])
        told = follow_ups.follow_up(connection, NOW + MINUTE, WHOLE, only=step)
        assert told == Told((Origin.FALLBACK,), ("email",))
        assert fallbacks.note(connection, NOW + MINUTE, WHOLE, [lease.id]) == []


def test_nobody_drops_the_step_of_what_dies_at_that_moment(engine: Engine, an_event: EventMaker) -> None:
    """Another deliverer looks for what is due again while the death is not committed."""
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    lease = put_off_and_tried_again(engine, an_event(1, dag_id="nightly"))
    later = NOW + PAUSE
    with engine.begin() as dying, engine.connect() as other:
        assert outbox.bury(dying, lease, "error 404")
        assert len(fallbacks.note(dying, later, WHOLE, [lease.id])) == 1
        with other.begin():
            assert follow_ups.follow_up(other, later, WHOLE) is None
    with engine.begin() as connection:
        assert follow_ups.follow_up(connection, later, WHOLE) == Told((Origin.FALLBACK,), ("email",))
    (dead,) = of_receiver(engine, "night")
    assert (dead.state, dead.fell_back_to) == ("dead", "owl")


def test_whoever_dies_between_a_death_and_its_fallback_leaves_it_to_others(
    engine: Engine, an_event: EventMaker
) -> None:
    record(engine, an_event(1))
    with engine.begin() as connection:
        outbox.route(connection, NOW, WHOLE)
        (lease,) = outbox.lease(connection, NOW, MINUTE, 1, ["room"])
        assert outbox.bury(connection, lease, "error 404")
        assert len(fallbacks.note(connection, NOW, WHOLE, [lease.id])) == 1
    with engine.begin() as connection:
        assert follow_ups.next_due(connection, WHOLE) == NOW
        assert follow_ups.follow_up(connection, NOW, WHOLE) == Told((Origin.FALLBACK,), ("email",))
        assert follow_ups.follow_up(connection, NOW, WHOLE) is None
