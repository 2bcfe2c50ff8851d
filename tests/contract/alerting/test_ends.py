"""Who is told that a trouble is over: on every database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select

from alerting import groups, outbox, silences
from alerting.config import read
from alerting.database import transact
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.matchers import parse_matcher
from alerting.routes import Plan, SuppressedBy
from alerting.tables import alert_event
from tests.contract.alerting.conftest import MINUTE, NOW, buried, followed
from tests.contract.alerting.following import (
    ESCALATING,
    a_plan,
    at_once,
    delivered,
    event_ids,
    recorded,
    recovery,
    rows,
    told_to,
)

EventMaker = Callable[..., AlertEvent]
ROOM = ("ops", "lead")


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


def test_a_plain_failure_costs_no_further_statement(engine: Engine, an_event: EventMaker) -> None:
    """Neither recording nor routing looks at episodes, inhibitions or follow-ups where a task just fails."""
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda c, k, statement, *_: seen.append(statement))
    recorded(engine, Plan(), NOW, *(an_event(n) for n in range(3)))
    words = [statement.split()[0] for statement in seen if not statement.startswith(("BEGIN", "SET"))]
    counted = 1 if engine.dialect.name == "mysql" else 0  # it counts before and not by RETURNING
    assert words == ["SELECT"] * counted + ["INSERT", "SELECT", "SELECT", "INSERT", "UPDATE"]
