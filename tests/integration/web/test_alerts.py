"""The page of alerts: who was told, what failed, and another try."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from alerting import alertmanager, silences
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.outbox import record
from alerting.reload import Refusal
from alerting.state_words import Shown
from alerting.tables import alert_delivery, alert_event
from engine.metastore import processes
from engine.metastore.refused import refused
from engine.metastore.store import Store
from tests.contract.alerting.test_alertmanager import a_body, an_alert
from tests.integration.web.conftest import Browser
from tests.integration.web.world import World

Look = Callable[[str], str]
Tell = Callable[..., int]


@pytest.fixture
def tell(store: Store, world: World) -> Tell:
    """Writes a task's failure that was told, or was not; returns the delivery's number."""

    def tell(
        task_id: str,
        state: str,
        dag_id: str = "sales",
        seconds: float = 60,
        error: str | None = None,
        kind: EventKind = EventKind.TASK_FAILED,
        channel: str | None = None,
    ) -> int:
        event = AlertEvent(
            kind=kind,
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
                "channel": channel or ("" if state == "suppressed" else "slack-1"),
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


def test_names_the_task_also_where_no_attempt_is_meant(look: Look, store: Store, world: World) -> None:
    event = AlertEvent(
        kind=EventKind.SLA_MISSED, occurred_at=world.now, dag_id="sales", run_id="manual__1", task_id="load"
    )
    with store.begin() as tx:
        record(tx.connection, [event])
    (row,) = rows_of(look("/alerts"))
    assert '<a href="/dags/sales/runs/manual__1">load</a>' in row


def test_a_try_that_should_have_been_made_is_no_next_one(look: Look, tell: Tell, store: Store, world: World) -> None:
    tell("clean", "pending")
    store.run(lambda tx: tx.connection.execute(update(alert_delivery).values(due_at=world.ago(600))))
    (row,) = rows_of(look("/alerts"))
    assert re.search(r">due <time [^>]*>10 min ago<", row)
    assert ">next try" not in row


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
    assert ">next try" in clean
    assert "nobody asked for it" in quiet


@pytest.fixture
def heard(store: Store, world: World, tmp_path: Path) -> None:
    """Alert 1: mail to on-call died, and lead, its fallback, had heard of it already; ops waits."""
    (tmp_path / "alerting.yml").write_text(
        "channels: {ops-room: slack://TokenA/TokenB/TokenC/#ops}\n", encoding="utf-8"
    )
    event = AlertEvent(kind=EventKind.TASK_FAILED, occurred_at=world.now, dag_id="sales", run_id="r", task_id="load")
    common = {"event_id": 1, "attempts": 1, "created_at": world.now, "give_up_at": world.now}
    rows = (
        {"channel": "email", "address": '["call@example.org"]', "receiver": "on-call", "state": "dead"}
        | {"error": "550 gone", "fell_back_to": "lead", "heard_before": "[2]"},
        {"channel": "email", "address": '["lead@example.org"]', "receiver": "lead", "state": "delivered"}
        | {"delivered_at": world.now},
        {"channel": "ops-room", "address": "", "receiver": "ops", "state": "pending", "due_at": world.now},
    )
    with store.begin() as tx:
        record(tx.connection, [event])
        for number, row in enumerate(rows):
            tx.connection.execute(insert(alert_delivery).values(common | {"target": str(number)} | row))


@pytest.mark.parametrize("path", ["/alerts", "/alerts/1"])
def test_one_alert_shows_every_receiver_with_address_outcome_and_fallback(look: Look, heard: None, path: str) -> None:
    shown = look(path)
    words = " ".join(re.sub(r"<[^>]+>", " ", shown).split())
    assert "1.1 on-call email call@example.org dead 1 attempt 550 gone; its fallback lead had heard of it" in words
    assert "1.2 lead email lead@example.org delivered" in words
    assert "1.3 ops ops-room (slack://********) pending" in words
    assert "TokenA" not in shown
    if path == "/alerts":
        assert len(rows_of(shown)) == 1


def test_filters_by_state_and_dag(look: Look, tell: Tell) -> None:
    tell("load", "delivered")
    tell("clean", "dead", dag_id="stock", error="410 Gone")
    assert len(rows_of(look("/alerts"))) == 2
    assert [("clean" in row) for row in rows_of(look("/alerts?state=dead"))] == [True]
    assert [("load" in row) for row in rows_of(look("/alerts?dag=sales"))] == [True]
    assert "No alert fits" in look("/alerts?state=dead&dag=sales")


def chips_of(text: str) -> list[str]:
    return re.findall(r'<a class="a-[\w-]+"[^>]*>([^<]+)</a>', text)


def test_the_numbers_by_state_count_what_is_filtered(look: Look, tell: Tell) -> None:
    tell("load", "delivered")
    tell("clean", "dead", dag_id="stock", error="410 Gone")
    assert chips_of(look("/alerts")) == ["1 dead", "1 delivered"]
    assert chips_of(look("/alerts?dag=sales")) == ["1 delivered"]
    assert chips_of(look("/alerts?dag=stock&since=1h&state=dead")) == ["1 dead"]
    assert chips_of(look("/alerts?kind=sla_missed")) == []


def test_all_is_sent_again_only_from_where_one_sees_all(look: Look, tell: Tell) -> None:
    tell("clean", "dead", dag_id="stock", error="410 Gone")
    for path in ("/alerts", "/alerts?state=dead"):
        assert "Send all of them again" in look(path)
    for query in ("dag=stock", "kind=task_failed", "since=24h", "state=delivered", "state=dead&dag=stock"):
        assert "Send all of them again" not in look(f"/alerts?{query}")


def test_refuses_a_state_that_there_is_not(browser: Browser) -> None:
    answer = browser.get("/alerts?state=lost")
    assert answer.status_code == 404
    assert "state must be one of" in answer.text


def test_what_was_given_up_is_counted_on_every_page(look: Look, tell: Tell) -> None:
    assert 'title="dead: given up"' not in look("/dags")
    tell("clean", "dead", error="410 Gone")
    assert '<span class="count" title="dead: given up">1</span>' in look("/dags")


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
    for text in ("all", "9" * 30):
        assert browser.submit("/alerts/replay", id=text).status_code == 400


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


def test_a_notice_for_a_receiver_that_there_is_not_is_listed_as_not_told(look: Look, tell: Tell) -> None:
    tell("load", "suppressed", kind=EventKind.NOTIFIED, error="there is no receiver opps in alerting.yml")
    (row,) = rows_of(look("/alerts"))
    assert "not told" in row
    assert "there is no receiver opps" in row


def test_what_nobody_asked_for_is_listed_where_it_is_asked_for(look: Look, tell: Tell, store: Store) -> None:
    tell("quiet", "suppressed", error="nobody asked for it: no email in the DAG file")
    tell("held", "suppressed", channel="slack-1", error="silence 3 of ops until tomorrow")
    tell("again", "suppressed", kind=EventKind.TASK_RETRY, error="nobody asked for it")
    shown = look("/alerts")
    assert ["quiet" in row for row in rows_of(shown)] == [False, True]  # a failure that nobody hears of is worth a look
    assert "not told" in rows_of(shown)[1]
    assert chips_of(shown) == ["2 not told", "1 suppressed"]
    assert ["not told" in row for row in rows_of(look("/alerts?state=not-told"))] == [True, True]
    assert ["held" in row for row in rows_of(look("/alerts?state=suppressed"))] == [True]


def test_every_state_says_what_it_means(look: Look, tell: Tell) -> None:
    tell("quiet", "suppressed")
    for path in ("/alerts", "/alerts/1"):
        assert f'title="{Shown.NOT_TOLD.meaning}">not told<' in look(path)


def test_a_page_looks_through_so_many_alerts_and_says_so(
    look: Look, browser: Browser, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.web.alerts.LOOKED_AT", 2)
    for number, state in enumerate(("dead", "delivered", "delivered", "delivered", "delivered")):
        tell(f"t{number}", state)
    first = look("/alerts?state=dead")
    assert "among the newest 2 alerts" in first
    assert "No alert fits among these" in first
    assert 'title="dead: given up">1<' in first  # whatever is looked at
    assert chips_of(first) == ["0 dead", "2 delivered"]
    second = look(re.findall(r'href="([^"]+before=\d+)"', first)[0].replace("&amp;", "&"))
    assert "among the alerts 2 to 3" in second
    third = look(re.findall(r'href="([^"]+before=\d+)"', second)[0].replace("&amp;", "&"))
    assert [("t0" in row) for row in rows_of(third)] == [True]
    assert "Go on with older ones" not in third
    assert browser.get("/api/v1/alerts?state=dead").json() == {"alerts": [], "before": 4}
    assert "among the newest" not in look("/alerts?before=3")


@pytest.mark.parametrize(
    "query", ["", "?state=suppressed", "?state=not-told", "?kind=dag_broken", "?since=1h&dag=sales"]
)
def test_the_page_needs_a_handful_of_statements(
    look: Look, store: Store, world: World, tell: Tell, statements: list[str], query: str
) -> None:
    for number in range(30):
        tell(f"t{number}", "suppressed" if number % 2 else "delivered")
    broken = [AlertEvent(kind=EventKind.DAG_BROKEN, occurred_at=world.now, subject=f"f{n}.py") for n in range(5)]
    store.run(lambda tx: record(tx.connection, broken))
    world.process("notifier", detail={"settings": ""} | refused(Refusal(("alerting.yml, line 1: wrong",), world.now)))
    statements.clear()
    shown = look(f"/alerts{query}")
    assert "has been refused since" in shown
    assert len(statements) <= 6, statements


def test_a_file_that_is_refused_is_shown_with_its_mistakes_and_since_when(
    look: Look, world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_PASSWORD", "hunter22hunter22")
    told = "alerting.yml, line 4: route.receiver: there is no receiver 'opps', did you mean ops?"
    since = world.now - timedelta(hours=2)
    world.process("notifier", detail=refused(Refusal((told, "line 5: <b>hunter22hunter22</b>"), since, "the settings")))
    shown = look("/alerts")
    words = " ".join(re.sub(r"<[^>]+>", " ", shown).split())
    assert f"alerting.yml has been refused since {since:%Y-%m-%d %H:%M:%S} UTC 2 h ago" in words
    assert "Until it is corrected, alerts go by the settings." in words
    assert "there is no receiver &#39;opps&#39;, did you mean ops?" in shown
    assert "hunter22" not in shown
    assert "&lt;b&gt;" in shown
    with store.begin() as tx:
        processes.describe(tx, "notifier-1", refused(None))
    assert "refused since" not in look("/alerts")


def test_the_number_of_a_line_leads_to_its_alert_where_the_line_is_marked(
    look: Look, browser: Browser, heard: None
) -> None:
    assert 'href="/alerts/1.2"' in look("/alerts")
    shown = look("/alerts/1.2")
    marked = re.findall(r'<li class="delivery marked" aria-current="true">.*?</li>', shown, re.DOTALL)
    assert [re.findall(r'href="/alerts/([0-9.]+)"', line) for line in marked] == [["1.2"]]
    assert "marked" not in look("/alerts/1")
    for path in ("/alerts/1.0", "/alerts/1.4", "/alerts/2.1", f"/alerts/{'9' * 40}", f"/alerts/1.{'9' * 40}"):
        assert browser.get(path).status_code == 404
    assert "Alert 1 has no line 4" in browser.get("/alerts/1.4").text


def test_a_test_offers_no_silence_for_none_would_hold_it_back(look: Look, store: Store, world: World) -> None:
    events = [AlertEvent(kind=kind, occurred_at=world.now) for kind in (EventKind.TEST, EventKind.COMPONENT_DOWN)]
    store.run(lambda tx: record(tx.connection, events))
    assert "Silence what is like it" not in look("/alerts/1")
    assert "Silence what is like it" in look("/alerts/2")


def test_filters_by_kind_and_time(look: Look, tell: Tell) -> None:
    tell("load", "delivered", seconds=7200)
    tell("clean", "delivered", kind=EventKind.TASK_RETRY)
    assert ["clean" in row for row in rows_of(look("/alerts?kind=task_retry"))] == [True]
    assert ["clean" in row for row in rows_of(look("/alerts?since=1h"))] == [True]
    assert len(rows_of(look("/alerts?since=24h"))) == 2


@pytest.mark.parametrize("query", ["kind=task_lost", "since=ever", "before=x"])
def test_refuses_filters_that_there_are_not(browser: Browser, query: str) -> None:
    assert browser.get(f"/alerts?{query}").status_code == 404


def test_an_alert_has_a_page_with_its_deliveries_and_its_message(look: Look, tell: Tell) -> None:
    tell("clean", "dead", error="410 Gone")
    shown = look("/alerts/1")
    assert "<h1>Failed: sales.clean</h1>" in shown
    assert "/dags/sales/runs/manual__1/tasks/clean/attempts/2" in shown
    assert "410 Gone" in shown
    assert 'aria-label="Send alert 1.1 again"' in shown
    assert "3 attempts" in shown
    assert "Attempt 2 failed and no retry will follow." in shown
    assert "dag=&#34;sales&#34;\ntask=&#34;clean&#34;" in shown  # what a silence would begin with


def test_an_alert_that_there_is_not_is_not_found(browser: Browser) -> None:
    for number in ("17", "9" * 15, "9223372036854775808", "9" * 23, f"{'9' * 23}.1"):
        response = browser.get(f"/alerts/{number}")
        assert response.status_code == 404
        assert "There is no alert of this number" in response.text


def test_an_alert_of_prometheus_shows_its_name_labels_and_links(look: Look, store: Store, world: World) -> None:
    payload = alertmanager.read(a_body(an_alert(labels={"alertname": "<b>Full</b>", "instance": "db-1"})))
    store.run(lambda tx: alertmanager.receive(tx.connection, world.now, payload))
    assert "Alert of Prometheus</a>: &lt;b&gt;Full&lt;/b&gt;" in look("/alerts")
    shown = look("/alerts/1")
    assert "<h1>Alert of Prometheus: &lt;b&gt;Full&lt;/b&gt;</h1>" in shown
    assert "instance=db-1" in shown
    assert 'href="http://localhost:8080/runbooks/WindsockQueueStuck.md"' in shown
    assert "Recorded: no notifier has looked at it yet." in shown


def test_the_message_of_an_alert_holds_no_secret(look: Look, store: Store, world: World, monkeypatch: Any) -> None:
    monkeypatch.setenv("SOURCE_PASSWORD", "hunter22hunter22")
    secret = "hunter22hunter22"
    event = AlertEvent(
        kind=EventKind.COMPONENT_DOWN,
        occurred_at=world.now,
        subject=f"db with {secret}",
        error=f"login with {secret} refused",
        labels=(("dsn", f"me:{secret}"),),
    )
    store.run(lambda tx: record(tx.connection, [event]))
    assert "hunter22" not in look("/alerts")
    shown = look("/alerts/1")
    assert "hunter22" not in shown
    assert "refused" in shown


def test_programs_read_the_same_as_json(browser: Browser, tell: Tell) -> None:
    tell("clean", "dead", error="410 Gone")
    tell("load", "delivered")
    found = browser.get("/api/v1/alerts?state=dead").json()
    assert [(alert["task_id"], alert["error"]) for alert in found["alerts"]] == [("clean", "410 Gone")]
    assert found["before"] is None


def test_whoever_looks_after_an_alert_says_so_once(browser: Browser, look: Look, tell: Tell) -> None:
    tell("clean", "delivered")
    assert 'action="/alerts/ack"' in look("/alerts/1")
    answer = browser.submit("/alerts/ack", event="1", comment="I have called them")
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts/1")
    shown = look("/alerts/1")
    assert "by admin" in shown
    assert "I have called them" in shown
    assert 'action="/alerts/ack"' not in shown
    assert "seen by admin" in look("/alerts")
    assert browser.submit("/alerts/ack", event="1").status_code == 409
    assert browser.submit("/alerts/ack", event="17").status_code == 409
    assert browser.submit("/alerts/ack", event="all").status_code == 400


def test_following_the_link_of_a_message_acknowledges_nothing(browser: Browser, look: Look, tell: Tell) -> None:
    """Scanners of mail follow every link, with whatever they add to it."""
    tell("clean", "delivered")
    for address in ("/alerts/1", "/alerts/1?ack=1", "/alerts/ack?event=1", "/alerts/ack"):
        browser.get(address)
        browser.head(address)
    shown = look("/alerts/1")
    assert 'action="/alerts/ack"' in shown
    assert "Acknowledge: http://localhost:8080/alerts/1" in shown  # as the message has it


# --- Silences ---------------------------------------------------------------------------------------------------------


def active(store: Store) -> list[silences.Silence]:
    with store.read() as connection:
        return silences.active(connection, datetime.now(UTC))


def test_a_silence_is_made_shown_and_ended(browser: Browser, look: Look, store: Store) -> None:
    assert "No silence holds." in look("/alerts/silences")
    fields = {"matchers": 'dag="sales"\r\ntask=~"cle.*"\r\n', "length": "1 day", "comment": "the source moves"}
    answer = browser.submit("/alerts/silences", **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts/silences")
    (silence,) = active(store)
    assert [str(matcher) for matcher in silence.matchers] == ['dag="sales"', 'task=~"cle.*"']
    assert (silence.author, silence.comment) == ("admin", "the source moves")
    assert silence.ends_at - silence.starts_at == timedelta(days=1)
    shown = look("/alerts/silences")
    assert "task=~&#34;cle.*&#34;" in shown
    assert "the source moves" in shown
    assert browser.submit("/alerts/silences/expire", id=str(silence.id)).status_code == 303
    assert active(store) == []
    assert browser.submit("/alerts/silences/expire", id=str(silence.id)).status_code == 409
    assert "the source moves" in look("/alerts/silences?expired=1")


def test_a_silence_that_is_wrong_is_given_back_with_the_reasons(browser: Browser, store: Store) -> None:
    answer = browser.submit("/alerts/silences", matchers="dagg=x\nevent=task_faild", length="4 hours", comment="why?")
    assert answer.status_code == 400
    assert "there is no label &#39;dagg&#39;, did you mean dag?" in answer.text
    assert "there is no event &#39;task_faild&#39;, did you mean task_failed?" in answer.text
    assert "dagg=x\nevent=task_faild</textarea>" in answer.text
    assert 'value="why?"' in answer.text
    for fields in ({"matchers": "", "length": "4 hours"}, {"matchers": "dag=x", "length": "for ever"}):
        assert browser.submit("/alerts/silences", **fields).status_code == 400
    assert browser.submit("/alerts/silences/expire", id="all").status_code == 400
    assert active(store) == []
