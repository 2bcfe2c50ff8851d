"""windsock alerts check, show, deliveries and silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result

from alerting import groups, outbox
from alerting.config import read
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.routes import Plan
from engine.metastore.store import Store, Tx

Command = Callable[..., Result]
MOMENT = datetime(2026, 11, 23, 14, tzinfo=UTC)
FILE = """\
receivers:
  ops: {email: ops@example.org}
mute_windows:
  nights: {time_zone: Europe/Zurich, windows: [{times: [22:00-06:00]}]}
route:
  receiver: settings
  routes:
    - {matchers: dag=daily, receiver: ops, group_by: [dag], group_wait: 0s, mute: nights}
    - {matchers: dag=noisy, receiver: nobody}
"""


@pytest.fixture
def alerting_yml(home: Path) -> Path:
    path = home / "alerting.yml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_check_says_that_there_is_no_file(windsock: Command, store: Store) -> None:
    result = windsock("alerts", "check")
    assert result.exit_code == 0
    assert "There is no" in result.stdout
    assert windsock("alerts", "check", "elsewhere.yml").exit_code == 2


def test_check_counts_what_it_understood(windsock: Command, alerting_yml: Path) -> None:
    assert windsock("alerts", "check").stdout == f"{alerting_yml} is right: 1 receivers, 3 routes.\n"


def test_check_tells_every_mistake_with_its_line(windsock: Command, alerting_yml: Path) -> None:
    alerting_yml.write_text(FILE.replace("receiver: ops,", "receiver: opps,"), encoding="utf-8")
    result = windsock("alerts", "check")
    assert result.exit_code == 1
    assert "line 8: route.routes[0].receiver: there is no receiver 'opps', did you mean ops?" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["dag=daily", "at=2026-11-23T12:00+01:00"], ["line 8", "email ops@example.org: told after 0 s", "dag=daily"]),
        (["dag=daily", "at=2026-11-23T23:00+01:00"], ["not told, muted by the window nights"]),
        (["dag=noisy"], ["line 9", "told to nobody: the route of line 9 leads to nobody"]),
        (["dag=other"], ["line 6 (everything else)", "APPRISE_URLS is empty"]),
    ],
)
def test_check_shows_the_way_of_a_described_event(
    windsock: Command, alerting_yml: Path, words: list[str], told: list[str]
) -> None:
    result = windsock("alerts", "check", *(part for word in words for part in ("--event", word)))
    assert result.exit_code == 0, result.output
    for text in told:
        assert text in result.stdout


def test_check_knows_the_silences(windsock: Command, alerting_yml: Path) -> None:
    windsock("alerts", "silence", "add", "dag=daily", "--author", "alice")
    result = windsock("alerts", "check", "--event", "dag=daily", "--event", "at=2026-11-23T12:00+01:00")
    assert "not told, silence 1 of alice" in result.stdout


@pytest.mark.parametrize("word", ["dagg=daily", "dag", "event=failed", "try=first", "at=noon"])
def test_check_refuses_what_describes_no_event(windsock: Command, alerting_yml: Path, word: str) -> None:
    assert windsock("alerts", "check", "--event", word).exit_code == 2


def test_a_silence_is_added_listed_and_ended(windsock: Command, store: Store) -> None:
    added = windsock("alerts", "silence", "add", "dag=daily", "--for", "2h", "--author", "alice", "--comment", "moving")
    assert "Silence 1 holds for 2h" in added.stdout
    (row,) = json.loads(windsock("alerts", "silence", "list", "-o", "json").stdout)
    assert (row["matchers"], row["author"], row["comment"]) == ('dag="daily"', "alice", "moving")
    assert windsock("alerts", "silence", "expire", "1").stdout == "1 silence is ended.\n"
    assert json.loads(windsock("alerts", "silence", "list", "-o", "json").stdout or "[]") == []
    assert windsock("alerts", "silence", "expire", "1").exit_code == 1


@pytest.mark.parametrize("words", [["dagg=x"], ["dag=x", "--for", "soon"], ["dag=x", "--starts", "soon"]])
def test_a_silence_that_cannot_be_is_refused(windsock: Command, store: Store, words: list[str]) -> None:
    result = windsock("alerts", "silence", "add", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("windsock: ")


def test_a_test_of_an_unknown_receiver_names_the_one_that_was_meant(windsock: Command, alerting_yml: Path) -> None:
    result = windsock("alerts", "test", "opps")
    assert result.exit_code == 2
    assert "did you mean ops?" in result.stderr


def test_show_tells_of_every_event_of_a_message(windsock: Command, store: Store) -> None:
    plan = Plan(routing=read(FILE, Path("alerting.yml"), {}))

    def work(tx: Tx) -> None:
        events = [
            AlertEvent(
                kind=EventKind.TASK_FAILED,
                occurred_at=MOMENT,
                dag_id="daily",
                run_id="r",
                task_id=f"t{n}",
                try_number=1,
            )
            for n in range(3)
        ]
        outbox.record(tx.connection, events)
        outbox.route(tx.connection, tx.now, plan)
        groups.flush(tx.connection, tx.now, plan)

    store.run(work)
    shown = windsock("alerts", "show", "3").stdout
    assert "email: pending, 0 attempts. Alerts in it: 3" in shown
    for n in range(3):
        assert f"t{n}" in shown
    assert windsock("alerts", "show", "9").exit_code == 1
    rows = json.loads(windsock("alerts", "deliveries", "-o", "json").stdout)
    assert rows == [
        {"channel": "email", "state": "pending", "count": 1},
        {"channel": "email", "state": "waiting", "count": 2},
    ]


def test_a_line_of_the_list_fits_into_80_columns(windsock: Command, store: Store) -> None:
    def work(tx: Tx) -> None:
        event = AlertEvent(
            kind=EventKind.TASK_FAILED,
            occurred_at=MOMENT,
            dag_id="daily_load",
            run_id="r",
            task_id="extract",
            try_number=1,
            emails=("a@example.org",),
        )
        outbox.record(tx.connection, [event])
        outbox.route(tx.connection, tx.now, Plan())

    store.run(work)
    lines = windsock("alerts", "list", COLUMNS="80").stdout.splitlines()
    assert len(lines) == 2
    assert all(len(line) <= 80 for line in lines)
