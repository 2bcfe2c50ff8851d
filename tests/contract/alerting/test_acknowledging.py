"""What somebody has acknowledged: on every database."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from alerting import acks, groups
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.routes import Plan
from tests.contract.alerting.conftest import NOW
from tests.contract.alerting.following import a_plan, acknowledge, delivered, event_ids, history, recorded, recovery

EventMaker = Callable[..., AlertEvent]


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
