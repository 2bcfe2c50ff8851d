"""Routes, groups and limits with a real mail server and a real HTTP receiver."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from alerting import outbox
from alerting.channels import Channel
from alerting.channels.email import Email, SmtpConfig
from alerting.deliver import Deliverer
from alerting.events import AlertEvent
from alerting.reload import Watch
from alerting.render import Renderer
from alerting.routes import Plan
from tests.integration.alerting.running import Meter, Running, at_work, history, record, states_of
from tests.servers.mail import MailServer
from tests.servers.processes import wait_until
from tests.servers.webhook import WebhookServer

Failing = Callable[..., AlertEvent]


@contextmanager
def by_file(
    engine: Engine, path: Path, smtp_port: int, environ: dict[str, str] | None = None
) -> Iterator[tuple[Running, Callable[[], bool]]]:
    """A deliverer at work by the file; the second value reads the file again where it changed."""
    world = Running(engine, Meter())
    watch = Watch(path, environ or {}, world.meter)
    mail: Channel = Email(SmtpConfig(host="127.0.0.1", port=smtp_port, mail_from="alerts@example.org", timeout=5))
    renderer = Renderer(lambda *_: [], str)
    subject = Deliverer(
        engine, [mail, *watch.channels], renderer, Plan(routing=watch.routing), meter=world.meter, poll_seconds=0.2
    )

    def refresh() -> bool:
        news = watch.refresh()
        if news:
            subject.reconfigure([mail, *watch.channels], Plan(routing=watch.routing))
        return news

    with at_work(subject, world):
        yield world, refresh


def a_file(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def test_each_receiver_gets_what_its_route_says(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, webhook_server: WebhookServer, tmp_path: Path
) -> None:
    path = a_file(
        tmp_path / "alerting.yml",
        """
        channels: {room: env:ROOM}
        receivers:
          ops: {channels: room, email: ops@example.org}
        route:
          receiver: task-email
          routes: [{matchers: dag=daily, receiver: ops}]
        """,
    )
    with by_file(outbox_engine, path, smtp_server.port, {"ROOM": f"json://127.0.0.1:{webhook_server.port}/"}) as (
        world,
        _,
    ):
        world.record(failure(1), failure(2, dag_id="other"))
        world.until(delivered=3)
    assert sorted(mail.recipients for mail in smtp_server.mails) == [("alice@example.org",), ("ops@example.org",)]
    assert len(webhook_server.requests) == 1


def test_what_is_sent_has_the_severity_of_the_file_also_after_that_is_read_again(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, webhook_server: WebhookServer, tmp_path: Path
) -> None:
    text = """
        channels: {room: env:ROOM}
        receivers:
          ops: {channels: room}
        route: {receiver: ops}
        severity: {task_failed: info}
        """
    path = a_file(tmp_path / "alerting.yml", text)
    with by_file(outbox_engine, path, smtp_server.port, {"ROOM": f"json://127.0.0.1:{webhook_server.port}/"}) as (
        world,
        refresh,
    ):
        world.record(failure(1))
        world.until(delivered=1)
        a_file(path, text.replace("info", "critical"))
        assert refresh()
        world.record(failure(2))
        world.until(delivered=2)
    assert [request.json()["severity"] for request in webhook_server.requests] == ["info", "critical"]


def test_a_group_is_one_mail_that_names_all_and_one_request_with_one_key(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, webhook_server: WebhookServer, tmp_path: Path
) -> None:
    path = a_file(
        tmp_path / "alerting.yml",
        """
        channels: {room: env:ROOM}
        receivers:
          ops: {channels: room, email: ops@example.org}
        route: {receiver: ops, group_by: [dag], group_wait: 0s}
        """,
    )
    record(outbox_engine, *(failure(n, error="division <b>by</b> zero") for n in range(5)))
    with by_file(outbox_engine, path, smtp_server.port, {"ROOM": f"json://127.0.0.1:{webhook_server.port}/"}) as (
        world,
        _,
    ):
        world.until(delivered=10)
    (mail,) = smtp_server.mails
    (request,) = webhook_server.requests
    text = mail.message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    html = mail.message.get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert mail.message["Subject"] == "5 failures: daily"
    for n in range(5):
        assert f"failed t{n}" in text
        assert f"failed t{n}" in html
        assert f"failed t{n}" in request.json()["message"]
    assert "<b>by</b>" not in html
    assert len(request.headers["idempotency-key"]) == 64


def test_a_changed_file_is_adopted_and_a_bad_one_leaves_the_old_in_force(
    outbox_engine: Engine,
    failure: Failing,
    smtp_server: MailServer,
    webhook_server: WebhookServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = a_file(tmp_path / "alerting.yml", "receivers: {a: {email: a@example.org}}\nroute: {receiver: a}\n")
    with by_file(outbox_engine, path, smtp_server.port) as (world, refresh):
        world.record(failure(1))
        world.until(delivered=1)
        a_file(path, "receivers: {b: {email: b@example.org}}\nroute: {receiver: bb}\n")
        assert refresh() is False
        assert world.meter.gauges["alerts.config_ok"] == 0
        assert "line 2: route.receiver: there is no receiver 'bb', did you mean b?" in caplog.text
        world.record(failure(2))
        world.until(delivered=2)
        a_file(
            path,
            f"""
            channels: {{room: 'json://127.0.0.1:{webhook_server.port}/'}}
            receivers: {{b: {{email: bob@example.org, channels: room}}}}
            route: {{receiver: b}}
            """,
        )
        assert refresh() is True
        assert world.meter.gauges["alerts.config_ok"] == 1
        world.record(failure(3))
        world.until(delivered=4)
    assert [mail.recipients[0] for mail in smtp_server.mails] == ["a@example.org", "a@example.org", "bob@example.org"]
    assert len(webhook_server.requests) == 1


def test_groups_that_are_open_are_counted(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, tmp_path: Path
) -> None:
    path = a_file(
        tmp_path / "alerting.yml",
        "receivers: {a: {email: a@example.org}}\nroute: {receiver: a, group_by: [dag], group_wait: 0s}\n",
    )
    with by_file(outbox_engine, path, smtp_server.port) as (world, _):
        wait_until(lambda: "alerts.groups_open" in world.meter.gauges, "the gauge", 30)
        assert world.meter.gauges["alerts.groups_open"] == 0
        world.record(failure(1), failure(2, dag_id="other"))
        wait_until(lambda: world.meter.gauges["alerts.groups_open"] == 2, "both groups", 30)


def test_ten_thousand_failures_in_a_minute_are_a_handful_of_messages_that_name_them_all(
    outbox_engine: Engine,
    failure: Failing,
    smtp_server: MailServer,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    path = a_file(
        tmp_path / "alerting.yml",
        """
        receivers:
          ops: {email: ops@example.org, limit: {messages: 3, per: 10s}}
        route: {receiver: ops}
        """,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(0, 10_000, 1000):
        record(outbox_engine, *(failure(n, run_id=f"r{n % 7}") for n in range(start, start + 1000)))
    with by_file(outbox_engine, path, smtp_server.port) as (world, _):
        told = "alerts.delivered,channel=email"
        wait_until(lambda: world.meter.counts[told] == 10_000, "all to be told", 180)
    with outbox_engine.begin() as connection:
        assert outbox.counts(connection) == [("email", "delivered", 10_000)]
    named: Counter[str] = Counter()
    for mail in smtp_server.mails:
        text = mail.message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        subject = str(mail.message["Subject"])
        if subject.startswith("Failed: "):
            named[subject.split("daily.")[1].split()[0]] += 1
            continue
        for line in text.splitlines():
            if line.startswith("  failed ("):
                named.update(line.partition(": ")[2].split(", "))
    assert named == Counter({f"t{n}": 1 for n in range(10_000)})
    record_property("messages", len(smtp_server.mails))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    record_property("memory grown by, MiB", grown)
    assert grown < 200
    assert len(smtp_server.mails) <= 60


# Forms waves until none is due, or shoots itself before the transaction of the first one is committed.
FLUSHER = textwrap.dedent(
    """
    import os, signal, sys, threading
    from pathlib import Path
    from alerting import groups
    from alerting.channels.email import Email, SmtpConfig
    from alerting.config import load
    from alerting.database import connect
    from alerting.deliver import Deliverer
    from alerting.render import Renderer
    from alerting.routes import Plan

    url, path, port, step = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

    if step == "while forming a wave":
        send = groups._send
        groups._send = lambda *args: (send(*args), os.kill(os.getpid(), signal.SIGKILL))

    config = SmtpConfig(host="127.0.0.1", port=port, mail_from="alerts@example.org", timeout=5)
    stop = threading.Event()
    deliverer = Deliverer(connect(url), [Email(config)], Renderer(lambda *_: [], str), Plan(routing=load(path)),
                          poll_seconds=0.1)
    deliverer.run(stop.wait, stop)
    """
)


def test_a_deliverer_killed_while_it_forms_a_wave_loses_nothing_and_tells_once(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, tmp_path: Path
) -> None:
    text = "receivers: {a: {email: a@example.org}}\nroute: {receiver: a, group_by: [dag], group_wait: 0s}\n"
    path = a_file(tmp_path / "alerting.yml", text)
    record(outbox_engine, *(failure(n) for n in range(4)))
    url = outbox_engine.url.render_as_string(hide_password=False)

    def start(step: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", FLUSHER, url, str(path), str(smtp_server.port), step])

    assert start("while forming a wave").wait(60) == -signal.SIGKILL
    assert states_of(outbox_engine) == ["waiting"] * 4
    successor = start("never")
    try:
        wait_until(lambda: states_of(outbox_engine) == ["delivered"] * 4, "delivery by the successor", 60)
    finally:
        successor.kill()
        successor.wait(20)
    assert len(smtp_server.mails) == 1


def test_every_event_has_a_row_that_says_what_became_of_it(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, tmp_path: Path
) -> None:
    path = a_file(
        tmp_path / "alerting.yml",
        """
        receivers:
          ops: {email: ops@example.org, limit: {messages: 2, per: 1s}}
        mute_windows: {always: {windows: [{times: [00:00-24:00]}]}}
        route:
          receiver: ops
          routes:
            - {matchers: dag=muted, mute: always}
            - {matchers: dag=dropped, receiver: nobody}
            - {matchers: dag=grouped, group_by: [run], group_wait: 0s, group_interval: 1s}
        """,
    )
    dags = ("muted", "dropped", "grouped", "daily")
    with by_file(outbox_engine, path, smtp_server.port) as (world, _):
        for start in range(0, 40, 8):
            world.record(*(failure(n, dag_id=dags[n % 4], run_id=f"r{n % 3}") for n in range(start, start + 8)))
        world.until(delivered=20, suppressed=20)
    told: dict[int, set[str]] = {}
    for entry in history(outbox_engine):
        told.setdefault(entry.event_id, set()).add(entry.state)
    assert len(told) == 40
    assert all(states & {"delivered", "dead", "suppressed"} for states in told.values())
    assert world.meter.counts["alerts.suppressed,reason=mute_window"] == 10
    assert world.meter.counts["alerts.suppressed,reason=nobody"] == 10
