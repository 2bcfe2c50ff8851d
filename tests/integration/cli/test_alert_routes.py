"""windsock alerts check, show, ack, deliveries and silence."""

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
from tests.servers.mail import MailServer
from tests.servers.webhook import WebhookServer

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
    assert windsock("alerts", "check").stdout == f"{alerting_yml} is right: 1 receiver, 3 routes.\n"


def test_check_says_that_mail_is_off_where_the_file_has_addresses(windsock: Command, alerting_yml: Path) -> None:
    told = "windsock: ops has a mail address, and mail is off here: set WINDSOCK__SMTP__SMTP_HOST\n"
    result = windsock("alerts", "check")
    assert (result.exit_code, told in result.stderr) == (0, True)
    assert told not in windsock("alerts", "check", WINDSOCK__SMTP__SMTP_HOST="mail.example.org").stderr


def test_check_tells_every_mistake_with_its_line(windsock: Command, alerting_yml: Path) -> None:
    alerting_yml.write_text(FILE.replace("receiver: ops,", "receiver: opps,"), encoding="utf-8")
    result = windsock("alerts", "check")
    assert result.exit_code == 1
    assert "line 8: route.routes[0].receiver: there is no receiver 'opps', did you mean ops?" in result.stderr


def test_check_needs_no_variable_of_the_notifier(
    windsock: Command, alerting_yml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPS_ROOM", raising=False)
    channels = "channels: {room: env:OPS_ROOM, other: {url: env:OPS_ROOM, hmac_secret: env:OPS_HMAC}}\n"
    text = FILE.replace("{email: ops@example.org}", "{channels: [room, other]}")
    alerting_yml.write_text(channels + text, encoding="utf-8")
    result = windsock("alerts", "check", "--event", "dag=daily", "--event", "at=2026-11-23T12:00+01:00")
    assert result.exit_code == 0, result.stderr
    assert "the environment variable OPS_ROOM is not set here" in result.stderr
    assert "the environment variable OPS_HMAC is not set here" in result.stderr
    assert len([line for line in result.stderr.splitlines() if "OPS_ROOM" in line]) == 1
    assert "  room: told after 0 s" in result.stdout


def test_check_still_looks_at_the_variables_that_are_set(
    windsock: Command, alerting_yml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_ROOM", "slak://secret")
    alerting_yml.write_text("channels: {room: env:OPS_ROOM}\n" + FILE, encoding="utf-8")
    result = windsock("alerts", "check")
    assert result.exit_code == 1
    assert "line 1: channels.room: the URL has the unknown scheme slak://" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["dag=daily", "at=2026-11-23T12:00+01:00"],
            ["line 8", "email ops@example.org: told after 0 s", "dag=daily; later ones of the group up to 5m"],
        ),
        (["dag=daily", "at=2026-11-23T23:00+01:00"], ["suppressed, muted by the window nights"]),
        (["dag=noisy"], ["line 9", "not told: the route of line 9 leads to nobody"]),
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
    assert "suppressed, silence 1 of alice" in result.stdout


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("dagg=daily", "--event dagg=daily: there is no key 'dagg', did you mean dag?"),
        ("dag", "--event dag: its value is missing: write --event dag=VALUE"),
        ("dagg", "--event dagg: there is no key 'dagg', did you mean dag?; write KEY=VALUE"),
        ("xyz=1", "--event xyz=1: there is no key 'xyz'; there are: at, cause, dag"),
        ("event=failed", "there is no event 'failed'"),
        ("try=first", "write a whole number"),
        ("at=noon", "'noon' is no time"),
        ("at=0001-01-01T00:00+00:00", "a time lies in the years 1970 to 2199"),
        ("severity=critcal", "there is no severity 'critcal', did you mean critical?"),
    ],
)
def test_check_says_what_is_wrong_with_a_description(
    windsock: Command, alerting_yml: Path, word: str, told: str
) -> None:
    result = windsock("alerts", "check", "--event", word)
    assert (result.exit_code, told in result.stderr) == (2, True)


def test_a_silence_is_added_listed_and_ended(windsock: Command, store: Store) -> None:
    added = windsock("alerts", "silence", "add", "dag=daily", "--for", "2h", "--author", "alice", "--comment", "moving")
    assert "Silence 1 holds for 2h" in added.stdout
    (row,) = json.loads(windsock("alerts", "silence", "list", "-o", "json").stdout)
    assert (row["matchers"], row["author"], row["comment"]) == ('dag="daily"', "alice", "moving")
    assert windsock("alerts", "silence", "expire", "1").stdout == "1 silence is ended.\n"
    assert json.loads(windsock("alerts", "silence", "list", "-o", "json").stdout or "[]") == []
    again = windsock("alerts", "silence", "expire", "1", "7")
    assert again.exit_code == 1
    ended, missing = again.stderr.splitlines()
    assert ended.startswith("windsock: silence 1 ended already, at 20")
    assert missing == "windsock: there is no silence 7; see: windsock alerts silence list --expired"


@pytest.mark.parametrize(
    "words",
    [
        ["dagg=x"],
        ["dag=x", "--for", "soon"],
        ["dag=x", "--for", "99999999999999d"],
        ["dag=x", "--for", "3651d"],
        ["dag=x", "--starts", "soon"],
        ["dag=x", "--starts", "9999-12-31T23:59+00:00", "--for", "3d"],
    ],
)
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
    shown = windsock("alerts", "show", "3.1").stdout
    assert "3.1 ops, email ops@example.org: waiting\nAlerts in the message: 3" in shown
    for n in range(3):
        assert f"t{n}" in shown
    alone = windsock("alerts", "show", "3").stdout
    assert "2 other alerts are in the same message: windsock alerts show 3.1" in alone
    assert "t1" not in alone
    assert windsock("alerts", "show", "9").stderr.startswith("windsock: there is no alert 9;")
    assert windsock("alerts", "show", "3.2").stderr.startswith("windsock: alert 3 has no line 2: its last one is 3.1;")
    rows = json.loads(windsock("alerts", "deliveries", "-o", "json").stdout)
    assert rows == [
        {"channel": "email", "state": "pending", "count": 1},
        {"channel": "email", "state": "waiting", "count": 2},
    ]


def test_deliveries_of_an_alert_are_its_lines(windsock: Command, store: Store) -> None:
    failed(store, "a", "b")
    waits = AlertEvent(kind=EventKind.TASK_FAILED, occurred_at=MOMENT, dag_id="daily", run_id="r", task_id="c")
    store.run(lambda tx: outbox.record(tx.connection, [waits]))
    assert windsock("alerts", "deliveries", "3").stderr == "3: Recorded: no notifier has looked at it yet.\n"
    shown = windsock("alerts", "deliveries", "1").stdout
    assert "1.1   ops       email ops@example.org" in shown
    assert "2.1" not in shown
    both = json.loads(windsock("alerts", "deliveries", "2.1", "1", "2.1", "-o", "json").stdout)
    assert [entry["event_id"] for entry in both] == [2, 1]
    assert windsock("alerts", "deliveries", "9").stderr.startswith("windsock: there is no alert 9;")
    assert windsock("alerts", "deliveries", "1.5").stderr.startswith(
        "windsock: alert 1 has no line 5: its last one is 1.1"
    )
    assert "'one' is no number of an alert" in windsock("alerts", "deliveries", "one").stderr


def test_a_list_of_a_dag_that_there_is_not_says_so(windsock: Command, dags: Store) -> None:
    assert windsock("alerts", "list", "--dag", "nightly").stderr == "No alerts of nightly.\n"
    told = windsock("alerts", "list", "--dag", "nighly").stderr
    assert told == "No alerts, and no DAG nighly; did you mean nightly?\n"


def test_without_a_file_a_test_of_an_unknown_receiver_says_so(windsock: Command, store: Store, home: Path) -> None:
    told = windsock("alerts", "test", "nobodies").stderr
    assert told == f"windsock: there is no receiver 'nobodies': there is no {home / 'alerting.yml'}\n"
    told = windsock("alerts", "test", "setings").stderr
    assert "there is no receiver 'setings', did you mean settings? There is no " in told


FOLLOWED = """\
channels:
  room: json://127.0.0.1:PORT/secret-path
  away: json://127.0.0.1:9/secret-path
receivers:
  ops:
    email: ops@example.org
    channels: [room]
    escalate: {after: 10m, to: lead}
    repeat_interval: 4h
    fallback: {to: boss, after: 2m}
  lead: {email: lead@example.org, escalate: {after: 1h, to: boss}, fallback: boss}
  boss: {email: boss@example.org, channels: [away]}
route: {receiver: ops}
"""


def test_check_shows_what_would_follow(windsock: Command, alerting_yml: Path, store: Store) -> None:
    alerting_yml.write_text(FOLLOWED.replace("PORT", "9"), encoding="utf-8")
    told = windsock("alerts", "check", "--event", "dag=daily").stdout
    for line in (
        "ops escalates to lead where nobody acknowledges it within 10m",
        "lead escalates to boss where nobody acknowledges it within 1h",
        "ops is told again every 4h until it is over or acknowledged",
        "ops falls back to boss where a message dies, or a channel of it is down for 2m",
        "lead falls back to boss where a message dies, or a channel of it is down for 5m",
    ):
        assert line in told
    ended = windsock("alerts", "check", "--event", "event=task_recovered").stdout
    assert "told to whoever was told of the task_failed that it ends, and to nobody else" in ended
    assert "escalates" not in windsock("alerts", "check", "--event", "event=task_retry").stdout


def test_check_shows_what_an_open_trouble_inhibits(windsock: Command, alerting_yml: Path, store: Store) -> None:
    down = AlertEvent(kind=EventKind.COMPONENT_DOWN, occurred_at=datetime.now(UTC), subject="scheduler on a")
    store.run(lambda tx: outbox.record(tx.connection, [down]))
    store.run(lambda tx: outbox.route(tx.connection, tx.now, Plan(("room",))))  # somebody is told of it
    words = ("--event", "event=dag_late", "--event", "dag=daily", "--event", "at=2026-11-23T12:00+01:00")
    told = windsock("alerts", "check", *words).stdout
    assert "email ops@example.org: suppressed, inhibited by component down (scheduler on a), alert 1" in told


def test_check_describes_causes_subjects_and_labels_of_prometheus(windsock: Command, alerting_yml: Path) -> None:
    routes = "    - {matchers: [cause=lost, subject=a, 'label.team=\"data\"'], receiver: ops}\n"
    alerting_yml.write_text(FILE.replace("  routes:\n", f"  routes:\n{routes}"), encoding="utf-8")
    words = ("--event", "cause=lost", "--event", "subject=a", "--event", "label.team=data")
    assert 'label.team="data") → ops' in windsock("alerts", "check", *words).stdout
    assert windsock("alerts", "check", "--event", "label.=x").exit_code == 2


def test_check_takes_of_an_alert_of_prometheus_what_its_labels_say(windsock: Command, alerting_yml: Path) -> None:
    routes = "    - {matchers: [severity=critical, dag=etl, subject=Stuck], receiver: ops}\n"
    alerting_yml.write_text(FILE.replace("  routes:\n", f"  routes:\n{routes}"), encoding="utf-8")
    labels = ("label.severity=page", "label.dag_id=etl", "label.alertname=Stuck")
    words = [part for label in labels for part in ("--event", label)]
    told = windsock("alerts", "check", "--event", "event=prometheus_firing", *words).stdout
    assert 'line 8 (severity="critical", dag="etl", subject="Stuck") → ops' in told
    other = windsock("alerts", "check", "--event", "event=prometheus_firing", *words, "--event", "severity=info").stdout
    assert "line 8" not in other


def test_check_says_what_nothing_uses(windsock: Command, alerting_yml: Path) -> None:
    text = FILE.replace(", mute: nights", "") + "channels: {room: 'json://127.0.0.1:9/'}\n"
    alerting_yml.write_text(text, encoding="utf-8")
    result = windsock("alerts", "check")
    assert result.exit_code == 0
    assert "windsock: no receiver names the channel room, so nothing is told there" in result.stderr
    assert "windsock: no route names the mute window nights, so it mutes nothing" in result.stderr


def test_check_tries_to_reach_every_receiver_and_sends_nothing(
    windsock: Command,
    alerting_yml: Path,
    smtp_server: MailServer,
    webhook_server: WebhookServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WINDSOCK__SMTP__SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("WINDSOCK__SMTP__SMTP_PORT", str(smtp_server.port))
    alerting_yml.write_text(FOLLOWED.replace("PORT", str(webhook_server.port)), encoding="utf-8")
    result = windsock("alerts", "check", "--connect")
    assert result.exit_code == 1
    assert f"room: 127.0.0.1:{webhook_server.port} answers" in result.stdout
    assert "away: 127.0.0.1:9, connection refused" in result.stdout
    assert f"email: 127.0.0.1:{smtp_server.port} answers" in result.stdout
    assert result.stderr.splitlines()[-1] == "windsock: cannot be reached from here: away"
    assert "secret-path" not in result.output
    assert (webhook_server.requests, smtp_server.mails) == ([], [])


def test_check_says_that_mail_is_off_where_a_receiver_is_told_by_mail(windsock: Command, alerting_yml: Path) -> None:
    result = windsock("alerts", "check", "--connect")
    assert result.exit_code == 1
    assert "email: nowhere, mail is off: set WINDSOCK__SMTP__SMTP_HOST" in result.stdout


def failed(store: Store, *task_ids: str) -> None:
    events = [
        AlertEvent(
            kind=EventKind.TASK_FAILED, occurred_at=MOMENT, dag_id="daily", run_id="r", task_id=task_id, try_number=1
        )
        for task_id in task_ids
    ]
    plan = Plan(routing=read(FILE, Path("alerting.yml"), {}))

    def work(tx: Tx) -> None:
        outbox.record(tx.connection, events)
        outbox.route(tx.connection, tx.now, plan)
        groups.flush(tx.connection, tx.now, plan)

    store.run(work)


def test_ack_of_a_line_is_for_all_that_its_message_tells_of_and_is_shown(windsock: Command, store: Store) -> None:
    failed(store, "a", "b")
    words = ("ack", "1.1", "--author", "alice", "--comment", "I have called them")
    assert windsock("alerts", *words).stdout == "2 alerts are acknowledged.\n"
    again = windsock("alerts", "ack", "2.1", "--author", "bob")
    assert again.stdout == "0 alerts are acknowledged. 2 had been acknowledged before.\n"
    for command in (("list",), ("show", "1.1")):
        assert windsock("alerts", *command).stdout.count("acknowledged by alice: I have called them") == 2
    assert "Acknowledged by alice: I have called them\n" in windsock("alerts", "show", "1").stdout
    rows = json.loads(windsock("alerts", "list", "-o", "json").stdout)
    assert {(row["acked_by"], row["ack_comment"]) for row in rows} == {("alice", "I have called them")}


def test_ack_takes_an_alert_or_what_is_open_of_a_dag(windsock: Command, store: Store) -> None:
    failed(store, "a", "b", "c")
    assert windsock("alerts", "ack", "1").stdout == "1 alert is acknowledged.\n"
    by_task = windsock("alerts", "ack", "--dag", "daily", "--run", "r", "--task", "b")
    assert by_task.stdout == "1 alert is acknowledged.\n"
    assert windsock("alerts", "ack", "--dag", "daily").stdout == "1 alert is acknowledged.\n"
    assert windsock("alerts", "ack", "--dag", "daily").exit_code == 1


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "say what you acknowledge"),
        (("--task", "t"), 2, "--run and --task need --dag"),
        (("7",), 1, "there is no alert 7; see: windsock alerts list --all"),
        (("7.1",), 1, "there is no alert 7; see"),
        (("seven",), 2, "'seven' is no number of an alert"),
        (("--dag", "none"), 1, "nothing of that is open and not acknowledged"),
    ],
)
def test_an_ack_of_nothing_says_what_to_do(
    windsock: Command, store: Store, words: tuple[str, ...], code: int, told: str
) -> None:
    result = windsock("alerts", "ack", *words)
    assert (result.exit_code, told in result.stderr) == (code, True)


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
    assert len(lines) == 3
    assert all(len(line) <= 80 for line in lines)


def test_check_promises_no_mail_for_what_a_tasks_email_has_no_address_for(
    windsock: Command, alerting_yml: Path, store: Store
) -> None:
    text = FILE.replace("email: ops@example.org", "task_email: true")
    alerting_yml.write_text(text, encoding="utf-8")
    told = windsock("alerts", "check", "--event", "dag=daily", "--event", "at=2026-11-23T12:00+01:00")
    assert "email the task's own email: told after 0 s" in told.stdout
    assert 'line 8 (dag="daily") → ops: task_email reaches nobody for run_failed' in told.stderr
    lost = windsock("alerts", "check", "--event", "dag=daily", "--event", "event=callback_failed")
    assert "not told: " in lost.stdout
    assert "the task names no email for callback_failed" in lost.stdout


@pytest.mark.parametrize(
    ("span", "unit", "told"), [("2", "hours", "2h"), ("30", "min", "30m"), ("3", "d", "3d"), ("45", "Seconds", "45s")]
)
def test_a_length_in_two_words_is_told_as_one(windsock: Command, store: Store, span: str, unit: str, told: str) -> None:
    result = windsock("alerts", "silence", "add", "--for", span, unit, "dag=daily")
    assert (result.exit_code, result.stderr) == (2, f"windsock: --for {span} {unit}: write --for {told}\n")


def test_an_event_that_is_described_wrongly_is_told_before_anything_else(windsock: Command, alerting_yml: Path) -> None:
    result = windsock("alerts", "check", "--event", "event=task_faild")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no event 'task_faild', did you mean task_failed?" in result.stderr


def test_check_says_that_a_tasks_own_email_gets_no_mail_any_more(windsock: Command, alerting_yml: Path) -> None:
    sentence = (
        "windsock: no route leads task_failed to task_email, so a task's own email= in the DAG files gets no mail"
    )
    assert sentence in windsock("alerts", "check").stderr
    alerting_yml.write_text(FILE.replace("example.org}", "example.org, task_email: true}"), encoding="utf-8")
    assert "no route leads task_failed" not in windsock("alerts", "check").stderr


def test_check_names_a_dag_and_a_task_that_there_are_not(
    windsock: Command, alerting_yml: Path, store: Store, dags: Store
) -> None:
    routes = "\n".join(
        f"    - {{matchers: [{matchers}], receiver: ops}}"
        for matchers in (
            "dag=hello_wrld",
            "dag=hello_world, task=helo",
            "dag=hello_world, task=hello",
            "dag=~gone.*",
            "task=of_any_dag",
        )
    )
    inhibit = "inhibit: [{source_matchers: dag=nigthly, target_matchers: event=dag_late}]\n"
    alerting_yml.write_text(f"{FILE}{routes}\n{inhibit}", encoding="utf-8")
    result = windsock("alerts", "check")
    assert result.exit_code == 0, result.stderr
    told = [line for line in result.stderr.splitlines() if "hello" in line or "nig" in line or "any_dag" in line]
    assert told == [
        "windsock: line 10: there is no DAG hello_wrld; did you mean hello_world?",
        "windsock: line 11: hello_world has no task helo; did you mean hello?",
        "windsock: inhibit: there is no DAG nigthly; did you mean nightly?",
    ]


def test_a_silence_of_a_dag_that_there_is_not_holds_and_says_so(windsock: Command, dags: Store) -> None:
    told = windsock("alerts", "silence", "add", "dag=hello_wrld")
    assert told.stdout.startswith("Silence 1 holds for 1h.")
    assert (told.exit_code, told.stderr) == (0, "windsock: there is no DAG hello_wrld; did you mean hello_world?\n")
    assert windsock("alerts", "silence", "add", "dag=hello_world").stderr == ""
