"""A group or a follow-up that cannot be told holds up no other one, and people hear of it: on every database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, delete, select, update

from alerting import escalations, failing, fallbacks, follow_ups, groups, heartbeat, outbox, putting_off
from alerting.config import read
from alerting.database import transact
from alerting.deliver import Deliverer
from alerting.events import AlertEvent
from alerting.groups import Wave
from alerting.kinds import EventKind
from alerting.lanes import Worker
from alerting.putting_off import PAUSE, put_off_fallback, put_off_follow_up, put_off_group
from alerting.render import Renderer
from alerting.routes import Plan
from alerting.routing import Escalation
from alerting.tables import alert_delivery, alert_event, alert_follow_up, alert_group
from alerting.told import remarks
from tests.contract.alerting.conftest import MINUTE, NOW
from tests.contract.alerting.mailbox import Mail
from tests.integration.alerting.running import Meter, NoMail, Running, at_work, history, record

EventMaker = Callable[..., AlertEvent]
HALF_A_MINUTE = timedelta(seconds=30)
_d, _e, _f, _g = alert_delivery.c, alert_event.c, alert_follow_up.c, alert_group.c


def grouped(wait: str = "0s", by: str = "[dag]") -> Plan:
    text = f"""
receivers: {{ops: {{email: ops@example.org}}}}
route: {{receiver: ops, group_by: {by}, group_wait: {wait}, group_interval: 5m}}
"""
    return Plan(routing=read(text, Path("alerting.yml"), {}), failing_after=15 * MINUTE)


def limited() -> Plan:
    """What goes beyond the first message waits for a digest."""
    text = """
receivers: {ops: {email: ops@example.org, limit: {messages: 1, per: 1h}}}
route: {receiver: ops}
"""
    return Plan(routing=read(text, Path("alerting.yml"), {}), failing_after=15 * MINUTE)


def escalating(grouping: str = "group_by: off", more: str = "") -> Plan:
    text = f"""
receivers:
  ops: {{email: ops@example.org, escalate: {{after: 10m, to: lead}}{", " if more else ""}{more}}}
  lead: {{email: lead@example.org}}
route: {{receiver: ops, {grouping}}}
"""
    return Plan(routing=read(text, Path("alerting.yml"), {}), failing_after=15 * MINUTE)


def spoilt_at_night() -> Plan:
    """Whom the alerts of one DAG escalate to cannot be told: no moment lies as far ahead as their own escalation."""
    text = """
receivers:
  ops: {email: ops@example.org, escalate: {after: 10m, to: lead}}
  night: {email: night@example.org, escalate: {after: 10m, to: owl}}
  owl: {email: owl@example.org, escalate: {after: 10m, to: lead}}
  lead: {email: lead@example.org}
route: {receiver: ops, routes: [{matchers: dag=nightly, receiver: night}]}
"""
    routing = read(text, Path("alerting.yml"), {})
    owl = replace(routing.receivers["owl"], escalate=Escalation(timedelta.max, "lead"))
    return Plan(routing=replace(routing, receivers={**routing.receivers, "owl": owl}), failing_after=15 * MINUTE)


def in_a_spoilt_group(connection: Connection, now: datetime, plan: Plan) -> int:
    """What is recorded is routed, and nobody can read the labels of its group."""
    outbox.route(connection, now, plan)
    connection.execute(update(alert_group).values(labels="{"))
    return int(connection.execute(select(_g.id)).scalar_one())


def delivered(connection: Connection, now: datetime, plan: Plan) -> None:
    """What is recorded is told, and everything that is to follow is due."""
    outbox.route(connection, now, plan)
    for lease in outbox.lease(connection, now, MINUTE, 10, ["email"]):
        assert outbox.confirm(connection, lease, now)
        follow_ups.schedule(connection, now, lease, plan)
    connection.execute(update(alert_follow_up).values(due_at=now))


def test_a_group_that_cannot_be_told_holds_up_no_other_and_people_hear_of_it(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = grouped()
    record(engine, an_event(1, dag_id="spoilt"))
    transact(engine, lambda connection, now: in_a_spoilt_group(connection, now, plan))
    record(engine, an_event(2))
    mail, world = Mail(), Running(engine, Meter())
    with at_work(Deliverer(engine, [mail], Renderer(lambda *_: [], str), plan, poll_seconds=0.1), world):
        world.until(delivered=2, waiting=1)
    (waiting,) = [entry for entry in history(engine) if entry.state == "waiting"]
    assert waiting.dag_id == "spoilt"
    assert waiting.error is not None
    assert waiting.error.startswith("its group cannot be told: unexpected DecodeError in groups.py, line ")
    (told,) = [text for text in mail.got if "Nobody can be told" in text]
    assert "Nobody can be told what waits in a group for ops: unexpected DecodeError in groups.py, line " in told
    assert "It is tried again every 5m, " in told


def test_a_group_that_was_put_off_is_told_when_it_is_mended(engine: Engine, an_event: EventMaker) -> None:
    record(engine, an_event(1))
    with engine.begin() as connection:
        group_id = in_a_spoilt_group(connection, NOW, grouped())
        assert put_off_group(connection, NOW, group_id, "unexpected") is not None
        assert put_off_group(connection, NOW + MINUTE, group_id, "unexpected") is None
        connection.execute(update(alert_group).values(labels="[]"))
        assert groups.flush(connection, NOW + PAUSE - HALF_A_MINUTE, grouped()) is None
        assert groups.flush(connection, NOW + PAUSE, grouped()) == Wave(("email",))
    assert [(entry.state, entry.error) for entry in history(engine)] == [("pending", None)]


def test_a_wave_that_is_late_is_somebody_who_waits_in_vain(engine: Engine, an_event: EventMaker) -> None:
    record(engine, an_event(1))
    with engine.begin() as connection:
        outbox.route(connection, NOW, grouped("30s"))
        assert heartbeat.oldest_untold(connection) == NOW + HALF_A_MINUTE


def test_what_was_put_off_waits_in_vain_however_often_it_is_tried(engine: Engine, an_event: EventMaker) -> None:
    record(engine, an_event(1))
    with engine.begin() as connection:
        group_id = in_a_spoilt_group(connection, NOW, grouped())
        for times in range(3):
            put_off_group(connection, NOW + times * PAUSE, group_id, "unexpected")
        assert heartbeat.oldest_untold(connection) == NOW


def test_an_escalation_that_cannot_be_told_holds_up_no_other_and_people_hear_of_it(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = spoilt_at_night()
    record(engine, an_event(1, dag_id="nightly"), an_event(2))
    transact(engine, lambda connection, now: delivered(connection, now, plan))
    with engine.begin() as connection:
        first = connection.execute(select(_d.id).order_by(_d.id).limit(1)).scalar_one()
    subject = Deliverer(engine, [NoMail()], Renderer(lambda *_: [], str), plan)
    subject._tried(subject._follow_up)
    with engine.begin() as connection:
        assert connection.execute(select(_f.delivery_id).where(_f.delivery_id <= first + 1)).scalars().all() == [first]
    told = [entry for entry in history(engine) if entry.receiver == "lead"]
    assert [(entry.task_id, entry.origin) for entry in told] == [("t2", "escalation")]
    assert EventKind.DELIVERY_FAILING in [entry.kind for entry in history(engine)]


@pytest.mark.parametrize(
    "unread", [{"payload": "{}"}, {"payload": "{}", "kind": "of_tomorrow"}], ids=["event", "kind of event"]
)
def test_what_is_to_follow_waits_for_a_version_that_can_read_the_alert(
    engine: Engine, an_event: EventMaker, unread: dict[str, str]
) -> None:
    plan = escalating()
    record(engine, an_event(1), an_event(2))
    transact(engine, lambda connection, now: delivered(connection, now, plan))
    of_first = _e.task_id == "t1"
    with engine.begin() as connection:
        written = dict(connection.execute(select(_e.payload, _e.kind).where(of_first)).mappings().one())
        connection.execute(update(alert_event).where(of_first).values(unread))
    subject = Deliverer(engine, [NoMail()], Renderer(lambda *_: [], str), plan)
    subject._tried(subject._follow_up)
    assert [entry.task_id for entry in history(engine) if entry.origin == "escalation"] == ["t2"]
    (put_off,) = [entry for entry in history(engine) if entry.task_id == "t1"]
    why = "its escalation cannot be told: this version cannot read the event: upgrade; it is tried again every 5m"
    assert put_off.put_off == (why,)
    with engine.begin() as connection:
        connection.execute(update(alert_event).where(of_first).values(written))
        connection.execute(update(alert_follow_up).values(due_at=NOW))
    subject._tried(subject._follow_up)
    assert {entry.task_id for entry in history(engine) if entry.origin == "escalation"} == {"t1", "t2"}


def test_of_a_message_what_can_be_read_is_escalated(engine: Engine, an_event: EventMaker) -> None:
    plan = escalating("group_by: [dag], group_wait: 0s")
    record(engine, an_event(1), an_event(2))
    with engine.begin() as connection:
        outbox.route(connection, NOW, plan)
        groups.flush(connection, NOW, plan)
        delivered(connection, NOW, plan)
        connection.execute(update(alert_event).where(_e.task_id == "t1").values(payload="{}"))
        assert follow_ups.follow_up(connection, NOW, plan) is not None
    assert [entry.task_id for entry in history(engine) if entry.origin == "escalation"] == ["t2"]


def test_a_follow_up_that_was_put_off_is_due_again_later(engine: Engine, an_event: EventMaker) -> None:
    record(engine, an_event(1))
    with engine.begin() as connection:
        delivered(connection, NOW, escalating())
        query = select(_f.id, _d.event_id).join(alert_delivery, _d.id == _f.delivery_id)
        key, event_id = connection.execute(query).one()
        assert put_off_follow_up(connection, NOW, key, "unexpected") == f"the escalation of alert {event_id}"
        assert put_off_follow_up(connection, NOW + MINUTE, key, "unexpected") is None
        assert connection.execute(select(_f.due_at)).scalar_one() == NOW + PAUSE


@pytest.mark.parametrize("refused", [None, "550 no such user"], ids=["delivered", "dead"])
def test_what_a_follow_up_is_to_follow_says_why_it_is_put_off_until_it_is_done(
    engine: Engine, an_event: EventMaker, refused: str | None
) -> None:
    plan = escalating()
    record(engine, an_event(1))
    with engine.begin() as connection:
        delivered(connection, NOW, plan)
        connection.execute(update(alert_delivery).values(error=refused))
        key = connection.execute(select(_f.id)).scalar_one()
        for times in range(2):
            put_off_follow_up(connection, NOW + times * PAUSE, key, f"unexpected error {times}")
    (put_off,) = history(engine)
    delay = "its escalation cannot be told: unexpected error 1; it is tried again every 5m"
    assert remarks(put_off, [put_off]) == (f"{refused}; {delay}" if refused else delay)
    with engine.begin() as connection:
        assert follow_ups.follow_up(connection, NOW + 3 * PAUSE, plan) is not None
    (ops,) = [entry for entry in history(engine) if entry.receiver == "ops"]
    assert (ops.error, ops.put_off) == (refused, ())


def test_whatever_becomes_of_a_message_it_says_why_its_fallback_is_put_off(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = escalating(more="fallback: {to: lead}")
    record(engine, an_event(1))
    delay = "its fallback cannot be told: unexpected; it is tried again every 5m"
    with engine.begin() as connection:
        outbox.route(connection, NOW, plan)
        (key,) = connection.execute(select(_d.id)).scalars()
        assert put_off_fallback(connection, NOW, key, "unexpected")
        (lease,) = outbox.lease(connection, NOW, MINUTE, 1, ["email"])
        assert outbox.retry(connection, lease, NOW, "busy")
    (waiting,) = history(engine)
    assert (waiting.error, waiting.put_off) == ("busy", (delay,))
    with engine.begin() as connection:
        (lease,) = outbox.lease(connection, NOW, MINUTE, 1, ["email"])
        assert lease.error == "busy"
        assert outbox.bury(connection, lease, "error 404")
    (dead,) = history(engine)
    assert remarks(dead, [dead]) == f"error 404; {delay}"


def test_an_escalation_whose_clock_starts_again_is_not_put_off_any_more(engine: Engine, an_event: EventMaker) -> None:
    plan = escalating()
    record(engine, an_event(1))
    with engine.begin() as connection:
        outbox.route(connection, NOW, plan)
        escalations.start(connection, NOW, plan, ["email"])
        connection.execute(update(alert_follow_up).values(due_at=NOW))
        assert put_off_follow_up(connection, NOW, connection.execute(select(_f.id)).scalar_one(), "unexpected")
    assert [len(entry.put_off) for entry in history(engine)] == [1]
    with engine.begin() as connection:
        (lease,) = outbox.lease(connection, NOW, MINUTE, 1, ["email"])
        assert outbox.confirm(connection, lease, NOW)
        assert follow_ups.schedule(connection, NOW, lease, plan)
        assert not putting_off.is_any_left(connection)
    assert [entry.put_off for entry in history(engine)] == [()]


def test_every_alert_of_a_message_says_that_its_escalation_is_put_off(engine: Engine, an_event: EventMaker) -> None:
    plan = escalating("group_by: [dag], group_wait: 0s")
    record(engine, an_event(1), an_event(2))
    with engine.begin() as connection:
        outbox.route(connection, NOW, plan)
        groups.flush(connection, NOW, plan)
        delivered(connection, NOW, plan)
        key = connection.execute(select(_f.id)).scalar_one()
        put_off_follow_up(connection, NOW, key, "unexpected")
    delay = "its escalation cannot be told: unexpected; it is tried again every 5m"
    assert [entry.put_off for entry in history(engine)] == [(delay,)] * 2
    with engine.begin() as connection:
        follow_ups.follow_up(connection, NOW + PAUSE, plan)
    assert {entry.put_off for entry in history(engine)} == {()}


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (None, "given up untried: it was too old when it could have been sent first"),
        ("busy", "given up after 1 attempt; the last: busy"),
    ],
)
def test_that_an_escalation_is_put_off_is_no_reason_why_its_message_was_given_up(
    engine: Engine, an_event: EventMaker, before: str | None, told: str
) -> None:
    plan = escalating()
    record(engine, an_event(1))
    with engine.begin() as connection:
        outbox.route(connection, NOW, plan)
        escalations.start(connection, NOW, plan, ["email"])
        old = {"error": before, "attempts": 1 if before else 0, "give_up_at": NOW}
        connection.execute(update(alert_delivery).values(old))
        connection.execute(update(alert_follow_up).values(due_at=NOW))
        key = connection.execute(select(_f.id)).scalar_one()
        assert put_off_follow_up(connection, NOW, key, "unexpected")
    subject = Deliverer(engine, [NoMail()], Renderer(lambda *_: [], str), plan)
    assert subject._sender.deliver_next(subject._lanes["email"], Worker())
    (dead,) = [entry for entry in history(engine) if entry.receiver == "ops"]
    assert (dead.state, dead.error) == ("dead", told)
    with engine.begin() as connection:
        payload = connection.execute(select(_e.payload).where(_e.kind == EventKind.DELIVERY_FAILING.value)).scalar_one()
        assert "cannot be told" not in payload
        assert told in payload


def test_whoever_is_told_instead_hears_why_the_message_was_not_sent_and_not_what_else_was_put_off(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = escalating(more="fallback: {to: lead}")
    record(engine, an_event(1))
    with engine.begin() as connection:
        outbox.route(connection, NOW, plan)
        escalations.start(connection, NOW, plan, ["email"])
        connection.execute(update(alert_delivery).values(error="busy"))
        ((delivery_id, key),) = connection.execute(select(_f.delivery_id, _f.id)).all()
        connection.execute(update(alert_follow_up).values(due_at=NOW))
        assert put_off_follow_up(connection, NOW, key, "unexpected")
        assert fallbacks.fall_back(connection, NOW, plan, [delivery_id])
        note = connection.execute(select(_d.note).where(_d.receiver == "lead")).scalar_one()
    assert note == "Meant for ops, which could not be told through email: busy"


def test_whoever_it_is_escalated_to_does_not_hear_that_its_fallback_is_put_off(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = escalating(more="fallback: {to: lead}")
    record(engine, an_event(1))
    with engine.begin() as connection:
        outbox.route(connection, NOW, plan)
        escalations.start(connection, NOW, plan, ["email"])
        connection.execute(update(alert_delivery).values(error="busy"))
        delivery_id = connection.execute(select(_f.delivery_id)).scalar_one()
        assert put_off_fallback(connection, NOW, delivery_id, "unexpected")
        later = NOW + 15 * MINUTE
        connection.execute(update(alert_follow_up).where(_f.origin == "fallback").values(due_at=later + MINUTE))
        assert follow_ups.follow_up(connection, later, plan) is not None
        note = connection.execute(select(_d.note).where(_d.receiver == "lead")).scalar_one()
    assert note.startswith("ops could not be told through email for 15m (busy; it is tried on), and nobody has ")


@pytest.mark.parametrize("left", ["escalation", "repeat"])
def test_what_is_said_of_one_follow_up_is_nothing_about_another_one(
    engine: Engine, an_event: EventMaker, left: str
) -> None:
    plan = escalating(more="repeat_interval: 1h")
    record(engine, an_event(1))
    with engine.begin() as connection:
        delivered(connection, NOW, plan)
        key = connection.execute(select(_f.id).where(_f.origin == "escalation")).scalar_one()
        assert put_off_follow_up(connection, NOW, key, "unexpected")
        connection.execute(delete(alert_follow_up).where(_f.origin != left))
        assert putting_off.is_any_left(connection) is (left == "escalation")


def test_the_trouble_lasts_until_nothing_is_put_off_any_more(engine: Engine) -> None:
    with engine.begin() as connection:
        assert failing.put_off(connection, NOW, "the escalation of alert 1", "unexpected")
        assert not failing.put_off(connection, NOW + PAUSE, "the escalation of alert 2", "unexpected")
        assert failing.look(connection, NOW + 3 * PAUSE, 15 * MINUTE, ["email"]) == 0
        assert failing.look(connection, NOW + 3 * PAUSE + MINUTE, 15 * MINUTE, ["email"]) == 1


@pytest.mark.parametrize(
    "plan",
    [grouped(by="[]"), limited()],
    ids=["group", "digest"],
)
def test_that_a_group_cannot_be_told_does_not_wait_in_it(engine: Engine, an_event: EventMaker, plan: Plan) -> None:
    record(engine, an_event(1), an_event(2))
    with engine.begin() as connection:
        in_a_spoilt_group(connection, NOW, plan)
        assert failing.put_off(connection, NOW, "what waits in a group for ops", "unexpected")
        outbox.route(connection, NOW, plan)
    (told,) = [entry for entry in history(engine) if entry.kind == EventKind.DELIVERY_FAILING]
    assert told.state == "pending"


def test_a_group_that_is_put_off_still_lasts_though_nobody_has_tried_it_for_long(
    engine: Engine, an_event: EventMaker
) -> None:
    record(engine, an_event(1))
    with engine.begin() as connection:
        group_id = in_a_spoilt_group(connection, NOW, grouped())
        put_off_group(connection, NOW, group_id, "unexpected")
        assert failing.put_off(connection, NOW, "what waits in a group for ops", "unexpected")
        later = NOW + 3 * PAUSE  # no deliverer ran meanwhile
        assert failing.look(connection, later, 15 * MINUTE, ["email"]) == 0
        connection.execute(update(alert_group).values(labels="[]"))
        assert groups.flush(connection, later, grouped()) is not None
        assert failing.look(connection, later, 15 * MINUTE, ["email"]) == 1


def test_a_follow_up_that_is_put_off_still_lasts_though_nobody_has_tried_it_for_long(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = escalating()
    record(engine, an_event(1))
    with engine.begin() as connection:
        delivered(connection, NOW, plan)
        key = connection.execute(select(_f.id)).scalar_one()
        assert put_off_follow_up(connection, NOW, key, "unexpected") is not None
        assert failing.put_off(connection, NOW, "its escalation", "unexpected")
        later = NOW + 3 * PAUSE
        assert failing.look(connection, later, 15 * MINUTE, ["email"]) == 0
        assert follow_ups.follow_up(connection, later, plan) is not None
        assert failing.look(connection, later, 15 * MINUTE, ["email"]) == 1
