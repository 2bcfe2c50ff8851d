from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import update

from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.outbox import record, route
from alerting.routes import Plan
from alerting.tables import alert_delivery, alert_event
from engine.config import load
from engine.config.fingerprint import DELIVERY, fingerprint
from engine.metastore import processes
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store, Tx
from tests.servers.processes import wait_until

Command = Callable[..., Result]
MOMENT = datetime(2026, 11, 23, 14, tzinfo=UTC)
DEAD = {
    "event_id": 1,
    "channel": "email",
    "target": "0" * 64,
    "address": '["a@example.org"]',
    "state": "dead",
    "attempts": 5,
    "error": "550 no such user",
    "created_at": MOMENT,
    "give_up_at": MOMENT,
}


@pytest.fixture
def dead_delivery(store: Store) -> int:
    def work(tx: Tx) -> None:
        event = AlertEvent(
            kind=EventKind.TASK_FAILED, occurred_at=MOMENT, dag_id="d", run_id="r", task_id="t", try_number=1
        )
        record(tx.connection, [event])
        tx.connection.execute(alert_delivery.insert(), DEAD | {"id": 7})
        tx.connection.execute(update(alert_event).values(routed_at=MOMENT))

    store.run(work)
    return 7


def state_of(store: Store) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(alert_delivery.select().with_only_columns(alert_delivery.c.state)).scalars())


def test_list_tells_where_it_was_sent_and_why_not(windsock: Command, dead_delivery: int) -> None:
    result = windsock("alerts", "list")
    assert result.exit_code == 0, result.output
    for word in ("task_failed", "d t", "email", "dead", "550 no such user"):
        assert word in result.stdout


def test_list_filters_by_state_and_dag(windsock: Command, dead_delivery: int) -> None:
    def ids(*words: str) -> list[int]:
        return [row["delivery_id"] for row in json.loads(windsock("alerts", "list", "-o", "json", *words).stdout)]

    assert ids("--state", "dead") == [7]
    assert ids("--state", "pending") == []
    assert ids("--dag", "d") == [7]
    assert ids("--dag", "e") == []


def test_list_leaves_out_what_is_no_trouble_and_nobody_asked_for(windsock: Command, store: Store) -> None:
    kinds = (EventKind.TASK_FAILED, EventKind.TASK_RETRY, EventKind.PROMETHEUS_FIRING)
    events = [
        AlertEvent(kind=kind, occurred_at=MOMENT, dag_id="d", run_id="r", subject=f"about-{kind.value}")
        for kind in kinds
    ]

    def work(tx: Tx) -> None:
        record(tx.connection, events)
        route(tx.connection, tx.now, Plan())

    store.run(work)
    quiet = windsock("alerts", "list").stdout
    assert [kind.value in quiet for kind in kinds] == [True, False, True]
    assert "not told" in quiet
    assert "about-prometheus_firing d" in quiet
    for words in (("--all",), ("--state", "not-told")):
        everything = windsock("alerts", "list", *words).stdout
        assert all(kind.value in everything for kind in kinds)
        assert everything.count("not told; ") == 3
    assert windsock("alerts", "list", "--state", "suppressed").stderr == "No alerts.\n"
    states = {row["state"] for row in json.loads(windsock("alerts", "list", "--all", "-o", "json").stdout)}
    assert states == {"suppressed"}  # for programs it stays what it is


def test_replay_makes_a_dead_delivery_pending_again(windsock: Command, store: Store, dead_delivery: int) -> None:
    assert windsock("alerts", "replay", "1").stdout == "1 delivery is tried again.\n"
    assert state_of(store) == ["pending"]


def test_replay_says_that_what_is_no_address_fails_again(windsock: Command, store: Store, dead_delivery: int) -> None:
    store.run(lambda tx: tx.connection.execute(update(alert_delivery).values(address='["bob"]')))
    told = windsock("alerts", "replay", "1").stdout.splitlines()
    assert told[0] == "1 delivery is tried again."
    assert told[1].startswith("  1.1: no mail address is stored with it (bob), so it fails again; to tell ")


def test_replay_of_one_line_leaves_the_others(windsock: Command, store: Store, dead_delivery: int) -> None:
    second = {"channel": "json", "target": "1" * 64, "address": ""}
    store.run(lambda tx: tx.connection.execute(alert_delivery.insert(), {**DEAD, **second}))
    assert windsock("alerts", "replay", "1.2").stdout == "1 delivery is tried again.\n"
    assert state_of(store) == ["dead", "pending"]
    again = windsock("alerts", "replay", "1.2")
    assert (again.exit_code, again.stderr) == (
        1,
        "windsock: nothing of 1.2 is dead, so nothing is tried again; see: windsock alerts list\n",
    )


def test_replay_to_a_receiver_that_is_not_configured_names_those_that_are(windsock: Command, store: Store) -> None:
    result = windsock("alerts", "replay", "--all", "--to", "json-1", WINDSOCK__ALERTING__APPRISE_URLS="json://a/b")
    assert result.exit_code == 2
    name = result.stderr.strip().rpartition(" ")[2]
    assert name.startswith("json-")
    settings = {"WINDSOCK__ALERTING__APPRISE_URLS": "json://a/b"}
    done = windsock("alerts", "replay", "--to", name, **settings)
    assert done.stdout == "0 deliveries are tried again.\n"
    assert "APPRISE_URLS is empty" in windsock("alerts", "replay", "--all", "--to", name).stderr


def test_replay_of_what_is_not_dead_is_refused(windsock: Command, store: Store, dead_delivery: int) -> None:
    missing = windsock("alerts", "replay", "1", "8", "1.3")
    assert missing.exit_code == 1
    assert missing.stderr.splitlines() == [
        "windsock: there is no alert 8; see: windsock alerts list --all",
        "windsock: alert 1 has no line 3: its last one is 1.1; see: windsock alerts show 1",
    ]
    assert state_of(store) == ["dead"]
    assert windsock("alerts", "replay", "1").exit_code == 0
    assert "nothing of 1 is dead" in windsock("alerts", "replay", "1").stderr
    word = windsock("alerts", "replay", "d7")
    assert (word.exit_code, "'d7' is no number of an alert: write one such as 17, or 17.2" in word.stderr) == (2, True)


def test_what_waits_for_a_receiver_that_is_gone_can_be_sent_to_another(
    windsock: Command, store: Store, dead_delivery: int
) -> None:
    """Its host was mistyped: a corrected URL is another receiver."""
    waits = {"state": "pending", "channel": "json-000000", "target": "1" * 64, "due_at": MOMENT}
    store.run(lambda tx: tx.connection.execute(update(alert_delivery).values(waits)))
    settings = {"WINDSOCK__ALERTING__APPRISE_URLS": "json://corrected/hook"}
    known = windsock("alerts", "replay", "--to", "json-1", **settings).stderr.strip().rpartition(" ")[2]
    assert windsock("alerts", "replay", **settings).stdout == "0 deliveries are tried again.\n"
    assert windsock("alerts", "replay", "1", "--to", known, **settings).stdout == "1 delivery is tried again.\n"
    assert json.loads(windsock("alerts", "list", "-o", "json").stdout)[0]["channel"] == known
    again = windsock("alerts", "replay", "1", "--to", known, **settings)
    assert "was to be told of it already" in again.stderr


def test_a_mail_that_died_goes_to_the_corrected_address_or_to_another_receiver(
    windsock: Command, store: Store, dead_delivery: int, home: Path
) -> None:
    text = "receivers: {ops: {email: b@example.org}, lead: {email: lead@example.org}}\n"
    routes = "route: {receiver: ops, routes: [{matchers: dag=x, receiver: lead}]}\n"
    (home / "alerting.yml").write_text(text + routes, encoding="utf-8")
    store.run(lambda tx: tx.connection.execute(update(alert_delivery).values(receiver="ops")))
    unknown = windsock("alerts", "replay", "1", "--to", "leed")
    assert unknown.exit_code == 2
    assert "there is no receiver or chat channel leed, did you mean lead? There are: " in unknown.stderr
    assert "ops, lead" in unknown.stderr
    corrected = windsock("alerts", "replay", "1").stdout
    assert corrected == "1 delivery is tried again.\n  1.1: to b@example.org instead of a@example.org\n"
    store.run(lambda tx: tx.connection.execute(update(alert_delivery).values(state="dead", due_at=None)))
    assert windsock("alerts", "replay", "1", "--to", "lead").stdout == "1 delivery is tried again.\n"
    (row,) = json.loads(windsock("alerts", "show", "1", "-o", "json").stdout)
    assert (row["addresses"], row["receiver"], row["state"]) == (["lead@example.org"], "lead", "pending")


@pytest.mark.parametrize("words", [(), ("--all",)])
def test_replay_without_ids_tries_everything_again(
    windsock: Command, store: Store, dead_delivery: int, words: tuple[str, ...]
) -> None:
    assert windsock("alerts", "replay", "1", "--all").exit_code == 2
    assert windsock("alerts", "replay", *words).stdout == "1 delivery is tried again.\n"
    assert state_of(store) == ["pending"]
    assert windsock("alerts", "replay", *words).stdout == "0 deliveries are tried again.\n"


def test_a_test_to_what_is_no_address_is_refused_at_once(windsock: Command, store: Store) -> None:
    result = windsock("alerts", "test", "--email", "bad", WINDSOCK__SMTP__SMTP_HOST="127.0.0.1")
    assert (result.exit_code, result.stderr) == (2, "windsock: this is no mail address: bad\n")


def test_a_test_without_anybody_to_tell_says_what_to_set(windsock: Command, store: Store) -> None:
    result = windsock("alerts", "test")
    assert result.exit_code == 1
    assert "WINDSOCK__ALERTING__APPRISE_URLS" in result.stderr
    assert "WINDSOCK__SMTP__SMTP_HOST" in windsock("alerts", "test", "--email", "a@example.org").stderr


def test_a_test_without_a_notifier_says_so(windsock: Command, store: Store) -> None:
    result = windsock("alerts", "test", "--timeout", "0", WINDSOCK__ALERTING__APPRISE_URLS="json://localhost")
    assert result.exit_code == 1
    assert "no notifier is running" in result.stderr


def test_a_test_through_a_notifier_with_other_settings_is_refused(
    windsock: Command, store: Store, home: Path, sqlite_url: str
) -> None:
    here = {"WINDSOCK__ALERTING__APPRISE_URLS": "json://localhost/secret"}
    settings = load({**here, "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN": sqlite_url}, home)
    identity = processes.identify(ProcessKind.NOTIFIER)
    detail = {"settings": fingerprint(settings, DELIVERY)}
    store.run(lambda tx: processes.register(tx, identity, detail))
    assert "not settled" in windsock("alerts", "test", "--timeout", "0", **here).stderr
    for other in ({}, {"WINDSOCK__ALERTING__APPRISE_URLS": "json://localhost/other"}):
        result = windsock("alerts", "test", "--timeout", "0", **other)
        assert result.exit_code == 1
        assert "the running notifier was started with other alerting or smtp settings" in result.stderr


def test_a_test_waits_until_it_is_delivered(windsock: Command, store: Store) -> None:
    from threading import Thread

    results: list[Result] = []
    settings = {"WINDSOCK__ALERTING__APPRISE_URLS": "json://localhost"}
    thread = Thread(target=lambda: results.append(windsock("alerts", "test", **settings)))
    thread.start()

    def recorded() -> bool:
        with store.read() as connection:
            return connection.execute(alert_event.select()).first() is not None

    wait_until(recorded, "the event")
    row = {
        "event_id": 1,
        "channel": "json",
        "target": "0" * 64,
        "address": "",
        "state": "delivered",
        "attempts": 1,
        "created_at": MOMENT,
        "delivered_at": MOMENT,
        "give_up_at": MOMENT,
    }
    store.run(lambda tx: tx.connection.execute(alert_delivery.insert(), row))
    thread.join(60)
    assert results[0].exit_code == 0, results[0].output
    assert results[0].stdout == "json: delivered\n"


def test_grafana_alone_is_somebody_to_tell(windsock: Command) -> None:
    result = windsock("alerts", "test", "--timeout", "0", WINDSOCK__GRAFANA__TOKEN="glsa_token")
    assert result.exit_code == 1
    assert "no notifier is running" in result.stderr
