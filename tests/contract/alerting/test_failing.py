"""A channel that fails is told once, through the others, and once when it is well again: on every database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from alerting import failing, outbox, troubles
from alerting.addressees import UNREADABLE
from alerting.channels import Delivered, Failure, Message, Permanent, Refusal
from alerting.config import read
from alerting.database import connect, transact
from alerting.deliver import Deliverer
from alerting.events import AlertEvent, decode
from alerting.kinds import EventKind
from alerting.render import Renderer
from alerting.routes import Plan
from alerting.tables import alert_event
from tests.integration.alerting.running import Meter, NoMail, Running, at_work, history

EventMaker = Callable[..., AlertEvent]
NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
AFTER = timedelta(minutes=15)
CHANNELS = ("chat", "pager")
PLAN = Plan(CHANNELS, failing_after=AFTER)


class Receiver:
    """Accepts everything, or nothing."""

    concurrency = 1

    def __init__(self, name: str, *, accepts: bool) -> None:
        self.name = name
        self.accepts = accepts
        self.got: list[str] = []

    def send(self, message: Message) -> Delivered | Permanent:
        if not self.accepts:
            return Permanent(Failure.REJECTED, "no such room")
        self.got.append(message.subject)
        return Delivered()


def recorded(engine: Engine, *kinds: EventKind) -> list[AlertEvent]:
    with engine.begin() as connection:
        payloads = connection.execute(select(alert_event.c.payload).order_by(alert_event.c.id)).scalars().all()
    events = (decode(payload) for payload in payloads)
    return [event for event in events if event is not None and (not kinds or event.kind in kinds)]


def act(engine: Engine, work: Callable[..., Any], *args: Any) -> Any:
    with engine.begin() as connection:
        return work(connection, *args)


def wait_for_delivery(engine: Engine, an_event: EventMaker) -> None:
    """One message waits for each channel since NOW."""
    act(engine, outbox.record, [an_event(0, emails=())])
    act(engine, outbox.route, NOW, PLAN)


def test_a_channel_for_which_a_message_waits_too_long_is_told_once(engine: Engine, an_event: EventMaker) -> None:
    wait_for_delivery(engine, an_event)
    assert act(engine, failing.look, NOW + AFTER - timedelta(seconds=1), AFTER, CHANNELS) == 0
    later = NOW + AFTER + timedelta(minutes=1)
    assert [act(engine, failing.look, later, AFTER, CHANNELS) for _ in range(2)] == [2, 0]
    told = recorded(engine, EventKind.DELIVERY_FAILING)
    assert [event.subject for event in told] == ["chat", "pager"]
    assert told[0].summary is not None
    assert told[0].summary.startswith("A message has waited for chat for 16 minutes.")


def test_it_is_told_to_be_well_once_it_has_accepted_something_and_nothing_waits(
    engine: Engine, an_event: EventMaker
) -> None:
    wait_for_delivery(engine, an_event)
    later = NOW + AFTER * 2
    act(engine, failing.look, later, AFTER, CHANNELS)
    (lease,) = act(engine, outbox.lease, later, AFTER, 1, ["chat"])
    act(engine, failing.look, later, AFTER, CHANNELS)
    assert recorded(engine, EventKind.DELIVERY_RECOVERED) == []
    assert act(engine, outbox.confirm, lease, later + timedelta(seconds=1))
    assert [act(engine, failing.look, later + timedelta(seconds=2), AFTER, CHANNELS) for _ in range(2)] == [1, 0]
    (well,) = recorded(engine, EventKind.DELIVERY_RECOVERED)
    assert well.subject == "chat"
    assert well.episode_key == recorded(engine, EventKind.DELIVERY_FAILING)[0].episode_key


def test_a_channel_that_is_gone_from_the_settings_fails_until_nothing_waits_for_it(
    engine: Engine, an_event: EventMaker
) -> None:
    wait_for_delivery(engine, an_event)
    later = NOW + AFTER * 2
    assert [act(engine, failing.look, later, AFTER, ["pager"]) for _ in range(2)] == [2, 0]
    act(engine, outbox.bury_orphans, NOW + timedelta(days=2), ["pager"])
    assert [act(engine, failing.look, later, AFTER, ["pager"]) for _ in range(2)] == [1, 0]
    (over,) = recorded(engine, EventKind.DELIVERY_RECOVERED)
    assert over.summary is not None
    assert over.summary.startswith("chat is no longer in the settings.")


def test_a_fault_of_our_own_is_not_the_channels(engine: Engine, an_event: EventMaker) -> None:
    receiver = Receiver("chat", accepts=True)
    plan = Plan(("chat",), failing_after=AFTER)
    subject = Deliverer(engine, [receiver, NoMail()], Renderer(lambda *_: [], str), plan, poll_seconds=0.05)
    world = Running(engine, Meter())
    act(engine, outbox.record, [an_event(0, emails=())])
    transact(engine, lambda connection, now: outbox.route(connection, now, plan))
    with engine.begin() as connection:  # a version that is newer wrote it
        connection.execute(alert_event.update().values(payload="{}"))
    with at_work(subject, world):
        world.until(dead=1, delivered=1)
    with engine.begin() as connection:
        failing_now = troubles.since(connection, [EventKind.DELIVERY_FAILING])
    assert list(failing_now) == [(EventKind.DELIVERY_FAILING, UNREADABLE)]


def test_three_that_look_at_once_tell_it_once(engine: Engine, an_event: EventMaker) -> None:
    wait_for_delivery(engine, an_event)
    barrier = threading.Barrier(3)

    def look() -> None:
        mine = connect(engine.url.render_as_string(hide_password=False))
        barrier.wait(60)
        transact(mine, lambda connection, _: failing.look(connection, NOW + AFTER * 2, AFTER, CHANNELS))
        mine.dispose()

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(recorded(engine, EventKind.DELIVERY_FAILING)) == 2


def test_what_tells_of_a_failing_channel_is_no_reason_to_tell_again(engine: Engine) -> None:
    act(engine, failing.gave_up, NOW, "chat", "no such room")
    act(engine, outbox.route, NOW, PLAN)
    assert act(engine, failing.look, NOW + AFTER * 9, AFTER, CHANNELS) == 0


def test_a_death_is_told_through_the_other_channels_only(engine: Engine, an_event: EventMaker) -> None:
    chat, pager = Receiver("chat", accepts=False), Receiver("pager", accepts=True)
    subject = Deliverer(engine, [chat, pager, NoMail()], Renderer(lambda *_: [], str), PLAN, poll_seconds=0.05)
    world = Running(engine, Meter())
    with at_work(subject, world):
        world.record(an_event(0, emails=()), an_event(1, emails=()))
        world.until(delivered=3, dead=2, suppressed=1)
    (event,) = recorded(engine, EventKind.DELIVERY_FAILING)
    assert event.summary is not None
    assert event.summary.startswith("A message through chat was given up: no such room.")
    assert "Alerts are not delivered: chat" in pager.got
    (held,) = [entry for entry in history(engine) if entry.state == "suppressed"]
    assert (held.kind, held.channel, held.error) == ("delivery_failing", "chat", "chat itself fails")


def test_where_the_failing_channel_is_the_only_one_that_is_visible(engine: Engine, an_event: EventMaker) -> None:
    chat = Receiver("chat", accepts=False)
    plan = Plan(("chat",), failing_after=AFTER)
    subject = Deliverer(engine, [chat, NoMail()], Renderer(lambda *_: [], str), plan, poll_seconds=0.05)
    world = Running(engine, Meter())
    with at_work(subject, world):
        world.record(an_event(0, emails=()))
        world.until(dead=1, suppressed=1)
    assert len(recorded(engine, EventKind.DELIVERY_FAILING)) == 1


GONE, HERE = "gone@example.org", "here@example.org"


class PostOffice:
    """Mail that takes what is for anybody but GONE. ``by_name`` says whether a refusal is known to be the address's."""

    name = "email"
    concurrency = 1

    def __init__(self, *, by_name: bool = True) -> None:
        self.by_name = by_name
        self.got: list[str] = []

    def send(self, message: Message) -> Delivered | Permanent:
        if GONE not in message.recipients:
            self.got.append(message.subject)
            return Delivered()
        if len(message.recipients) > 1:
            return Delivered(never=(Refusal((GONE,), "550 no such user"),))
        return Permanent(Failure.REJECTED, "550 no such user", addressee=self.by_name)


def by_mail_alone(text: str = f"ops: {{email: [{GONE}, {HERE}]}}") -> Plan:
    """A task's failure goes to whom its DAG file names; what is about deliveries, to ``ops``."""
    route = "{receiver: ops, routes: [{matchers: event=task_failed, receiver: task-email}]}"
    rules = f"receivers: {{{text}}}\nroute: {route}"
    return Plan(routing=read(rules, Path("alerting.yml"), {}), failing_after=AFTER)


def at_the_post_office(engine: Engine, mail: PostOffice, plan: Plan, *events: AlertEvent, **states: int) -> None:
    subject = Deliverer(engine, [mail], Renderer(lambda *_: [], str), plan, poll_seconds=0.05)
    world = Running(engine, Meter())
    with at_work(subject, world):
        world.record(*events)
        world.until(**states)


def test_an_address_that_refuses_is_told_once_to_the_others_and_mail_does_not_fail(
    engine: Engine, an_event: EventMaker
) -> None:
    mail = PostOffice()
    events = [an_event(n, emails=(GONE,)) for n in range(2)] + [an_event(2, emails=(HERE,))]
    at_the_post_office(engine, mail, by_mail_alone(), *events, dead=2, delivered=2)
    with engine.begin() as connection:
        failing.look(connection, datetime.now(UTC) + timedelta(minutes=1), AFTER, ["email"])
    (event,) = recorded(engine, EventKind.DELIVERY_FAILING, EventKind.DELIVERY_RECOVERED)
    assert (event.kind, event.subject) == (EventKind.DELIVERY_FAILING, f"email to {GONE}")
    assert str(event.summary).startswith(f"A message through email to {GONE} was given up: 550 no such user. See")
    assert f"Alerts are not delivered: email to {GONE}" in mail.got
    (told,) = [entry for entry in history(engine) if entry.kind == "delivery_failing"]
    assert (told.state, told.addresses) == ("delivered", (HERE,))


def test_an_address_that_refuses_while_others_take_the_message_is_told_too(
    engine: Engine, an_event: EventMaker
) -> None:
    event = an_event(0, emails=(GONE, HERE))
    at_the_post_office(engine, PostOffice(), by_mail_alone(), event, dead=1, delivered=2)
    (event,) = recorded(engine, EventKind.DELIVERY_FAILING)
    assert event.subject == f"email to {GONE}"


def test_an_address_is_not_told_of_itself(engine: Engine, an_event: EventMaker) -> None:
    plan = by_mail_alone(f"ops: {{email: {GONE}}}")
    at_the_post_office(engine, PostOffice(), plan, an_event(0, emails=(GONE,)), dead=1, suppressed=1)
    (held,) = [entry for entry in history(engine) if entry.state == "suppressed"]
    assert (held.kind, held.error) == ("delivery_failing", f"{GONE} itself fails")


@pytest.mark.parametrize(
    ("has_accepted", "subject"),
    [(True, f"email to {GONE}"), (False, "email")],
    ids=["mail works", "mail may be broken"],
)
def test_a_refusal_that_does_not_name_the_address_is_the_channels_where_it_took_nothing_of_late(
    engine: Engine, an_event: EventMaker, has_accepted: bool, subject: str
) -> None:
    mail, plan = PostOffice(by_name=False), by_mail_alone(f"ops: {{email: {GONE}}}")
    if has_accepted:
        at_the_post_office(engine, mail, plan, an_event(0, emails=(HERE,)), delivered=1)
    event = an_event(1, emails=(GONE,))
    at_the_post_office(engine, mail, plan, event, dead=1, suppressed=1, **({"delivered": 1} if has_accepted else {}))
    assert [event.subject for event in recorded(engine, EventKind.DELIVERY_FAILING)] == [subject]


def test_an_address_is_well_again_when_it_has_taken_a_message_itself(engine: Engine, an_event: EventMaker) -> None:
    act(engine, failing.refused, NOW, "email", {GONE: "550 no such user"})
    act(engine, outbox.record, [an_event(0, emails=(GONE, HERE)), an_event(1, emails=(GONE,))])
    act(engine, outbox.route, NOW, Plan())
    both, alone = act(engine, outbox.lease, NOW, AFTER, 2, ["email"])
    later = NOW + timedelta(minutes=1)
    with engine.begin() as connection:
        assert outbox.confirm(connection, both, later, never=[Refusal((GONE,), "550 no such user")])
    assert act(engine, failing.look, later, AFTER, ["email"]) == 0
    assert act(engine, outbox.confirm, alone, later)
    assert [act(engine, failing.look, later, AFTER, ["email"]) for _ in range(2)] == [1, 0]
    (well,) = recorded(engine, EventKind.DELIVERY_RECOVERED)
    assert well.subject == f"email to {GONE}"
    assert str(well.summary).startswith(f"{GONE} takes messages again.")
    assert act(engine, failing.refused, later, "email", {GONE: "550 once more"}) == 1


def test_what_a_dag_file_gives_for_an_address_may_be_any_text(engine: Engine) -> None:
    text = "the team\non call " * 100
    assert act(engine, failing.refused, NOW, "email", {text: "no address"}) == 1
    assert act(engine, failing.refused, NOW, "email", {text: "no address"}) == 0
    assert act(engine, failing.look, NOW + AFTER, AFTER, ["email"]) == 0
    (event,) = recorded(engine, EventKind.DELIVERY_FAILING)
    assert str(event.subject).startswith("email to the team on call the team")
