"""``alerting.notify`` where there is no notifier, as in Airflow: real mail server, real webhook, real outbox file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from alerting import notify, outbox, standalone
from alerting.config import load
from alerting.database import transact
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.notice import facts
from alerting.routes import Plan
from alerting.standalone_outbox import Standing, keep, open_outbox, standing
from alerting.tables import alert_follow_up
from tests.servers.mail import MailServer
from tests.servers.processes import free_port
from tests.servers.webhook import Answer, WebhookServer

ALERTING = """
channels:
  hook: json://127.0.0.1:{port}/
receivers:
  ops: {{email: oncall@example.com, channels: [hook]}}
  team: {{channels: [hook]}}
route:
  receiver: team
  group_by: [dag]
  group_wait: 10m
  routes:
    - matchers: dag="another"
      receiver: ops
"""


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    monkeypatch.setenv("WINDSOCK__SMTP__SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("WINDSOCK__SMTP__SMTP_PORT", str(server.port))
    yield server
    server.stop()


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookServer]:
    """A webhook, and an alerting.yml that names it."""
    server = WebhookServer(free_port())
    server.start()
    (tmp_path / "alerting.yml").write_text(ALERTING.format(port=server.port))
    monkeypatch.setenv("WINDSOCK__ALERTING__CONFIG_FILE", str(tmp_path / "alerting.yml"))
    yield server
    server.stop()


def context(**more: Any) -> dict[str, Any]:
    """As Airflow gives it to a task's callback."""
    task = SimpleNamespace(task_id="load", owner="alice", retries=2)
    ti = SimpleNamespace(
        task_id="load",
        dag_id="daily",
        run_id="r1",
        map_index=-1,
        try_number=3,
        max_tries=2,
        operator="PythonOperator",
        start_date=datetime(2026, 1, 1, 6, 0, tzinfo=UTC),
        end_date=None,
        hostname="worker-1",
        log_url="http://airflow/daily/r1/load",
        state="failed",
        task=task,
    )
    dag = SimpleNamespace(dag_id="daily", tags={"nightly"}, owner="alice")
    return {"ti": ti, "dag": dag, "task": task, "run_id": "r1", "exception": ValueError("no table"), **more}


def states(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [state for (state,) in connection.execute("SELECT state FROM alert_delivery ORDER BY id")]


def test_a_receiver_is_told_by_all_of_its_channels(post: MailServer, hook: WebhookServer) -> None:
    notify("ops", template="{{ task_id }} is broken:\n{{ error }}")(context())
    (mail,), (request,) = post.wait_for(1), hook.wait_for(1)
    text = mail.message.get_body(("plain",))
    assert text is not None
    assert "load is broken:\r\nValueError: no table" in text.get_content()
    assert "http://airflow/daily/r1/load" in text.get_content()
    assert request.json()["message"].startswith("load is broken:\nValueError: no table")
    assert (len(post.mails), len(hook.requests)) == (1, 1)


def test_without_a_receiver_the_routes_decide_and_nothing_waits_for_a_group(hook: WebhookServer) -> None:
    notify()(context())
    (request,) = hook.wait_for(1)
    assert request.json()["message"].startswith("Attempt 3 of 3 of task load failed.")


def test_an_url_needs_no_configuration_and_is_not_in_its_name(hook: WebhookServer) -> None:
    callback = notify(f"json://user:secret@127.0.0.1:{hook.port}/x")
    callback(context())
    assert hook.wait_for(1)[0].path == "/x"
    assert callback.__name__ == repr(callback) == "notify(json://…)"


def test_what_is_not_accepted_now_is_tried_again_and_then_fails_the_callback(
    hook: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone, "LONGEST_PAUSE_SECONDS", 0.01)
    hook.answers.extend([Answer(503), Answer(200)])
    notify("team")(context())
    assert len(hook.requests) == 2
    hook.answers.extend([Answer(503)] * standalone.TRIES)
    with pytest.raises(AlertingError, match=r"^hook was not told: .*503"):
        notify("team")(context())


def test_an_outbox_keeps_what_could_not_be_delivered_for_the_next_callback(
    hook: WebhookServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone, "PATIENCE_SECONDS", 0.5)
    path = tmp_path / "outbox.db"
    hook.stop()
    notify("team", template="first", outbox=str(path))(context())
    assert states(path) == ["pending"]
    hook.start()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alert_delivery SET due_at = '2026-01-01 00:00:00.000000'")
    monkeypatch.setattr(standalone, "PATIENCE_SECONDS", 20.0)
    notify("team", template="second", outbox=str(path))(context())
    told = sorted(request.json()["message"].partition("\n")[0] for request in hook.wait_for(2))
    assert told == ["first", "second"]
    assert states(path) == ["delivered", "delivered"]
    notify("team", template="second", outbox=str(path))(context())  # an Airflow that calls it twice
    assert states(path) == ["delivered", "delivered"]


def test_an_outbox_holds_nothing_back_for_a_digest_that_nobody_would_send(
    hook: WebhookServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "alerting.yml"
    path.write_text(path.read_text().replace("team: {", "team: {limit: {messages: 1, per: 1h}, "))
    for number in range(3):
        notify("team", template=f"number {number}", outbox=str(tmp_path / "outbox.db"))(context())
    assert [request.json()["message"].partition("\n")[0][-1] for request in hook.wait_for(3)] == ["0", "1", "2"]
    assert states(tmp_path / "outbox.db") == ["delivered"] * 3
    assert not caplog.records


def test_what_waits_for_others_is_not_told_yet(hook: WebhookServer, tmp_path: Path) -> None:
    event = AlertEvent(kind=EventKind.NOTIFIED, occurred_at=datetime.now(UTC), dag_id="daily", run_id="r1")
    engine = open_outbox(str(tmp_path / "outbox.db"))
    assert not keep(engine, event)
    plan = Plan(routing=load(tmp_path / "alerting.yml", {}))
    transact(engine, lambda connection, now: outbox.route(connection, now, plan))
    assert states(tmp_path / "outbox.db") == ["waiting"]
    assert standing(engine, event) is Standing.OPEN
    engine.dispose()


@pytest.mark.parametrize("lacks", ["TABLE alert_follow_up", "COLUMN error"])
def test_an_outbox_of_an_older_version_gets_what_it_lacks(empty_database_url: str, lacks: str) -> None:
    url = empty_database_url.replace("postgresql:", "postgresql+psycopg:").replace("mysql:", "mysql+pymysql:")
    made = open_outbox(url)
    with made.begin() as connection:
        alter = "" if lacks.startswith("TABLE") else "ALTER TABLE alert_follow_up "
        connection.exec_driver_sql(f"{alter}DROP {lacks}")
    made.dispose()
    for _ in range(2):
        engine = open_outbox(url)
        with engine.connect() as connection:
            assert connection.execute(select(alert_follow_up)).all() == []
        engine.dispose()


def test_a_run_that_was_cleared_and_fails_again_is_told_again(hook: WebhookServer, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    begun = datetime(2026, 1, 1, 6, 0, tzinfo=UTC)
    run = SimpleNamespace(run_id="r1", state="failed", start_date=begun, end_date=begun + timedelta(hours=1))
    callback = notify("team", outbox=str(outbox))
    for _ in range(2):  # an Airflow that calls it twice
        callback(context(reason="task_failure", exception=None, dag_run=run))
    assert states(outbox) == ["delivered"]
    again = SimpleNamespace(**vars(run) | {"end_date": begun + timedelta(days=2)})
    callback(context(reason="task_failure", exception=None, dag_run=again))
    assert states(outbox) == ["delivered", "delivered"]
    assert len(hook.requests) == 2


def test_the_severity_of_the_file_is_what_is_sent(hook: WebhookServer, tmp_path: Path) -> None:
    path = tmp_path / "alerting.yml"
    path.write_text("severity: {notified: critical}\n" + path.read_text())
    notify("team")(context(exception=None))
    assert hook.wait_for(1)[0].json()["severity"] == "critical"


@pytest.mark.parametrize(
    ("receiver", "match"),
    [
        ("opps", "there is no receiver opps in alerting.yml; did you mean ops"),
        ("json:/x", "there is no receiver json:/x"),
    ],
)
def test_a_receiver_that_is_not_there_is_told_with_what_was_meant(
    hook: WebhookServer, receiver: str, match: str
) -> None:
    with pytest.raises(AlertingError, match=match):
        notify(receiver)(context())


def test_a_missing_configuration_says_how_to_give_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WINDSOCK__ALERTING__CONFIG_FILE", raising=False)
    with pytest.raises(AlertingError, match="give it config_file=, or set WINDSOCK__ALERTING__CONFIG_FILE"):
        notify("ops")(context())
    with pytest.raises(AlertingError, match=r"there is no file .*nothing\.yml"):
        notify("ops", config_file=tmp_path / "nothing.yml")(context())


def test_mail_without_a_server_says_which_setting_is_missing(hook: WebhookServer) -> None:
    with pytest.raises(AlertingError, match="there is no channel email here; mail needs WINDSOCK__SMTP__SMTP_HOST"):
        notify("ops")(context())
    assert len(hook.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"template": "{{ tsk_id }}"}, "asks for 'tsk_id'; did you mean task_id"),
        ({"template": "{% if %}"}, "is wrong in line 1"),
        ({"severity": "loud"}, "severity must be one of info, warning, error, critical"),
        ({"receiver": " "}, "the receiver is empty"),
    ],
)
def test_what_is_wrong_is_told_when_the_dag_file_is_read(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        notify(**arguments)


def test_a_template_cannot_reach_what_it_should_not(hook: WebhookServer) -> None:
    with pytest.raises(AlertingError, match="SecurityError"):
        notify("team", template="{{ dag_id.__class__.__mro__ }}")(context())
    assert hook.requests == []


def test_a_runs_callback_of_airflow_is_about_the_run_though_it_names_a_task(hook: WebhookServer) -> None:
    known = facts(context(reason="task_failure", exception=None))
    assert (known["task_id"], known["dag_id"], known["error"]) == (None, "daily", None)


def test_what_failed_of_a_run_is_told_once_and_not_by_the_reason_alone(hook: WebhookServer) -> None:
    """Windsock names it; an Airflow knows no more than the reason, and a success of a run has neither."""
    callback = notify("team", template="failed {{ error or reason }}")
    callback(context(reason="task_failure", exception=None, run_error="failed tasks: load, clean"))
    callback(context(reason="timed_out", exception=None))
    notify("team")(context(reason="success", exception=None))
    first, second, third = (request.json() for request in hook.wait_for(3))
    assert first["sentence"] == "failed failed tasks: load, clean"
    assert (first["error"], second["error"]) == ("failed tasks: load, clean", "")
    assert second["sentence"] == "failed timed_out"
    assert [told["severity"] for told in (first, second, third)] == ["error", "error", "info"]


def test_attempts_are_counted_as_people_do(hook: WebhookServer) -> None:
    assert (facts(context())["try_number"], facts(context())["max_tries"]) == (3, 3)


def test_a_text_in_the_place_of_the_receiver_is_told_with_what_was_meant() -> None:
    with pytest.raises(TypeError, match=r"two receivers, 'the load is down' and 'ops'; .* notify\('ops', template=…\)"):
        notify("the load is down", receiver="ops")
    assert (notify("ops").receiver, notify(receiver="ops").receiver, notify().receiver) == ("ops", "ops", None)
