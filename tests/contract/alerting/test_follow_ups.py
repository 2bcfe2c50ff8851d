"""Escalation and repetition as rows: on every database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from alerting import follow_ups, groups, outbox, silences
from alerting.channels import Refusal
from alerting.config import read
from alerting.database import transact
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.matchers import parse_matcher
from alerting.routes import Origin, Plan, SuppressedBy
from alerting.tables import alert_follow_up
from alerting.telling import Told
from tests.contract.alerting.conftest import MINUTE, NOW, buried, followed
from tests.contract.alerting.following import (
    ESCALATING,
    a_plan,
    acknowledge,
    at_once,
    delivered,
    event_ids,
    recorded,
    recovery,
    rows,
    told_to,
)

EventMaker = Callable[..., AlertEvent]


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
