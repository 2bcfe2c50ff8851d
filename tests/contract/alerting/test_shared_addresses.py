"""One mail address or channel of two receivers: nothing is lost with a message that is left out, nobody hears twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from alerting import acks, fallbacks, follow_ups, groups, outbox, silences
from alerting.channels import Refusal
from alerting.config import read
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.matchers import parse_matcher
from alerting.outbox import Entry, Lease
from alerting.routes import Origin, Plan, SuppressedBy
from alerting.telling import Told
from tests.contract.alerting.conftest import MINUTE, NOW, buried, followed

EventMaker = Callable[..., AlertEvent]
LATER = NOW + MINUTE
HOUR = timedelta(hours=1)


def a_plan(text: str) -> Plan:
    return Plan(routing=read(text, Path("alerting.yml"), {}))


def two_routes(one: str, other: str, *, group_by: str = "off") -> Plan:
    """Two routes lead every failure to ``all`` and to ``oncall``."""
    return a_plan(
        f"""
channels: {{room: "json://localhost/x"}}
receivers:
  all: {one}
  oncall: {other}
  boss: {{email: boss@x.org}}
route:
  receiver: all
  routes:
  - {{matchers: dag=never, receiver: boss}}
  - {{receiver: all, continue: true, group_by: {group_by}}}
  - {{receiver: oncall, group_by: {group_by}}}
"""
    )


def recorded(engine: Engine, plan: Plan, *events: AlertEvent, now: datetime = NOW) -> None:
    with engine.begin() as connection:
        outbox.record(connection, events)
        outbox.route(connection, now, plan)
    with engine.begin() as connection:
        while groups.flush(connection, now + MINUTE, plan) is not None:
            pass


def leased(engine: Engine, now: datetime = LATER, channel: str = "email") -> list[Lease]:
    with engine.begin() as connection:
        return outbox.lease(connection, now, MINUTE, 100, [channel])


def delivered(engine: Engine, plan: Plan, now: datetime = LATER, channel: str = "email") -> list[tuple[Any, ...]]:
    """To whom all that is due goes, and about which tasks. It is accepted."""
    leases = leased(engine, now, channel)
    with engine.begin() as connection:
        for lease in leases:
            assert outbox.confirm(connection, lease, now)
            follow_ups.schedule(connection, now, lease, plan)
    return sorted((lease.addresses, tasks_of(lease)) for lease in leases)


def tasks_of(lease: Lease) -> tuple[str, ...]:
    return tuple(sorted(event.task_id or "" for event in (lease.event, *lease.others) if event))


def history(engine: Engine) -> list[Entry]:
    with engine.begin() as connection:
        return sorted(outbox.listing(connection), key=lambda entry: entry.delivery_id or 0)


def recovery(an_event: EventMaker, n: int = 1) -> AlertEvent:
    return an_event(n, kind=EventKind.TASK_RECOVERED, try_number=2, emails=())


OPS = "{email: ops@x.org}"
BOTH = "{email: [ops@x.org, lead@x.org]}"
FALLS_BACK = "{email: ops@x.org, fallback: {to: boss, after: 5m}}"
REPEATS = "{email: ops@x.org, repeat_interval: 4h, send_resolved: false}"
MAY_END = [("all", "delivered", ("ops@x.org",)), ("oncall", "delivered", ("ops@x.org",))]


def test_the_fallback_of_the_second_receiver_is_told_when_the_mail_dies(engine: Engine, an_event: EventMaker) -> None:
    plan = two_routes(BOTH, FALLS_BACK)
    recorded(engine, plan, an_event(1))
    assert [(entry.receiver, entry.addresses) for entry in history(engine)] == [
        ("all", ("lead@x.org",)),
        ("oncall", ("ops@x.org",)),
    ]
    assert buried(engine, plan, LATER) == Told((Origin.FALLBACK,), ("email",))
    assert delivered(engine, plan) == [(("boss@x.org",), ("t1",))]


@pytest.mark.parametrize("group_by", ["off", "[dag], group_wait: 0s"], ids=["alone", "grouped"])
@pytest.mark.parametrize("order", [(OPS, REPEATS), (REPEATS, OPS)], ids=["wants-first", "repeats-first"])
def test_the_end_is_told_where_one_of_two_receivers_wants_it(
    engine: Engine, an_event: EventMaker, order: tuple[str, str], group_by: str
) -> None:
    plan = two_routes(*order, group_by=group_by)
    recorded(engine, plan, an_event(1), an_event(2))
    delivered(engine, plan)
    assert {(entry.receiver, entry.state, entry.addresses) for entry in history(engine)} == set(MAY_END)
    recorded(engine, plan, recovery(an_event), now=NOW + HOUR)
    assert delivered(engine, plan, NOW + 2 * HOUR) == [(("ops@x.org",), ("t1",))]
    (end,) = [entry for entry in history(engine) if entry.origin == Origin.RESOLVED]
    assert end.receiver == ("all" if order[0] == OPS else "oncall")


def test_two_receivers_of_one_room_with_their_own_fallbacks_have_a_message_each(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = two_routes("{channels: room, repeat_interval: 1h}", "{channels: room, fallback: boss}")
    recorded(engine, plan, an_event(1))
    assert [(entry.receiver, entry.channel) for entry in history(engine)] == [("all", "room"), ("oncall", "room")]
    assert buried(engine, plan, LATER, "room") == Told((Origin.FALLBACK,), ("email",))


def test_an_address_that_refuses_for_good_falls_back_for_both_receivers(engine: Engine, an_event: EventMaker) -> None:
    one, other = "{email: [a@x.org, gone@x.org], fallback: boss}", "{email: [gone@x.org, b@x.org], repeat_interval: 1h}"
    plan = two_routes(one, other)
    recorded(engine, plan, an_event(1))
    refused = [Refusal(("gone@x.org",), "550 gone")]
    told = Told()
    for lease in leased(engine):
        with engine.begin() as connection:
            assert outbox.confirm(connection, lease, LATER, never=refused)
            for step in follow_ups.schedule_for_refused(connection, LATER, lease, plan):
                told += follow_ups.follow_up(connection, LATER, plan, step) or Told()
    assert told == Told((Origin.FALLBACK,), ("email",))
    dead = [entry.receiver for entry in history(engine) if entry.state == "dead"]
    assert sorted(receiver or "" for receiver in dead) == ["all", "oncall"]


def test_each_of_two_receivers_repeats_by_its_own_interval(engine: Engine, an_event: EventMaker) -> None:
    plan = two_routes("{email: ops@x.org, repeat_interval: 2h}", REPEATS.replace("4h", "1h"))
    recorded(engine, plan, an_event(1))
    delivered(engine, plan, NOW)
    mails = []
    for hours in range(1, 5):
        followed(engine, plan, NOW + hours * HOUR)
        mails.append(len(delivered(engine, plan, NOW + hours * HOUR)))
    assert mails == [1, 2, 1, 2]


def test_an_address_that_another_receiver_repeats_has_no_repetition_of_the_first(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = two_routes(BOTH.replace("]", "], repeat_interval: 1h"), "{email: ops@x.org, repeat_interval: 1h}")
    recorded(engine, plan, an_event(1))
    first = delivered(engine, plan, NOW)
    assert followed(engine, plan, NOW + HOUR) is not None
    assert delivered(engine, plan, NOW + HOUR) == first


TAKEN_APART = """
channels: {room: "json://localhost/x"}
receivers:
  team: {channels: room, fallback: oncall}
  first: {email: x@x.org, escalate: {to: oncall, after: 10m}}
  oncall: {email: [a@x.org, b@x.org], task_email: true}
route:
  receiver: oncall
  group_by: [dag]
  group_wait: 0s
  routes:
  - {matchers: event=task_failed, receiver: TOLD, group_by: off, continue: true}
  - {matchers: dag=never, receiver: OTHER}
  - {matchers: task!=t9, receiver: oncall}
  - {receiver: nobody}
"""
TEAM, FIRST = (
    a_plan(TAKEN_APART.replace("TOLD", told).replace("OTHER", other))
    for told, other in (("team", "first"), ("first", "team"))
)
APART = [(("a@x.org", "b@x.org"), ("t1", "t2")), (("c@x.org",), ("t2",))]


def test_a_fallback_does_not_tell_whose_list_was_taken_apart_again(engine: Engine, an_event: EventMaker) -> None:
    recorded(engine, TEAM, an_event(1, emails=()), an_event(2, emails=("c@x.org",)))
    assert delivered(engine, TEAM) == APART
    assert buried(engine, TEAM, LATER, "room") == Told()
    dead = [entry for entry in history(engine) if entry.state == "dead"]
    told = {entry.delivery_id: entry for entry in history(engine) if entry.channel == "email"}
    assert [(entry.task_id, len(entry.heard_before)) for entry in dead] == [("t1", 1), ("t2", 2)]
    for entry in dead:
        assert {told[delivery].event_id for delivery in entry.heard_before} == {entry.event_id}


def test_an_escalation_does_not_tell_whose_list_was_taken_apart_again(engine: Engine, an_event: EventMaker) -> None:
    recorded(engine, FIRST, an_event(1, emails=()), an_event(2, emails=("c@x.org",)))
    assert delivered(engine, FIRST) == [*APART, (("x@x.org",), ("t1",)), (("x@x.org",), ("t2",))]
    assert followed(engine, FIRST, NOW + HOUR) == Told()


def test_a_fallback_tells_the_rest_of_a_list_and_each_person_in_one_mail(engine: Engine, an_event: EventMaker) -> None:
    """Of t1, a and b have heard; nobody of t9. Meanwhile c is on the list as well."""
    text = TAKEN_APART.replace("TOLD, group_by: off", "team, group_by: [event]").replace("OTHER", "first")
    plan = a_plan(text)
    recorded(engine, plan, an_event(1, emails=()), an_event(9, emails=()))
    assert delivered(engine, plan) == [(("a@x.org", "b@x.org"), ("t1",))]
    plan = a_plan(text.replace("b@x.org]", "b@x.org, c@x.org]"))
    assert buried(engine, plan, LATER, "room") == Told((Origin.FALLBACK,) * 2, ("email",) * 2)
    assert delivered(engine, plan) == [(("a@x.org", "b@x.org"), ("t9",)), (("c@x.org",), ("t1", "t9"))]
    of_room = {entry.task_id: entry for entry in history(engine) if entry.channel == "room"}
    (heard,) = [entry for entry in history(engine) if entry.delivery_id in of_room["t1"].heard_before]
    assert (heard.task_id, heard.addresses) == ("t1", ("a@x.org", "b@x.org"))
    assert of_room["t9"].heard_before == ()


CHAIN = """
receivers:
  everybody: {email: [lead@x.org, all@x.org]}
  ops: {email: ops@x.org, STEP}
  lead: {email: lead@x.org, escalate: {to: boss, after: 10m}}
  boss: {email: boss@x.org}
route:
  receiver: everybody
  routes:
  - {matchers: dag=never, receiver: boss}
  - {receiver: everybody, group_by: off, continue: true}
  - {receiver: ops, GROUPING}
"""
ESCALATED = CHAIN.replace("STEP", "escalate: {to: lead, after: 10m}").replace("GROUPING", "group_by: off")
HEARD = "not told twice by the same way, which the receiver everybody has as well"


def after(minutes: int) -> datetime:
    return NOW + minutes * MINUTE


def suppressed(engine: Engine) -> list[tuple[str | None, str | None]]:
    return [(entry.receiver, entry.error) for entry in history(engine) if entry.state == "suppressed"]


def note_to_boss(engine: Engine, now: datetime) -> tuple[str, ...]:
    notes = [lease.event.note for lease in leased(engine, now) if lease.event and lease.receiver == "boss"]
    return tuple(str(note).partition(": windsock")[0] for note in notes)


def test_an_escalation_to_whom_another_receiver_has_told_goes_on_from_there(
    engine: Engine, an_event: EventMaker
) -> None:
    plan = a_plan(ESCALATED)
    recorded(engine, plan, an_event(1))
    delivered(engine, plan, NOW)
    assert followed(engine, plan, after(10)) == Told(suppressed=(SuppressedBy.HEARD,))
    assert delivered(engine, plan, after(10)) == []
    assert suppressed(engine) == [("lead", HEARD)]
    assert followed(engine, plan, after(19)) is None
    assert followed(engine, plan, after(20)) == Told((Origin.ESCALATION,), ("email",))
    assert note_to_boss(engine, after(20)) == (
        "lead has heard of it by way of everybody, and nobody has acknowledged it",
    )
    assert followed(engine, plan, after(1000)) is None


def test_it_says_that_nobody_was_told_where_the_other_receivers_mail_died(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(ESCALATED)
    recorded(engine, plan, an_event(1))
    buried(engine, plan, NOW)
    followed(engine, plan, after(10))
    followed(engine, plan, after(20))
    assert note_to_boss(engine, after(20)) == (
        "lead could not be told through email (550 no such user), and nobody has acknowledged it",
    )


@pytest.mark.parametrize("stop", ["acknowledged", "over"])
def test_what_is_acknowledged_or_over_by_then_ends_there(engine: Engine, an_event: EventMaker, stop: str) -> None:
    plan = a_plan(ESCALATED)
    recorded(engine, plan, an_event(1))
    delivered(engine, plan, NOW)
    followed(engine, plan, after(10))
    if stop == "over":
        recorded(engine, plan, recovery(an_event), now=after(15))
    else:
        alert = history(engine)[0].event_id
        with engine.begin() as connection:
            acks.acknowledge(connection, after(15), [alert], "alice", "")
    assert followed(engine, plan, after(20)) == Told()


def test_what_is_silenced_then_ends_there_and_says_so(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(ESCALATED)
    recorded(engine, plan, an_event(1))
    delivered(engine, plan, NOW)
    with engine.begin() as connection:
        until = {"starts_at": NOW, "ends_at": after(15)}
        silences.add(connection, NOW, [parse_matcher("task=t1")], author="alice", comment="known", **until)
    assert followed(engine, plan, after(10)) == Told(suppressed=(SuppressedBy.SILENCE,))
    assert followed(engine, plan, after(1000)) is None
    ((receiver, error),) = suppressed(engine)
    assert receiver == "lead"
    assert "silence" in str(error)


def test_a_message_about_several_goes_on_as_one(engine: Engine, an_event: EventMaker) -> None:
    text = CHAIN.replace("STEP", "escalate: {to: lead, after: 10m}")
    plan = a_plan(text.replace("GROUPING", "group_by: [dag], group_wait: 0s"))
    recorded(engine, plan, an_event(1), an_event(2))
    delivered(engine, plan)
    assert followed(engine, plan, after(11)) == Told(suppressed=(SuppressedBy.HEARD,) * 2)
    assert followed(engine, plan, after(21)) == Told((Origin.ESCALATION,), ("email",))
    assert delivered(engine, plan, after(21)) == [(("boss@x.org",), ("t1", "t2"))]


def test_a_receiver_that_has_a_message_of_its_own_has_no_second_clock(engine: Engine, an_event: EventMaker) -> None:
    """Of lead's two addresses one has heard by way of everybody: the other one gets the message, and its clock."""
    plan = a_plan(ESCALATED.replace("lead: {email: lead@x.org", "lead: {email: [lead@x.org, deputy@x.org]"))
    recorded(engine, plan, an_event(1))
    delivered(engine, plan, NOW)
    assert followed(engine, plan, after(10)) == Told((Origin.ESCALATION,), ("email",))
    assert delivered(engine, plan, after(10)) == [(("deputy@x.org",), ("t1",))]
    assert suppressed(engine) == []
    assert followed(engine, plan, after(20)) == Told((Origin.ESCALATION,), ("email",))
    assert delivered(engine, plan, after(20)) == [(("boss@x.org",), ("t1",))]
    assert followed(engine, plan, after(1000)) is None


def test_a_fallback_to_whom_another_receiver_has_told_goes_on_as_well(engine: Engine, an_event: EventMaker) -> None:
    plan = a_plan(CHAIN.replace("STEP", "fallback: lead").replace("GROUPING", "group_by: off"))
    recorded(engine, plan, an_event(1))
    with engine.begin() as connection:
        for lease in outbox.lease(connection, NOW, MINUTE, 100, ["email"]):
            if lease.receiver == "everybody":
                outbox.confirm(connection, lease, NOW)
            else:
                outbox.bury(connection, lease, "550 no such user")
                assert fallbacks.fall_back(connection, NOW, plan, [lease.id]).origins == ()
    assert suppressed(engine) == [("lead", HEARD)]
    assert followed(engine, plan, after(10)) == Told((Origin.ESCALATION,), ("email",))
    assert delivered(engine, plan, after(10)) == [(("boss@x.org",), ("t1",))]


MUTED = """
receivers:
  ops: {email: ops@x.org, escalate: {to: lead, after: 10m}, fallback: peer}
  peer: {email: lead@x.org}
  lead: {email: lead@x.org, escalate: {to: boss, after: 10m}}
  boss: {email: boss@x.org}
mute_windows: {always: {windows: [{times: "00:00-24:00"}]}}
route:
  receiver: boss
  routes:
  - {receiver: ops, continue: true, GROUPING}
  - {receiver: lead, mute: always, GROUPING}
"""


@pytest.mark.parametrize("group_by", ["group_by: off", "group_by: [dag], group_wait: 0s"], ids=["alone", "grouped"])
def test_who_was_muted_and_has_heard_by_way_of_another_is_to_answer_for_it_all_the_same(
    engine: Engine, an_event: EventMaker, group_by: str
) -> None:
    plan = a_plan(MUTED.replace("GROUPING", group_by))
    recorded(engine, plan, an_event(1), an_event(2))
    assert {error for _, error in suppressed(engine)} == {"muted by the window always"}
    buried(engine, plan, LATER)
    assert {people for people, _ in delivered(engine, plan)} == {("lead@x.org",)}  # peer, as the fallback
    assert followed(engine, plan, after(12)) == Told(suppressed=(SuppressedBy.HEARD,) * 2)
    assert suppressed(engine) == [("lead", HEARD.replace("everybody", "peer"))] * 2
    followed(engine, plan, after(22))
    assert set(note_to_boss(engine, after(22))) == {
        "lead has heard of it by way of peer, and nobody has acknowledged it",
    }


def test_who_was_silenced_goes_on_when_it_escalates_to_them_again(engine: Engine, an_event: EventMaker) -> None:
    """Two receivers escalate to lead: the one while a silence holds, the other when it is over."""
    text = ESCALATED.replace("everybody: {email: [lead@x.org, all@x.org]}", "everybody: {email: lead@x.org, LATE}")
    plan = a_plan(text.replace("LATE", "escalate: {to: lead, after: 20m}"))
    recorded(engine, plan, an_event(1))
    delivered(engine, plan, NOW)
    with engine.begin() as connection:
        until = {"starts_at": NOW, "ends_at": after(15)}
        silences.add(connection, NOW, [parse_matcher("task=t1")], author="alice", comment="known", **until)
    assert followed(engine, plan, after(10)) == Told(suppressed=(SuppressedBy.SILENCE,))
    assert followed(engine, plan, after(20)) == Told(suppressed=(SuppressedBy.HEARD,))
    assert suppressed(engine) == [("lead", HEARD)]
    assert followed(engine, plan, after(30)) == Told((Origin.ESCALATION,), ("email",))
