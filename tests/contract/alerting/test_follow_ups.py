"""Escalation, acknowledgement, repetition, fallback and inhibition as rows, on every database."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, update

from alerting import acks, database, fallbacks, follow_ups, groups, inhibitions, outbox, silences
from alerting.channels import Refusal
from alerting.cleaning import shorten
from alerting.config import read
from alerting.database import transact
from alerting.deliver import Deliverer
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.inhibitions import Source
from alerting.kinds import EventKind
from alerting.matchers import DEFAULT_SEVERITY, labels_of, parse_matcher
from alerting.outbox import Entry, Lease
from alerting.render import Renderer
from alerting.routes import Origin, Plan, SuppressedBy
from alerting.routing import BUILT_IN_INHIBITIONS
from alerting.tables import alert_delivery, alert_event, alert_follow_up
from alerting.telling import Told
from alerting.told import fallback
from tests.contract.alerting.conftest import MINUTE, NOW, buried, followed
from tests.integration.alerting.running import NoMail

EventMaker = Callable[..., AlertEvent]
ESCALATING = "escalate: {after: 10m, to: lead}"
ROOM = ("ops", "lead")
HELD_BY = {"silence": SuppressedBy.SILENCE.value, "inhibition": SuppressedBy.INHIBITED.value}
GROUPED = ("event", "dag")
BY_ADDRESS = "SELECT alert_delivery.id, alert_delivery.event_id, alert_delivery.channel, alert_delivery.address"
BY_RUN = "inhibit: [{source_matchers: event=run_failed, target_matchers: event=task_failed, equal: [dag, run]}]"


def a_plan(ops: str = "", top: str = "", route: str = "{receiver: ops}", lead: str = "") -> Plan:
    """``ops`` is told; what its entry says besides its address is the test's matter. ``lead`` has an address, too."""
    text = f"""
receivers:
  ops: {{email: ops@example.org{", " if ops else ""}{ops}}}
  lead: {{email: lead@example.org{", " if lead else ""}{lead}}}
{top}
route: {{receiver: ops, routes: [{{matchers: dag=nowhere, receiver: lead}}, {{matchers: dag!=nowhere}}]}}
""".replace("{matchers: dag!=nowhere}", f"{{matchers: dag!=nowhere, {route[1:-1]}}}")
    return Plan(routing=read(text, Path("alerting.yml"), {}))


def recorded(engine: Engine, plan: Plan, now: datetime, *events: AlertEvent) -> outbox.Routed:
    with engine.begin() as connection:
        outbox.record(connection, events)
        return outbox.route(connection, now, plan)


def delivered(engine: Engine, plan: Plan, now: datetime) -> list[Lease]:
    """All that is due is accepted."""
    with engine.begin() as connection:
        leases = outbox.lease(connection, now, MINUTE, 100, ["email"])
        for lease in leases:
            assert outbox.confirm(connection, lease, now)
            follow_ups.schedule(connection, now, lease, plan)
    return leases


def rows(engine: Engine) -> list[Any]:
    with engine.begin() as connection:
        return list(connection.execute(select(alert_delivery).order_by(alert_delivery.c.id)).all())


def told_to(engine: Engine) -> Counter[tuple[str, str]]:
    return Counter((row.address.strip('[]"').partition("@")[0], row.state) for row in rows(engine))


def history(engine: Engine) -> list[Entry]:
    with engine.begin() as connection:
        return outbox.listing(connection)


def acknowledge(engine: Engine, *events: int, author: str = "alice", comment: str = "on it") -> int:
    with engine.begin() as connection:
        return acks.acknowledge(connection, NOW, events, author, comment)


def event_ids(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        return list(connection.execute(select(alert_event.c.id).order_by(alert_event.c.id)).scalars())


def recovery(event: EventMaker, n: int = 1, try_number: int = 2) -> AlertEvent:
    return event(n, kind=EventKind.TASK_RECOVERED, try_number=try_number)


class TestAcknowledging:
    def test_counts_the_first_one_and_keeps_who_when_and_why(self, engine: Engine, an_event: EventMaker) -> None:
        recorded(engine, Plan(), NOW, an_event(1), an_event(2))
        first, second = event_ids(engine)
        assert acknowledge(engine, first, first, first + 1000) == 1
        assert acknowledge(engine, first, second, author="bob") == 1
        assert {(entry.acked_by, entry.ack_comment, entry.acked_at) for entry in history(engine)} == {
            ("alice", "on it", NOW),
            ("bob", "on it", NOW),
        }

    def test_needs_an_author(self, engine: Engine) -> None:
        with pytest.raises(AlertingError, match="needs an author"):
            acknowledge(engine, 1, author=" ")

    def test_finds_what_is_open_by_dag_run_and_task(self, engine: Engine, an_event: EventMaker) -> None:
        retry = an_event(9, kind=EventKind.TASK_RETRY)
        recorded(engine, Plan(), NOW, an_event(1), an_event(2), an_event(1, run_id="r2"), an_event(3), retry)
        recorded(engine, Plan(), NOW, recovery(an_event, 3))
        one, two, other_run, *_ = event_ids(engine)
        acknowledge(engine, two)
        with engine.begin() as connection:
            assert acks.find_open(connection, "daily") == [other_run, one]
            assert acks.find_open(connection, "daily", "r1") == [one]
            assert acks.find_open(connection, "daily", task_id="t2") == []
            assert acks.find_open(connection, "another") == []

    def test_takes_a_message_for_all_that_it_tells_of(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan(route="{group_by: [dag], group_wait: 0s}")
        recorded(engine, plan, NOW, an_event(1), an_event(2))
        with engine.begin() as connection:
            groups.flush(connection, NOW, plan)
        (lease,) = delivered(engine, plan, NOW)
        told = event_ids(engine)
        with engine.begin() as connection:
            assert acks.of_message(connection, lease.id) == told
            assert acks.of_message(connection, lease.id + 1000) == []


class TestEscalation:
    def test_comes_so_long_after_the_delivery_and_says_so(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan(ESCALATING)
        recorded(engine, plan, NOW, an_event(1))
        later = NOW + timedelta(hours=1)
        assert followed(engine, plan, later) is None
        assert len(delivered(engine, plan, later)) == 1
        with engine.begin() as connection:
            assert follow_ups.next_due(connection, plan) == later + 10 * MINUTE
        assert followed(engine, plan, later + 9 * MINUTE) is None
        assert followed(engine, plan, later + 10 * MINUTE) == Told((Origin.ESCALATION,), ("email",))
        assert followed(engine, plan, later + 10 * MINUTE) is None
        (lease,) = delivered(engine, plan, later + 10 * MINUTE)
        assert lease.addresses == ("lead@example.org",)
        assert lease.event is not None
        assert lease.event.note == (
            f"ops was told 10m ago, and nobody has acknowledged it: windsock alerts ack {event_ids(engine)[0]}"
        )
        assert lease.event.episode_key == an_event(1).episode_key

    def test_is_another_message_than_the_first_and_the_same_at_each_attempt(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        """What takes one message once, a mailbox that both receivers have or a webhook, takes the escalation, too."""
        plan = a_plan(ESCALATING, lead="fallback: boss", top="  boss: {email: boss@example.org}")
        recorded(engine, plan, NOW, an_event(1))
        (first,) = delivered(engine, plan, NOW)
        assert first.event is not None
        keys = [first.event.dedup_key]
        followed(engine, plan, NOW + 10 * MINUTE)
        for attempt in (1, 2):
            now = NOW + (10 + attempt) * MINUTE
            with engine.begin() as connection:
                (lease,) = outbox.lease(connection, now, timedelta(seconds=1), 10, ["email"])
            assert lease.event is not None
            keys.append(lease.event.dedup_key)
        buried(engine, plan, NOW + 20 * MINUTE)
        (last,) = delivered(engine, plan, NOW + 20 * MINUTE)
        assert last.event is not None
        keys.append(last.event.dedup_key)
        assert keys[1] == keys[2]
        assert len(set(keys)) == 3

    def test_goes_on_along_the_chain(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan(ESCALATING, lead="escalate: {after: 5m, to: boss}", top="  boss: {email: boss@example.org}")
        recorded(engine, plan, NOW, an_event(1))
        delivered(engine, plan, NOW)
        followed(engine, plan, NOW + 10 * MINUTE)
        delivered(engine, plan, NOW + 10 * MINUTE)
        assert followed(engine, plan, NOW + 14 * MINUTE) is None
        followed(engine, plan, NOW + 15 * MINUTE)
        delivered(engine, plan, NOW + 15 * MINUTE)
        assert followed(engine, plan, NOW + timedelta(days=1)) is None
        assert told_to(engine) == {("ops", "delivered"): 1, ("lead", "delivered"): 1, ("boss", "delivered"): 1}

    def test_is_one_message_about_what_is_not_acknowledged_of_a_group(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        plan = a_plan(ESCALATING, route="{group_by: [dag], group_wait: 0s}")
        recorded(engine, plan, NOW, *(an_event(n) for n in range(4)))
        with engine.begin() as connection:
            groups.flush(connection, NOW, plan)
        delivered(engine, plan, NOW)
        acknowledge(engine, event_ids(engine)[0])
        recorded(engine, plan, NOW, recovery(an_event, 1))
        assert followed(engine, plan, NOW + 10 * MINUTE) == Told((Origin.ESCALATION,), ("email",))
        lease = next(lease for lease in delivered(engine, plan, NOW + 10 * MINUTE) if lease.receiver == "lead")
        assert [event and event.task_id for event in (lease.event, *lease.others)] == ["t2", "t3"]
        assert lease.event is not None
        assert str(lease.event.note).endswith(f"windsock alerts ack {event_ids(engine)[0]}.1")  # the whole message

    @pytest.mark.parametrize("kind", [EventKind.TASK_RETRY, EventKind.TEST, EventKind.NOTIFIED, EventKind.SLA_AT_RISK])
    def test_is_for_trouble_only(self, engine: Engine, an_event: EventMaker, kind: EventKind) -> None:
        plan = a_plan(ESCALATING)
        recorded(engine, plan, NOW, an_event(1, kind=kind))
        assert len(delivered(engine, plan, NOW)) >= 1
        assert followed(engine, plan, NOW + timedelta(days=1)) is None

    def test_stops_when_it_is_acknowledged_or_over(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan(ESCALATING)
        recorded(engine, plan, NOW, an_event(1), an_event(2))
        delivered(engine, plan, NOW)
        acknowledge(engine, event_ids(engine)[0])
        recorded(engine, plan, NOW, recovery(an_event, 2))
        assert followed(engine, plan, NOW + 10 * MINUTE) == Told()
        assert ("lead", "pending") not in told_to(engine)

    def test_that_is_silenced_leaves_a_row_that_says_so(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan(ESCALATING)
        recorded(engine, plan, NOW, an_event(1))
        delivered(engine, plan, NOW)
        with engine.begin() as connection:
            silences.add(
                connection, NOW, [parse_matcher("dag=daily")],
                author="alice", comment="", starts_at=NOW, ends_at=NOW + timedelta(hours=1),
            )  # fmt: skip
        assert followed(engine, plan, NOW + 10 * MINUTE) == Told((), (), (SuppressedBy.SILENCE,))
        assert told_to(engine) == {("ops", "delivered"): 1, ("lead", "suppressed"): 1}

    @pytest.mark.parametrize("has", ["no file", "another file", "a file that does not escalate"])
    def test_is_left_to_those_who_have_the_file_that_says_so(
        self, engine: Engine, an_event: EventMaker, has: str
    ) -> None:
        plan = a_plan(ESCALATING)
        recorded(engine, plan, NOW, an_event(1))
        delivered(engine, plan, NOW)
        renamed = "receivers: {team: {email: ops@example.org}}\nroute: {receiver: team}"
        older = {"no file": Plan(), "another file": Plan(routing=read(renamed, Path("alerting.yml"), {}))}
        other = older.get(has, a_plan())
        assert followed(engine, other, NOW + 10 * MINUTE) is None
        with engine.begin() as connection:
            assert follow_ups.next_due(connection, other) is None
        assert followed(engine, plan, NOW + 11 * MINUTE) == Told((Origin.ESCALATION,), ("email",))

    def test_that_no_file_asks_for_any_more_is_forgotten_after_a_day(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        plan = a_plan(ESCALATING)
        recorded(engine, plan, NOW, an_event(1))
        delivered(engine, plan, NOW)
        due_at = NOW + 10 * MINUTE
        assert followed(engine, a_plan(), due_at + timedelta(hours=23)) is None
        assert followed(engine, a_plan(), due_at + timedelta(hours=24)) == Told()
        assert followed(engine, plan, due_at + timedelta(hours=24)) is None

    def test_beyond_the_limit_of_the_next_receiver_waits_in_its_digest(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        plan = a_plan(ESCALATING, lead="limit: {messages: 2, per: 1m}")
        recorded(engine, plan, NOW, *(an_event(n) for n in range(6)))
        delivered(engine, plan, NOW)
        followed(engine, plan, NOW + 10 * MINUTE)
        assert told_to(engine) == {("ops", "delivered"): 6, ("lead", "pending"): 2, ("lead", "waiting"): 4}
        with engine.begin() as connection:
            groups.flush(connection, NOW + 11 * MINUTE, plan)
        assert sorted(1 + len(lease.others) for lease in delivered(engine, plan, NOW + 11 * MINUTE)) == [1, 1, 4]

    def test_that_was_rolled_back_is_done_again(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan(ESCALATING)
        recorded(engine, plan, NOW, an_event(1))
        delivered(engine, plan, NOW)
        with engine.connect() as connection:  # closing it rolls back, as a death does
            assert follow_ups.follow_up(connection, NOW + 10 * MINUTE, plan) is not None
        assert followed(engine, plan, NOW + 10 * MINUTE) == Told((Origin.ESCALATION,), ("email",))

    def test_is_done_once_by_whoever_comes_first(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan(ESCALATING)
        recorded(engine, plan, NOW, *(an_event(n) for n in range(20)))
        delivered(engine, plan, NOW)
        at_once(
            lambda: transact(engine, lambda connection, _: follow_ups.follow_up(connection, NOW + 10 * MINUTE, plan))
        )
        assert told_to(engine) == {("ops", "delivered"): 20, ("lead", "pending"): 20}
        with engine.begin() as connection:
            assert connection.execute(select(alert_follow_up)).all() == []


class TestRepeating:
    def test_tells_again_with_another_key_until_it_is_over(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("repeat_interval: 4h")
        recorded(engine, plan, NOW, an_event(1))
        delivered(engine, plan, NOW)
        keys = [an_event(1).dedup_key]
        for turn in (1, 2):
            now = NOW + turn * timedelta(hours=4)
            assert followed(engine, plan, now - MINUTE) is None
            assert followed(engine, plan, now) == Told((Origin.REPEAT,), ("email",))
            (lease,) = delivered(engine, plan, now)
            assert lease.event is not None
            assert (lease.turn, lease.addresses) == (turn, ("ops@example.org",))
            assert "It lasts, and nobody has acknowledged it" in (lease.event.note or "")
            keys.append(lease.event.dedup_key)
        assert len(set(keys)) == 3
        recorded(engine, plan, NOW, recovery(an_event))
        assert followed(engine, plan, NOW + timedelta(hours=12)) == Told()
        assert followed(engine, plan, NOW + timedelta(days=2)) is None

    def test_goes_to_where_its_receiver_is_now(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("repeat_interval: 4h")
        recorded(engine, plan, NOW, an_event(1))
        delivered(engine, plan, NOW)
        moved = a_plan("repeat_interval: 4h, channels: [room]", top="channels: {room: json://localhost/x}")
        text = "[new@example.org, gone@example.org]"
        ops = moved.receiver("ops")
        assert moved.routing is not None
        assert ops is not None
        receivers = dict(moved.routing.receivers) | {"ops": replace(ops, emails=tuple(text.strip("[]").split(", ")))}
        moved = replace(moved, routing=replace(moved.routing, receivers=receivers))
        assert followed(engine, moved, NOW + timedelta(hours=4)) == Told((Origin.REPEAT,) * 2, ("email", "room"))
        told = [(row.channel, row.address) for row in rows(engine)[1:]]
        assert told == [("email", '["new@example.org","gone@example.org"]'), ("room", "")]

    def test_that_was_switched_off_does_not_come(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("repeat_interval: 4h")
        recorded(engine, plan, NOW, an_event(1))
        delivered(engine, plan, NOW)
        assert followed(engine, a_plan(lead="repeat_interval: 4h"), NOW + timedelta(hours=4)) is None
        assert len(rows(engine)) == 1

    def test_leaves_a_way_of_its_receiver_that_is_told_again_later_to_that_time(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        """The room was away and was told two hours after the mail: neither waits for the other, nor comes twice."""
        plan = a_plan("repeat_interval: 4h, channels: [room]", top="channels: {room: json://localhost/x}")
        recorded(engine, plan, NOW, an_event(1))
        told: list[tuple[int, str, int]] = []
        for hour in range(0, 11, 2):
            now = NOW + timedelta(hours=hour)
            followed(engine, plan, now)
            with engine.begin() as connection:
                for lease in outbox.lease(connection, now, MINUTE, 10, ["email", "room"] if hour >= 2 else ["email"]):
                    assert outbox.confirm(connection, lease, now)
                    follow_ups.schedule(connection, now, lease, plan)
                    told.append((hour, lease.channel, lease.turn))
        assert told == [
            (0, "email", 0), (2, "room", 0), (4, "email", 1), (6, "room", 1), (8, "email", 2), (10, "room", 2),
        ]  # fmt: skip

    def test_stops_when_somebody_acknowledges(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("repeat_interval: 4h")
        recorded(engine, plan, NOW, an_event(1))
        delivered(engine, plan, NOW)
        acknowledge(engine, *event_ids(engine))
        assert followed(engine, plan, NOW + timedelta(hours=4)) == Told()

    def test_is_for_the_latest_of_several_of_one_trouble(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("repeat_interval: 4h")
        runs = [
            an_event(n, kind=EventKind.RUN_FAILED, run_id=f"r{n}", task_id=None, try_number=None, cause="timed_out")
            for n in range(3)
        ]
        recorded(engine, plan, NOW, *runs)
        assert len(delivered(engine, plan, NOW)) == 3
        assert followed(engine, plan, NOW + timedelta(hours=4)) == Told((Origin.REPEAT,), ("email",))
        (lease,) = delivered(engine, plan, NOW + timedelta(hours=4))
        assert lease.event is not None
        assert lease.event.run_id == "r2"

    def test_is_not_for_what_nothing_ends(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("repeat_interval: 4h")
        recorded(engine, plan, NOW, an_event(1, kind=EventKind.SLA_MISSED))
        assert len(delivered(engine, plan, NOW)) == 1
        assert followed(engine, plan, NOW + timedelta(days=1)) is None

    def test_goes_on_when_the_silence_that_held_it_back_is_over(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("repeat_interval: 4h", route="{group_by: [dag], group_wait: 0s}")
        recorded(engine, plan, NOW, an_event(1), an_event(2), an_event(3))
        with engine.begin() as connection:
            groups.flush(connection, NOW, plan)
            silences.add(
                connection, NOW, [parse_matcher('task=~"t1|t2"')],
                author="alice", comment="", starts_at=NOW, ends_at=NOW + timedelta(hours=9),
            )  # fmt: skip
        delivered(engine, plan, NOW)
        told = []
        for turn in range(1, 4):
            now = NOW + turn * timedelta(hours=4)
            assert followed(engine, plan, now) is not None
            leases = delivered(engine, plan, now)
            told.append(sorted(e.task_id or "" for lease in leases for e in (lease.event, *lease.others) if e))
        assert told == [["t3"], ["t3"], ["t1", "t2", "t3"]]
        assert told_to(engine) == {("ops", "delivered"): 8, ("ops", "suppressed"): 4}

    def test_goes_on_after_a_message_that_died(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("repeat_interval: 4h")
        recorded(engine, plan, NOW, an_event(1))
        for turn in range(2):
            now = NOW + turn * timedelta(hours=4)
            followed(engine, plan, now)
            with engine.begin() as connection:
                (lease,) = outbox.lease(connection, now, MINUTE, 10, ["email"])
                assert outbox.bury(connection, lease, "gone")
                assert follow_ups.schedule_for_dead(connection, now, lease, plan) == 1
        assert followed(engine, plan, NOW + timedelta(hours=8)) == Told((Origin.REPEAT,), ("email",))
        assert told_to(engine) == {("ops", "dead"): 2, ("ops", "pending"): 1}

    def test_keeps_its_turn_for_an_address_that_refused(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("repeat_interval: 4h")
        recorded(engine, plan, NOW, an_event(1))
        refused = [Refusal(("slow@example.org",), "451")]
        for now in (NOW, NOW + timedelta(hours=4)):
            followed(engine, plan, now)
            with engine.begin() as connection:
                for lease in outbox.lease(connection, now, MINUTE, 10, ["email"]):
                    later = refused if lease.addresses == ("ops@example.org",) else []
                    outbox.confirm(connection, lease, now, later=later)
                    follow_ups.schedule(connection, now, lease, plan)
        assert (told_to(engine)[("slow", "delivered")], told_to(engine)[("slow", "pending")]) == (1, 1)


class TestTheEnd:
    def test_is_told_where_the_trouble_was_told_and_nowhere_else(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan(ESCALATING)
        recorded(engine, plan, NOW, an_event(1), an_event(2))
        delivered(engine, plan, NOW)
        followed(engine, plan, NOW + 10 * MINUTE)
        delivered(engine, plan, NOW + 10 * MINUTE)
        recorded(engine, plan, NOW, recovery(an_event, 1))
        told = delivered(engine, plan, NOW + 11 * MINUTE)
        assert sorted(lease.addresses for lease in told) == [("lead@example.org",), ("ops@example.org",)]
        assert {lease.event and lease.event.kind for lease in told} == {EventKind.TASK_RECOVERED}
        assert {row.origin for row in rows(engine)} == {None, "escalation", "resolved"}

    def test_without_a_file_goes_to_whom_the_settings_told(self, engine: Engine, an_event: EventMaker) -> None:
        plan = Plan(("json-1",))
        recorded(engine, plan, NOW, an_event(1))
        recorded(engine, plan, NOW, recovery(an_event))
        assert sorted((row.channel, row.address) for row in rows(engine)) == [
            ("email", '["alice@example.org"]'),
            ("email", '["alice@example.org"]'),
            ("json-1", ""),
            ("json-1", ""),
        ]

    def test_is_not_told_where_nobody_was_told_of_the_trouble(self, engine: Engine, an_event: EventMaker) -> None:
        recorded(engine, Plan(), NOW, an_event(1, emails=()), an_event(2))
        buried(engine, Plan(), NOW)
        routed = recorded(engine, Plan(), NOW, recovery(an_event, 1), recovery(an_event, 2), recovery(an_event, 3))
        assert routed.suppressed == (SuppressedBy.NOBODY,) * 3
        assert {row.error for row in rows(engine)[2:]} == {"nobody was told of what this ends"}

    def test_ends_what_came_before_it_and_not_what_came_after(self, engine: Engine, an_event: EventMaker) -> None:
        again = an_event(1, try_number=3)
        recorded(engine, Plan(), NOW, an_event(1), recovery(an_event), again)
        with engine.begin() as connection:
            query = select(alert_event.c.ended_by).order_by(alert_event.c.id)
            ended = list(connection.execute(query).scalars())
        assert ended == [event_ids(engine)[1], None, None]
        recorded(engine, Plan(), NOW, recovery(an_event, try_number=4))
        assert told_to(engine) == {("alice", "pending"): 4}

    def test_of_a_trouble_that_still_waits_in_its_group_is_told_with_it(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        plan = a_plan(route="{group_by: [dag], group_wait: 30s}")
        recorded(engine, plan, NOW, an_event(1))
        recorded(engine, plan, NOW, recovery(an_event))
        with engine.begin() as connection:
            assert groups.flush(connection, NOW + MINUTE, plan) == groups.Wave(("email",))
        (lease,) = delivered(engine, plan, NOW + MINUTE)
        kinds = [event and event.kind for event in (lease.event, *lease.others)]
        assert kinds == [EventKind.TASK_FAILED, EventKind.TASK_RECOVERED]

    def test_of_a_trouble_that_was_told_in_a_group_waits_for_the_next_message_of_the_group(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        plan = a_plan(route="{group_by: [dag], group_wait: 30s, group_interval: 5m}")
        recorded(engine, plan, NOW, an_event(1), an_event(2))
        with engine.begin() as connection:
            groups.flush(connection, NOW + MINUTE, plan)
        delivered(engine, plan, NOW + MINUTE)
        recorded(engine, plan, NOW + 2 * MINUTE, recovery(an_event, 1), recovery(an_event, 2))
        with engine.begin() as connection:
            assert groups.flush(connection, NOW + 5 * MINUTE, plan) is None
            assert groups.flush(connection, NOW + 6 * MINUTE, plan) == groups.Wave(("email",))
        (lease,) = delivered(engine, plan, NOW + 6 * MINUTE)
        assert len(lease.others) == 1

    def test_can_be_switched_off_for_a_receiver(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("send_resolved: false")
        recorded(engine, plan, NOW, an_event(1))
        routed = recorded(engine, plan, NOW, recovery(an_event))
        assert routed.suppressed == (SuppressedBy.UNWANTED,)
        assert rows(engine)[1].error == "ops is not told of ends: send_resolved is false"

    @pytest.mark.parametrize("unwanted", ["ops", "lead"])
    def test_reaches_a_receiver_that_shares_its_address_with_one_that_does_not_want_ends(
        self, engine: Engine, an_event: EventMaker, unwanted: str
    ) -> None:
        ops, lead = (f"{{email: room@example.org, send_resolved: {str(unwanted != name).lower()}}}" for name in ROOM)
        text = f"""
receivers: {{ops: {ops}, lead: {lead}}}
route: {{receiver: ops, routes: [{{matchers: event=task_retry}}, {{matchers: event=task_failed, receiver: lead}}]}}
"""
        plan = Plan(routing=read(text, Path("alerting.yml"), {}))
        for told in (an_event(1, kind=EventKind.TASK_RETRY), an_event(1, try_number=2)):
            recorded(engine, plan, NOW, told)
            delivered(engine, plan, NOW)
        assert recorded(engine, plan, NOW, recovery(an_event, try_number=3)).suppressed == ()
        (end,) = delivered(engine, plan, NOW)
        assert end.receiver == ("lead" if unwanted == "ops" else "ops")

    def test_is_held_back_by_a_silence(self, engine: Engine, an_event: EventMaker) -> None:
        recorded(engine, Plan(), NOW, an_event(1))
        with engine.begin() as connection:
            silences.add(
                connection, NOW, [parse_matcher("event=task_recovered")],
                author="alice", comment="", starts_at=NOW, ends_at=NOW + timedelta(hours=1),
            )  # fmt: skip
        assert recorded(engine, Plan(), NOW, recovery(an_event)).suppressed == (SuppressedBy.SILENCE,)

    def test_of_a_trouble_that_two_routers_share_is_told(self, engine: Engine, an_event: EventMaker) -> None:
        """Whichever router has the trouble and whichever has its end: the end waits for the trouble's deliveries."""
        for n in range(30):
            with engine.begin() as connection:
                outbox.record(connection, [an_event(n)])
                outbox.record(connection, [recovery(an_event, n)])
        at_once(
            lambda: [
                transact(engine, lambda connection, now: outbox.route(connection, now, Plan(), 7)) for _ in range(12)
            ]
        )
        assert told_to(engine) == {("alice", "pending"): 60}


class TestFallback:
    def test_is_told_once_of_what_died_and_says_why(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("fallback: lead")
        recorded(engine, plan, NOW, an_event(1))
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))
        (lease,) = delivered(engine, plan, NOW)
        assert lease.addresses == ("lead@example.org",)
        assert lease.event is not None
        assert lease.event.note == "Meant for ops, which could not be told through email: 550 no such user"
        (dead,) = [row.id for row in rows(engine) if row.state == "dead"]
        with engine.begin() as connection:
            assert fallbacks.fall_back(connection, NOW, plan, [dead]) == Told()

    def test_that_dies_itself_goes_no_further(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("fallback: lead", lead="fallback: ops")
        recorded(engine, plan, NOW, an_event(1))
        buried(engine, plan, NOW)
        assert buried(engine, plan, NOW) == Told()
        assert told_to(engine) == {("ops", "dead"): 1, ("lead", "dead"): 1}

    def test_of_the_whole_file_holds_where_a_receiver_has_none_of_its_own(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        plan = a_plan(top="fallback: lead")
        recorded(engine, plan, NOW, an_event(1))
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))

    def test_gets_a_dead_group_as_one_message(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("fallback: lead", route="{group_by: [dag], group_wait: 0s}")
        recorded(engine, plan, NOW, *(an_event(n) for n in range(3)))
        with engine.begin() as connection:
            groups.flush(connection, NOW, plan)
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))
        (lease,) = delivered(engine, plan, NOW)
        assert len(lease.others) == 2

    def test_is_not_told_what_it_was_told_already(self, engine: Engine, an_event: EventMaker) -> None:
        text = (
            "receivers: {ops: {email: ops@example.org, fallback: lead}, lead: {email: lead@example.org}}\n"
            "route: {receiver: ops, routes: [{receiver: ops, continue: true}, {receiver: lead}]}"
        )
        plan = Plan(routing=read(text, Path("alerting.yml"), {}))
        recorded(engine, plan, NOW, an_event(1))
        assert told_to(engine) == {("ops", "pending"): 1, ("lead", "pending"): 1}
        assert buried(engine, plan, NOW) == Told()
        dead, lead = history(engine)
        assert (dead.fell_back_to, dead.heard_before) == ("lead", (lead.delivery_id,))
        assert lead.fell_back_to is None

    @pytest.mark.parametrize("held_by", ["mute window", "silence", "inhibition"])
    def test_is_told_what_was_kept_from_it_for_a_time(self, engine: Engine, an_event: EventMaker, held_by: str) -> None:
        """Nobody else was told; and its line, which said why it was not, is the message."""
        mute = ", mute: always" if held_by == "mute window" else ""
        text = f"""
receivers: {{ops: {{email: ops@example.org, fallback: lead}}, lead: {{email: lead@example.org}}}}
mute_windows: {{always: {{windows: [{{dates: [2026-01-01..2027-01-01]}}]}}}}
route: {{receiver: ops, routes: [{{receiver: ops, continue: true}}, {{receiver: lead{mute}}}]}}
"""
        plan = Plan(routing=read(text, Path("alerting.yml"), {}))
        recorded(engine, plan, NOW, an_event(1))
        if not mute:  # it was held back before; what holds it back is over
            why = {"state": "suppressed", "due_at": None, "error": "held", "held_by": HELD_BY[held_by]}
            of_lead = alert_delivery.c.receiver == "lead"
            with engine.begin() as connection:
                connection.execute(update(alert_delivery).where(of_lead).values(**why))
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))
        dead, lead = history(engine)
        assert (lead.receiver, lead.state, lead.origin, lead.error) == ("lead", "pending", "fallback", None)
        assert list(fallback(dead, [dead, lead])) == [f"its fallback lead: {lead.number} (pending)"]

    @pytest.mark.parametrize("held_by", ["unwanted", "told_itself", "failing_channel"])
    def test_is_not_told_what_it_does_not_want_or_knows_or_cannot_be_told(
        self, engine: Engine, an_event: EventMaker, held_by: str
    ) -> None:
        text = (
            "receivers: {ops: {email: ops@example.org, fallback: lead}, lead: {email: lead@example.org}}\n"
            "route: {receiver: ops, routes: [{receiver: ops, continue: true}, {receiver: lead}]}"
        )
        plan = Plan(routing=read(text, Path("alerting.yml"), {}))
        recorded(engine, plan, NOW, an_event(1))
        why = {"state": "suppressed", "due_at": None, "error": "held", "held_by": held_by}
        with engine.begin() as connection:
            connection.execute(update(alert_delivery).where(alert_delivery.c.receiver == "lead").values(**why))
        assert buried(engine, plan, NOW) == Told()
        assert told_to(engine) == {("ops", "dead"): 1, ("lead", "suppressed"): 1}

    def test_that_has_heard_of_a_part_of_a_message_is_told_the_rest(self, engine: Engine, an_event: EventMaker) -> None:
        text = (
            "receivers: {ops: {email: ops@example.org, fallback: lead}, lead: {email: lead@example.org}}\n"
            "route:\n"
            "  receiver: ops\n"
            "  routes:\n"
            "    - {matchers: task=t1, receiver: lead, continue: true}\n"
            "    - {receiver: ops, group_by: [dag], group_wait: 0s}\n"
        )
        plan = Plan(routing=read(text, Path("alerting.yml"), {}))
        recorded(engine, plan, NOW, an_event(1), an_event(2))
        delivered(engine, plan, NOW)
        with engine.begin() as connection:
            groups.flush(connection, NOW, plan)
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))
        of_ops = {entry.task_id: entry for entry in history(engine) if entry.receiver == "ops"}
        of_lead = {entry.task_id: entry for entry in history(engine) if entry.receiver == "lead"}
        assert {entry.fell_back_to for entry in of_ops.values()} == {"lead"}
        assert of_ops["t1"].heard_before == (of_lead["t1"].delivery_id,)
        assert of_ops["t2"].heard_before == ()
        assert of_lead["t2"].origin == "fallback"

    def test_gets_what_single_addresses_refused_for_good(self, engine: Engine, an_event: EventMaker) -> None:
        plan = a_plan("fallback: lead")
        recorded(engine, plan, NOW, an_event(1))
        with engine.begin() as connection:
            (lease,) = outbox.lease(connection, NOW, MINUTE, 10, ["email"])
            outbox.confirm(connection, lease, NOW, never=[Refusal(("gone@example.org",), "550 gone")])
            assert follow_ups.schedule_for_refused(connection, NOW, lease, plan).origins == (Origin.FALLBACK,)
        assert told_to(engine) == {("ops", "delivered"): 1, ("gone", "dead"): 1, ("lead", "pending"): 1}

    def test_gets_what_waits_for_a_channel_that_is_down_and_the_channel_gets_it_too(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        plan = a_plan("fallback: {to: lead, after: 5m}")
        recorded(engine, plan, NOW, an_event(1), an_event(2))

        def down(span: timedelta) -> Told | None:
            with engine.begin() as connection:
                return fallbacks.fall_back_from(connection, NOW, plan, "email", span)

        assert down(4 * MINUTE) is None
        assert down(6 * MINUTE) == Told((Origin.FALLBACK,) * 2, ("email",) * 2)
        assert down(7 * MINUTE) is None
        assert told_to(engine) == {("ops", "pending"): 2, ("lead", "pending"): 2}
        (note,) = {row.note for row in rows(engine) if row.origin == "fallback"}
        assert (
            note == "Meant for ops, which could not be told through email: it has taken nothing for 6m; it is tried on"
        )

    @pytest.mark.parametrize("length", [10, 1000])
    def test_is_told_what_the_channel_answers_and_that_it_is_tried_on(
        self, engine: Engine, an_event: EventMaker, length: int
    ) -> None:
        plan = a_plan("fallback: {to: lead, after: 5m}")
        recorded(engine, plan, NOW, an_event(1))
        answer = f"error 429: {'x' * length}"
        with engine.begin() as connection:
            fallbacks.fall_back_from(connection, NOW, plan, "email", 6 * MINUTE, answer)
        note = rows(engine)[-1].note
        assert note.startswith("Meant for ops, which could not be told through email: it has taken nothing for 6m (")
        assert note.endswith(f"({shorten(answer, fallbacks.ANSWER_LIMIT)}); it is tried on")

    def test_of_many_takes_few_statements_and_one_batch_at_a_time(self, engine: Engine, an_event: EventMaker) -> None:
        ops = "limit: {messages: 100}, fallback: {to: lead, after: 5m}"
        plan = a_plan(ops, lead="limit: {messages: 45, per: 1h}")
        recorded(engine, plan, NOW, *(an_event(n) for n in range(60)))
        seen: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda c, k, statement, *_: seen.append(statement))
        with engine.begin() as connection:
            told = fallbacks.fall_back_from(connection, NOW, plan, "email", 6 * MINUTE)
        assert told == Told((Origin.FALLBACK,) * 50, ("email",) * 45)
        assert len(seen) < 20
        assert told_to(engine) == {("ops", "pending"): 60, ("lead", "pending"): 45, ("lead", "waiting"): 5}

    def test_of_groups_with_very_many_alerts_looks_in_parts_for_what_was_told(
        self, engine: Engine, an_event: EventMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A database takes only so many parameters in one statement, and a digest may tell of thousands of alerts."""
        monkeypatch.setattr(database, "BATCH", 4)
        plan = a_plan("fallback: lead", route="{group_by: [dag], group_wait: 0s}")
        recorded(engine, plan, NOW, *(an_event(n) for n in range(9)))
        with engine.begin() as connection:
            groups.flush(connection, NOW, plan)
        asked: list[int] = []

        def look(_c: object, _k: object, statement: str, parameters: Any, *_: object) -> None:
            if statement.startswith(BY_ADDRESS):
                asked.append(len(parameters))

        event.listen(engine, "before_cursor_execute", look)
        assert buried(engine, plan, NOW) == Told((Origin.FALLBACK,), ("email",))
        assert asked == [4, 4, 1] * 2  # before it writes, and to note who had heard

    def test_of_a_channel_that_is_down_leaves_each_turn_time_for_the_others(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        plan = a_plan("limit: {messages: 100}, fallback: {to: lead, after: 5m}")
        recorded(engine, plan, NOW, *(an_event(n) for n in range(60)))
        subject = Deliverer(engine, [NoMail()], Renderer(lambda *_: [], str), plan)
        told: list[tuple[bool, int]] = []
        for _ in range(3):
            more = subject._fall_back_from("email", 6 * MINUTE)
            told.append((more, sum(row.origin == "fallback" for row in rows(engine))))
        assert told == [(True, 50), (True, 60), (False, 60)]


class TestInhibition:
    def down(self, **changes: Any) -> AlertEvent:
        values = {"kind": EventKind.COMPONENT_DOWN, "occurred_at": NOW, "subject": "scheduler on a"}
        return AlertEvent(**values | changes)

    def late(self, dag_id: str = "daily", **changes: Any) -> AlertEvent:
        values = {"kind": EventKind.DAG_LATE, "occurred_at": NOW, "dag_id": dag_id}
        return AlertEvent(**values | changes)

    def test_holds_what_a_dead_scheduler_explains_until_it_is_back(self, engine: Engine) -> None:
        plan = Plan(("json-1",))
        recorded(engine, plan, NOW, self.down())
        source = event_ids(engine)[0]
        assert recorded(engine, plan, NOW, self.late()).suppressed == (SuppressedBy.INHIBITED,)
        assert rows(engine)[1].error == f"inhibited by component down (scheduler on a), alert {source}"
        recorded(engine, plan, NOW, self.down(kind=EventKind.COMPONENT_UP))
        assert recorded(engine, plan, NOW, self.late("other")).suppressed == ()

    def test_holds_within_one_batch_whichever_comes_first(self, engine: Engine) -> None:
        assert recorded(engine, Plan(("json-1",)), NOW, self.late(), self.down()).suppressed == (
            SuppressedBy.INHIBITED,
        )

    def test_does_not_hold_for_another_component_nor_for_ever(self, engine: Engine) -> None:
        plan = Plan(("json-1",))
        old = NOW - timedelta(days=2)
        recorded(engine, plan, NOW, self.down(subject="web server on a"), self.down(occurred_at=old))
        assert recorded(engine, plan, NOW, self.late()).suppressed == ()

    def test_by_rules_of_the_file_needs_the_labels_to_be_equal(self, engine: Engine, an_event: EventMaker) -> None:
        rule = (
            "inhibit: [{source_matchers: event=dag_broken, target_matchers: 'event=~\"task_.*|dag_broken\"', "
            "equal: [subject]}]"
        )
        plan = a_plan(top=rule)
        broken = AlertEvent(kind=EventKind.DAG_BROKEN, occurred_at=NOW, subject="a.py")
        again = AlertEvent(kind=EventKind.DAG_BROKEN, occurred_at=NOW + MINUTE, subject="a.py")
        routed = recorded(engine, plan, NOW, broken, again, an_event(1, subject="a.py"), an_event(2, subject="b.py"))
        # What is a source as well as a target does not inhibit its like.
        assert routed.suppressed == (SuppressedBy.INHIBITED,)

    def test_holds_back_what_still_waits_in_a_group_too(self, engine: Engine) -> None:
        plan = a_plan(route="{group_by: [event], group_wait: 30s}")
        recorded(engine, plan, NOW, self.late("one"), self.late("two"))
        recorded(engine, plan, NOW, self.down())
        waves = []
        with engine.begin() as connection:
            while (wave := groups.flush(connection, NOW + MINUTE, plan)) is not None:
                waves.append(wave)
        assert sorted(wave.inhibited for wave in waves) == [0, 2]

    @pytest.mark.parametrize("at_once", [True, False])
    def test_does_not_hold_for_a_run_whose_failure_nobody_was_told_of(
        self, engine: Engine, an_event: EventMaker, *, at_once: bool
    ) -> None:
        """A failed run is told by its tasks; when one is cleared and fails again, that is news."""
        plan = a_plan(top=BY_RUN)
        for attempt in (1, 2):
            task = an_event(1, try_number=attempt)
            run = an_event(9, kind=EventKind.RUN_FAILED, task_id=None, try_number=attempt, cause="task_failures")
            for batch in [[task, run]] if at_once else [[task], [run]]:
                recorded(engine, plan, NOW, *batch)
        assert told_to(engine)[("ops", "pending")] == 2

    @pytest.mark.parametrize("state", ["dead", "delivered", "silenced"])
    def test_holds_for_what_somebody_knows(self, engine: Engine, an_event: EventMaker, state: str) -> None:
        plan = a_plan(top=BY_RUN)
        if state == "silenced":
            with engine.begin() as connection:
                silences.add(
                    connection, NOW, [parse_matcher("event=run_failed")],
                    author="alice", comment="", starts_at=NOW, ends_at=NOW + timedelta(hours=1),
                )  # fmt: skip
        recorded(engine, plan, NOW, an_event(9, kind=EventKind.RUN_FAILED, task_id=None, cause="timed_out"))
        (buried if state == "dead" else delivered)(engine, plan, NOW)
        held = recorded(engine, plan, NOW, an_event(1)).suppressed
        assert held == (() if state == "dead" else (SuppressedBy.INHIBITED,))

    @pytest.mark.parametrize(
        "route", ["{receiver: ops}", "{group_by: [event], group_wait: 0s}", "{group_by: [dag], group_wait: 0s}"]
    )
    @pytest.mark.parametrize("at_once", [True, False])
    def test_leaves_one_of_two_that_would_hold_each_other_back(
        self, engine: Engine, an_event: EventMaker, route: str, *, at_once: bool
    ) -> None:
        rule = "{{source_matchers: event={}, target_matchers: event={}, equal: [dag, run]}}"
        rules = ", ".join((rule.format("run_failed", "task_failed"), rule.format("task_failed", "run_failed")))
        plan = a_plan(top=f"inhibit: [{rules}]", route=route)
        both = [an_event(1), an_event(9, kind=EventKind.RUN_FAILED, task_id=None, cause="timed_out")]
        for batch in [both] if at_once else [[one] for one in both]:
            recorded(engine, plan, NOW, *batch)
        with engine.begin() as connection:
            while groups.flush(connection, NOW, plan) is not None:
                pass
        assert told_to(engine) == {("ops", "pending"): 1, ("ops", "suppressed"): 1}

    def test_that_the_file_says_only_since_they_wait_in_a_group_leaves_one_of_two(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        rule = "{{source_matchers: event={}, target_matchers: event={}, equal: [dag, run]}}"
        rules = ", ".join((rule.format("run_failed", "task_failed"), rule.format("task_failed", "run_failed")))
        route = "{group_by: [dag], group_wait: 0s}"
        run = an_event(9, kind=EventKind.RUN_FAILED, task_id=None, cause="timed_out")
        recorded(engine, a_plan(route=route), NOW, an_event(1), run)
        with engine.begin() as connection:
            groups.flush(connection, NOW, a_plan(top=f"inhibit: [{rules}]", route=route))
        assert told_to(engine) == {("ops", "pending"): 1, ("ops", "suppressed"): 1}

    def test_looks_through_the_index_at_what_happened_of_late(self, engine: Engine) -> None:
        seen: list[tuple[str, Any]] = []
        event.listen(engine, "before_cursor_execute", lambda c, k, *told: seen.append((told[0], told[1])))
        with engine.begin() as connection:
            assert inhibitions.open_sources(connection, NOW, BUILT_IN_INHIBITIONS, DEFAULT_SEVERITY) == []
            if engine.dialect.name == "sqlite":  # the others choose by how many rows there are
                plans = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {seen[-1][0]}", seen[-1][1]).all()
                assert "ix_alert_event_open (kind=? AND ended_by=? AND occurred_at>?)" in str(plans)

    def test_compares_an_event_with_those_alone_whose_labels_are_equal(self, an_event: EventMaker) -> None:
        (rule,) = a_plan(top=BY_RUN).inhibitions
        asked: Counter[str] = Counter()

        class Watched(dict[str, Any]):
            def get(self, name: str, default: Any = None) -> Any:
                asked[name] += 1
                return super().get(name, default)

        runs = (an_event(n, kind=EventKind.RUN_FAILED, run_id=f"r{n}", task_id=None) for n in range(100))
        sources = inhibitions.Sources([rule], [Source(n, run, Watched(labels_of(run))) for n, run in enumerate(runs)])
        asked.clear()
        failed = an_event(1, run_id="r7")
        found = sources.inhibitor(1000, failed, labels_of(failed))
        assert found is not None
        assert (found.id, asked.total()) == (7, 0)

    def test_of_a_run_that_timed_out_holds_back_that_its_tasks_were_skipped(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        run = an_event(9, kind=EventKind.RUN_FAILED, task_id=None, try_number=None, cause="timed_out")
        skipped = an_event(1, kind=EventKind.TASK_SKIPPED)
        elsewhere = an_event(1, kind=EventKind.TASK_SKIPPED, run_id="r2")
        assert recorded(engine, a_plan(), NOW, skipped, elsewhere, run).suppressed == (SuppressedBy.INHIBITED,)


def test_a_plain_failure_costs_no_further_statement(engine: Engine, an_event: EventMaker) -> None:
    """Neither recording nor routing looks at episodes, inhibitions or follow-ups where a task just fails."""
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda c, k, statement, *_: seen.append(statement))
    recorded(engine, Plan(), NOW, *(an_event(n) for n in range(3)))
    words = [statement.split()[0] for statement in seen if not statement.startswith(("BEGIN", "SET"))]
    counted = 1 if engine.dialect.name == "mysql" else 0  # it counts before and not by RETURNING
    assert words == ["SELECT"] * counted + ["INSERT", "SELECT", "SELECT", "INSERT", "UPDATE"]


def at_once(work: Callable[[], object]) -> None:
    """Three threads do it at the same time; the first error is raised."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
