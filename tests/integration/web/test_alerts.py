"""The page of alerts: who was told, what failed, and another try."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.outbox import record
from alerting.tables import alert_delivery, alert_event
from engine.metastore.store import Store
from tests.integration.web.conftest import Browser
from tests.integration.web.world import World

Look = Callable[[str], str]
Tell = Callable[..., int]


@pytest.fixture
def tell(store: Store, world: World) -> Tell:
    """Writes a task's failure that was told, or was not; returns the delivery's number."""

    def tell(task_id: str, state: str, dag_id: str = "sales", seconds: float = 60, error: str | None = None) -> int:
        event = AlertEvent(
            kind=EventKind.TASK_FAILED,
            occurred_at=world.now - timedelta(seconds=seconds),
            dag_id=dag_id,
            run_id="manual__1",
            task_id=task_id,
            try_number=2,
        )
        with store.begin() as tx:
            record(tx.connection, [event])
            key = alert_event.c.dedup_key == event.dedup_key
            event_id = tx.connection.execute(select(alert_event.c.id).where(key)).scalar_one()
            row = {
                "event_id": event_id,
                "channel": "" if state == "suppressed" else "slack-1",
                "target": task_id,
                "address": "",
                "state": state,
                "due_at": world.now + timedelta(seconds=90) if state == "pending" else None,
                "attempts": 3,
                "error": error,
                "created_at": event.occurred_at,
                "give_up_at": world.now,
                "delivered_at": event.occurred_at + timedelta(milliseconds=25) if state == "delivered" else None,
            }
            key = tx.connection.execute(insert(alert_delivery).values(row)).inserted_primary_key
            assert key
            return int(key[0])

    return tell


def rows_of(text: str) -> list[str]:
    return re.findall(r"<td class=\"lead\">.*?</tr>", text, re.DOTALL)


def test_says_that_nothing_was_told_yet(look: Look) -> None:
    assert "Nothing has been told yet" in look("/alerts")


def test_tells_what_happened_who_was_told_and_how_it_went(look: Look, tell: Tell) -> None:
    tell("load", "delivered")
    tell("clean", "pending", error="the receiver answered 503")
    tell("quiet", "suppressed", error="nobody asked for it")
    clean, quiet, load = (
        next(row for row in rows_of(look("/alerts")) if f">{name}<" in row or name in row)
        for name in ("clean", "quiet", "load")
    )
    assert "Task failed" in load
    assert "/dags/sales/runs/manual__1/tasks/load/attempts/2" in load
    assert "slack-1" in load
    assert "0.02 s later" in load or "0.03 s later" in load
    assert "the receiver answered 503" in clean
    assert "next try" in clean
    assert "nobody asked for it" in quiet


def test_filters_by_state_and_dag(look: Look, tell: Tell) -> None:
    tell("load", "delivered")
    tell("clean", "dead", dag_id="stock", error="410 Gone")
    assert len(rows_of(look("/alerts"))) == 2
    assert [("clean" in row) for row in rows_of(look("/alerts?state=dead"))] == [True]
    assert [("load" in row) for row in rows_of(look("/alerts?dag=sales"))] == [True]
    assert "No alert fits" in look("/alerts?state=dead&dag=sales")


def test_refuses_a_state_that_there_is_not(browser: Browser) -> None:
    answer = browser.get("/alerts?state=lost")
    assert answer.status_code == 404
    assert "state must be one of" in answer.text


def test_what_was_given_up_is_counted_on_every_page(look: Look, tell: Tell) -> None:
    assert 'title="given up"' not in look("/dags")
    tell("clean", "dead", error="410 Gone")
    assert '<span class="count" title="given up">1</span>' in look("/dags")


def test_one_dead_alert_is_sent_again(browser: Browser, store: Store, tell: Tell) -> None:
    one, other = tell("clean", "dead"), tell("load", "dead")
    answer = browser.submit("/alerts/replay", id=str(one), back="/alerts?state=dead")
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts?state=dead")
    with store.read() as connection:
        states = {row[0]: row[1] for row in connection.execute(select(alert_delivery.c.id, alert_delivery.c.state))}
    assert states == {one: "pending", other: "dead"}


def test_all_dead_alerts_are_sent_again(browser: Browser, store: Store, tell: Tell) -> None:
    for name in ("clean", "load"):
        tell(name, "dead")
    tell("told", "delivered")
    assert browser.submit("/alerts/replay").headers["location"] == "/alerts"
    with store.read() as connection:
        states = sorted(connection.execute(select(alert_delivery.c.state)).scalars())
    assert states == ["delivered", "pending", "pending"]


def test_what_is_not_dead_is_not_sent_twice(browser: Browser, tell: Tell) -> None:
    told = tell("told", "delivered")
    assert browser.submit("/alerts/replay", id=str(told)).status_code == 409
    assert browser.submit("/alerts/replay", id="all").status_code == 400


def test_the_history_has_pages_that_leave_nothing_out(look: Look, tell: Tell) -> None:
    names = [f"t{number:03}" for number in range(130)]
    for name in names:
        tell(name, "delivered")
    first = look("/alerts?state=delivered")
    older = re.search(r'href="([^"]+before=\d+)"', first)
    assert older
    second = look(older[1].replace("&amp;", "&"))
    shown = re.findall(r"tasks/(t\d+)/attempts", first) + re.findall(r"tasks/(t\d+)/attempts", second)
    assert shown == names[::-1]


def test_words_from_outside_stay_words(look: Look, tell: Tell) -> None:
    tell("clean", "dead", error="<script>alert(1)</script>")
    assert "&lt;script&gt;" in look("/alerts")
    assert "<script>alert" not in look("/alerts")
