"""The history as people look at it: alerts with all that came of them, and their numbers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from alerting import groups, history, numbers, outbox
from alerting.config import read
from alerting.events import AlertEvent
from alerting.history import Alert, Search
from alerting.kinds import EventKind
from alerting.numbers import Number
from alerting.routes import Plan
from alerting.state_words import Shown
from alerting.tables import alert_delivery
from tests.contract.alerting.conftest import NOW

EventMaker = Callable[..., AlertEvent]
MAIL_AND_CHAT = Plan(("room",))
GROUPED = Plan(
    routing=read(
        "receivers: {ops: {email: ops@example.org}}\nroute: {receiver: ops, group_by: [dag], group_wait: 0s}",
        Path("alerting.yml"),
        {},
    )
)


def told(engine: Engine, plan: Plan, *events: AlertEvent) -> None:
    with engine.begin() as connection:
        outbox.record(connection, events)
        outbox.route(connection, NOW, plan)
        groups.flush(connection, NOW, plan)


def search(engine: Engine, limit: int = 10, **sought: object) -> list[Alert]:
    with engine.begin() as connection:
        return history.search(connection, Search(**sought), limit)  # type: ignore[arg-type]


def tasks(found: list[Alert]) -> list[str | None]:
    return [alert.head.task_id for alert in found]


class TestSearch:
    def test_an_alert_comes_once_with_all_of_its_deliveries(self, engine: Engine, an_event: EventMaker) -> None:
        told(engine, MAIL_AND_CHAT, an_event(1), an_event(2))
        newest, oldest = search(engine)
        assert [entry.channel for entry in newest.deliveries] == ["email", "room"]
        assert newest.deliveries[0].addresses == ("alice@example.org",)
        assert [entry.number for entry in oldest.deliveries] == [f"{oldest.number}.1", f"{oldest.number}.2"]
        assert tasks(search(engine, limit=1)) == ["t2"]

    def test_what_nobody_has_routed_yet_has_no_deliveries(self, engine: Engine, an_event: EventMaker) -> None:
        with engine.begin() as connection:
            outbox.record(connection, [an_event(1)])
        (alert,) = search(engine)
        assert (alert.deliveries, alert.head.state, alert.head.number) == ((), "recorded", None)
        assert alert.entries == (alert.head,)
        assert search(engine, states=("recorded",)) == [alert]

    def test_a_state_finds_the_alerts_that_have_a_delivery_in_it(self, engine: Engine, an_event: EventMaker) -> None:
        told(engine, MAIL_AND_CHAT, an_event(1), an_event(2))
        first = search(engine)[1].deliveries[0]
        with engine.begin() as connection:
            dead = {"state": "dead", "due_at": None}
            connection.execute(update(alert_delivery).where(alert_delivery.c.id == first.delivery_id).values(dead))
        (found,) = search(engine, states=("dead",))
        assert [entry.state for entry in found.deliveries] == ["dead", "pending"]
        assert history.tally(found) == [(Shown.DEAD, 1), (Shown.PENDING, 1)]
        assert tasks(search(engine, states=("pending",))) == ["t2", "t1"]
        assert search(engine, states=("sending",)) == []
        assert search(engine, states=("delivered",)) == []
        with engine.begin() as connection:
            done = {"state": "delivered", "due_at": None, "delivered_at": NOW}
            connection.execute(update(alert_delivery).where(alert_delivery.c.event_id == found.number).values(done))
        assert tasks(search(engine, states=("delivered",))) == tasks([found])
        assert tasks(search(engine, states=("delivered", "recorded", "pending"))) == ["t2", "t1"]

    def test_by_dag_kind_time_and_number(self, engine: Engine, an_event: EventMaker) -> None:
        told(engine, MAIL_AND_CHAT, an_event(1), an_event(2, dag_id="Daily"), an_event(3, kind=EventKind.RUN_OVERDUE))
        assert tasks(search(engine, dag_id="daily")) == ["t3", "t1"]  # no database folds the case
        assert tasks(search(engine, kind="run_overdue")) == ["t3"]
        assert tasks(search(engine, since=NOW + timedelta(seconds=2))) == ["t3", "t2"]
        assert tasks(search(engine, before_event=search(engine)[0].number)) == ["t2", "t1"]

    def test_what_nobody_asked_for_comes_only_where_it_is_asked_for(self, engine: Engine, an_event: EventMaker) -> None:
        told(engine, Plan(), an_event(1, kind=EventKind.TASK_RETRY, emails=()), an_event(2, emails=()))
        assert tasks(search(engine)) == ["t2"]
        assert tasks(search(engine, everything=True)) == ["t2", "t1"]
        assert tasks(search(engine, states=(Shown.NOT_TOLD,))) == ["t2", "t1"]
        assert search(engine, states=("suppressed",)) == []

    def test_only_what_is_in_the_window_is_sought_and_counted(self, engine: Engine, an_event: EventMaker) -> None:
        told(engine, Plan(("room",)), an_event(1), an_event(2), an_event(3, kind=EventKind.TASK_RETRY, emails=()))
        last, middle, first = (alert.number for alert in search(engine, everything=True))
        held = {"state": "suppressed", "due_at": None}
        with engine.begin() as connection:
            connection.execute(update(alert_delivery).where(alert_delivery.c.channel == "room").values(held))
            oldest, newest = connection.execute(select(*history.ends())).one()
            assert (oldest, newest) == (first, last)
            near = history.window(oldest, newest, 2)
            assert history.counts(connection, Search(), near) == {
                Shown.PENDING: 1, Shown.SUPPRESSED: 1, Shown.NOT_TOLD: 1
            }  # fmt: skip
            assert history.counts(connection, Search(kind="task_retry"), near) == {Shown.NOT_TOLD: 1}
        for states in ((), ("suppressed",), ("pending",)):
            assert tasks(search(engine, states=states, after_event=near.after, before_event=near.before)) == ["t2"]
        assert near.has_older
        rest = history.window(oldest, newest, 2, near.after + 1)
        assert tasks(search(engine, after_event=rest.after, before_event=rest.before)) == ["t1"]
        assert not rest.has_older
        assert middle == near.after + 1

    def test_what_is_about_no_task_has_its_subject(self, engine: Engine, an_event: EventMaker) -> None:
        broken = AlertEvent(kind=EventKind.DAG_BROKEN, occurred_at=NOW, subject="daily.py")
        told(engine, MAIL_AND_CHAT, broken, an_event(1))
        assert [alert.subject for alert in search(engine)] == ["", "daily.py"]


class TestNumbers:
    def test_a_line_is_a_delivery_of_its_alert(self, engine: Engine, an_event: EventMaker) -> None:
        told(engine, MAIL_AND_CHAT, an_event(1), an_event(2))
        alert = search(engine)[0]
        mail, chat = (entry.delivery_id for entry in alert.deliveries)
        assert mail
        assert chat
        with engine.begin() as connection:
            assert numbers.of_delivery(connection, chat) == Number(alert.number, 2)
            assert numbers.delivery_ids(connection, Number(alert.number)) == [mail, chat]
            assert numbers.delivery_ids(connection, Number(alert.number, 2)) == [chat]
            for line in (0, 3):
                assert not numbers.is_known(connection, Number(alert.number, line))
            assert numbers.is_known(connection, Number(alert.number))
            assert not numbers.is_known(connection, Number(alert.number + 1))

    def test_who_leases_a_delivery_knows_its_number(self, engine: Engine, an_event: EventMaker) -> None:
        told(engine, MAIL_AND_CHAT, an_event(1))
        (alert,) = search(engine)
        with engine.begin() as connection:
            (lease,) = outbox.lease(connection, NOW, timedelta(minutes=1), 10, ["room"])
        assert lease.number == f"{alert.number}.2"

    def test_how_many_others_share_a_message_is_counted(self, engine: Engine, an_event: EventMaker) -> None:
        told(engine, GROUPED, an_event(1), an_event(2), an_event(3))
        alert = search(engine)[0]
        with engine.begin() as connection:
            assert history.together(connection, alert.deliveries) == {alert.deliveries[0].wave: 2}

    def test_each_alert_in_a_message_has_the_attempts_of_the_message(
        self, engine: Engine, an_event: EventMaker
    ) -> None:
        told(engine, GROUPED, an_event(1), an_event(2), an_event(3))
        with engine.begin() as connection:
            (lease,) = outbox.lease(connection, NOW, timedelta(minutes=1), 10, ["email"])
            outbox.retry(connection, lease, NOW, "450 busy")
            (lease,) = outbox.lease(connection, NOW, timedelta(minutes=1), 10, ["email"])
            outbox.confirm(connection, lease, NOW)
        assert [alert.deliveries[0].attempts for alert in search(engine)] == [2, 2, 2]


@pytest.mark.parametrize(("text", "number"), [("17", Number(17)), ("17.2", Number(17, 2)), ("#17", Number(17))])
def test_numbers_are_read_as_they_are_written(text: str, number: Number) -> None:
    assert numbers.parse(text) == number
    assert str(number) == text.lstrip("#")


@pytest.mark.parametrize("text", ["", "x", "17.", ".2", "17.2.3", "-1", "1" * 16, "d17"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert numbers.parse(text) is None
