"""windsock alerts list and show: who was told of an alert, where, how it went and why it did not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from msgspec import structs

from alerting import fallbacks, groups, outbox, samples
from alerting.config import read
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.routes import Plan
from engine.metastore.store import Store, Tx

Command = Callable[..., Result]
FILE = """\
channels:
  room: json://127.0.0.1:9/secret-path
receivers:
  ops: {email: ops@example.org, channels: [room], fallback: lead}
  lead: {email: lead@example.org}
route:
  receiver: ops
  routes:
    - {matchers: dag=daily_report, receiver: ops, continue: true}
    - {matchers: dag=daily_report, receiver: lead}
    - {matchers: event=task_retry, receiver: task-email}
"""


@pytest.fixture
def plan(home: Path) -> Plan:
    path = home / "alerting.yml"
    path.write_text(FILE, encoding="utf-8")
    return Plan(routing=read(FILE, path, {}))


def told(store: Store, plan: Plan, *events: AlertEvent) -> None:
    def work(tx: Tx) -> None:
        outbox.record(tx.connection, events)
        outbox.route(tx.connection, tx.now, plan)
        groups.flush(tx.connection, tx.now, plan)

    store.run(work)


def sent(store: Store, plan: Plan, channel: str, *refused: str) -> None:
    """What waits for this channel is accepted, but by those addresses."""

    def work(tx: Tx) -> None:
        for lease in outbox.lease(tx.connection, tx.now, timedelta(minutes=1), 50, [channel]):
            if set(lease.addresses) & set(refused):
                outbox.bury(tx.connection, lease, "550 no such user")
                fallbacks.fall_back(tx.connection, tx.now, plan, [lease.id])
            else:
                outbox.confirm(tx.connection, lease, tx.now)

    store.run(work)


@pytest.fixture
def failure(store: Store, plan: Plan) -> None:
    """Alert 1: mail to ops died, and its fallback had heard of it by a route of its own."""
    told(store, plan, samples.event(EventKind.TASK_FAILED))
    sent(store, plan, "email", "ops@example.org")
    sent(store, plan, "room")


LINES = (
    "1.1 ops, email ops@example.org: dead after 1 attempt; 550 no such user; its fallback lead had heard of it already",
    r"1.2 ops, room (json://********): delivered ",
    "1.3 lead, email lead@example.org: delivered ",
)


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_list_has_a_row_for_an_alert_and_a_line_for_each_who_was_told(
    windsock: Command, failure: None, columns: str
) -> None:
    shown = windsock("alerts", "list", COLUMNS=columns).stdout
    assert all(len(line) <= int(columns) for line in shown.splitlines())
    assert len(re.findall("task_failed", shown)) == 1
    assert "1 dead, 2 delivered" in shown
    for line in LINES:
        assert line in squeezed(shown)
    assert "secret-path" not in shown
    assert ("manual__" in shown or "scheduled__" in shown) is (columns == "200")  # the run, where there is room


@pytest.mark.parametrize("columns", ["80", "200"])
def test_show_tells_receiver_way_outcome_and_what_became_of_the_fallback(
    windsock: Command, failure: None, columns: str
) -> None:
    shown = windsock("alerts", "show", "1", COLUMNS=columns).stdout
    assert shown.startswith("Alert 1: Task failed: daily_report load_orders, attempt 3\n")
    for words in ("ops", "email ops@example.org", "room (json://********)", "dead after 1 attempt", "lead"):
        assert words in shown
    assert "550 no such user; its fallback lead had heard of it already: 1.3" in shown
    (titles,) = [line for line in shown.splitlines() if line.startswith("line ")]
    assert ("attempts" in titles) is (columns == "200")


def test_programs_get_the_number_of_each_line_with_its_addresses(windsock: Command, failure: None) -> None:
    rows = json.loads(windsock("alerts", "list", "-o", "json").stdout)
    assert [(row["number"], row["event_id"], row["receiver"], row["addresses"]) for row in rows] == [
        ("1.1", 1, "ops", ["ops@example.org"]),
        ("1.2", 1, "ops", []),
        ("1.3", 1, "lead", ["lead@example.org"]),
    ]
    assert rows == json.loads(windsock("alerts", "show", "1", "-o", "json").stdout)
    assert rows[0]["fell_back_to"] == "lead"
    assert rows[0]["heard_before"] == [rows[2]["delivery_id"]]


def test_a_fallback_that_is_told_is_shown_as_its_own_line(windsock: Command, store: Store, plan: Plan) -> None:
    told(store, plan, AlertEvent(kind=EventKind.SLA_MISSED, occurred_at=samples.MOMENT, dag_id="other", run_id="r"))
    sent(store, plan, "email", "ops@example.org")
    shown = squeezed(windsock("alerts", "list").stdout)
    assert "550 no such user; its fallback lead: 1.3 (pending)" in shown
    assert "1.3 lead, email lead@example.org: pending; as the fallback" in shown


def test_the_mail_of_a_task_is_shown_with_whom_the_task_named(windsock: Command, store: Store) -> None:
    event = AlertEvent(
        kind=EventKind.TASK_FAILED,
        occurred_at=samples.MOMENT,
        dag_id="d",
        run_id="r",
        task_id="t",
        emails=("owner@example.org", "team@example.org"),
    )
    told(store, Plan(), event)
    assert "1.1 task's email, email owner@example.org, team@example.org: pending" in windsock("alerts", "list").stdout


def test_whom_nobody_tells_has_the_reason(windsock: Command, store: Store) -> None:
    told(store, Plan(), AlertEvent(kind=EventKind.TASK_FAILED, occurred_at=samples.MOMENT, dag_id="d", run_id="r"))
    assert "1.1 nobody: not told; nobody asked for it" in windsock("alerts", "list").stdout


def test_show_says_what_happened(windsock: Command, store: Store, plan: Plan) -> None:
    firing = structs.replace(samples.event(EventKind.PROMETHEUS_FIRING), subject="DiskFull")
    broken = samples.event(EventKind.DAG_BROKEN)
    failed = samples.event(EventKind.TASK_FAILED)
    told(store, plan, firing, broken, failed)
    for number, event in enumerate((firing, broken), start=1):
        first = windsock("alerts", "show", str(number)).stdout.splitlines()[0]
        assert event.subject is not None
        assert event.subject in first
        (row, *_) = json.loads(windsock("alerts", "show", str(number), "-o", "json").stdout)
        assert row["subject"] == event.subject
    shown = windsock("alerts", "show", "3").stdout
    assert failed.error is not None
    assert f"Error: {failed.error}\n" in shown
