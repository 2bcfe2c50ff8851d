"""Escalation, fallback, ends and the pace of a channel, with a real mail server and a real HTTP receiver."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from alerting import acks, pace
from alerting.channels import Delivered, Message, Outcome
from alerting.database import transact
from alerting.deliver import Deliverer
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.render import Renderer
from tests.integration.alerting.files import FALLS_BACK, one_room
from tests.integration.alerting.running import Meter, Running, at_work, history, record, states_of
from tests.integration.alerting.test_routing import a_file, by_file
from tests.servers.mail import Mail, MailServer
from tests.servers.processes import free_port, wait_until
from tests.servers.webhook import Answer, WebhookServer

Failing = Callable[..., AlertEvent]

ESCALATING = """
receivers:
  ops: {email: ops@example.org, escalate: {after: 3s, to: lead}}
  lead: {email: lead@example.org}
route: {receiver: ops}
"""


def text_of(mail: Mail) -> str:
    return str(mail.message.get_body(("plain",)).get_content())  # type: ignore[union-attr]


def mails_to(server: MailServer, address: str) -> list[Mail]:
    return [mail for mail in server.mails if mail.recipients == (address,)]


def test_what_nobody_acknowledges_goes_on_and_what_somebody_does_does_not(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "alerting.yml", ESCALATING)
    with by_file(outbox_engine, path, smtp_server.port) as (world, _):
        world.record(failure(1))
        world.until(delivered=1)
        entry = history(outbox_engine)[0]
        transact(outbox_engine, lambda c, now: acks.acknowledge(c, now, [entry.event_id], "alice", ""))
        world.record(failure(2))
        world.until(delivered=3)
        wait_until(lambda: world.meter.counts["alerts.follow_ups,reason=escalation"] == 1, "the count")
    (mail,) = mails_to(smtp_server, "lead@example.org")
    assert "daily.t2" in str(mail.message["Subject"])
    said = " ".join(text_of(mail).split())
    assert re.search(r"ops was told \d+s ago, and nobody has acknowledged it: windsock alerts ack", said)


ESCALATOR = textwrap.dedent(
    """
    import os, signal, sys, threading
    from pathlib import Path
    from alerting import follow_ups
    from alerting.channels.email import Email, SmtpConfig
    from alerting.config import load
    from alerting.database import connect
    from alerting.deliver import Deliverer
    from alerting.render import Renderer
    from alerting.routes import Plan
    from alerting.settling import Settler

    url, path, port, step = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    if step == "after the first delivery":
        Settler._time = die
    if step == "while escalating":
        tell = follow_ups.tell
        follow_ups.tell = lambda *args: (tell(*args), die())

    config = SmtpConfig(host="127.0.0.1", port=port, mail_from="alerts@example.org", timeout=5)
    stop = threading.Event()
    deliverer = Deliverer(connect(url), [Email(config)], Renderer(lambda *_: [], str), Plan(routing=load(path)),
                          poll_seconds=0.1)
    deliverer.run(stop.wait, stop)
    """
)


@pytest.mark.parametrize("step", ["after the first delivery", "while escalating"])
def test_a_deliverer_killed_before_or_in_an_escalation_loses_nothing_and_escalates_once(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, tmp_path: Path, step: str
) -> None:
    path = a_file(tmp_path / "alerting.yml", ESCALATING)
    record(outbox_engine, failure(1))
    url = outbox_engine.url.render_as_string(hide_password=False)

    def start(step: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", ESCALATOR, url, str(path), str(smtp_server.port), step])

    first = start(step)
    wait_until(lambda: first.poll() is not None, "the death", 60)
    assert first.returncode == -signal.SIGKILL
    assert states_of(outbox_engine) == ["delivered"]
    successors = [start("never"), start("never")]
    try:
        wait_until(lambda: states_of(outbox_engine) == ["delivered"] * 2, "the escalation by a successor", 60)
    finally:
        for successor in successors:
            successor.kill()
            successor.wait(20)
    assert [mail.recipients for mail in smtp_server.mails] == [("ops@example.org",), ("lead@example.org",)]


def test_what_a_channel_refuses_for_good_reaches_the_fallback_and_says_why(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, webhook_server: WebhookServer, tmp_path: Path
) -> None:
    webhook_server.answers.append(Answer(400))
    path = a_file(
        tmp_path / "alerting.yml",
        """
        channels: {room: env:ROOM}
        receivers:
          ops: {channels: room}
          lead: {email: lead@example.org}
        fallback: lead
        route: {receiver: ops}
        """,
    )
    with by_file(outbox_engine, path, smtp_server.port, {"ROOM": f"json://127.0.0.1:{webhook_server.port}/"}) as (
        world,
        _,
    ):
        world.record(failure(1))
        world.until(dead=1, delivered=1)
    (mail,) = smtp_server.mails
    assert "Meant for ops, which could not be told through room" in " ".join(text_of(mail).split())
    assert world.meter.counts["alerts.follow_ups,reason=fallback"] == 1


def test_a_channel_that_is_down_for_too_long_has_its_messages_told_elsewhere_once_and_tells_them_when_it_is_back(
    outbox_engine: Engine,
    failure: Failing,
    smtp_server: MailServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(pace, "LONGEST_PROBE_SECONDS", 0.3)
    port = free_port()
    path = a_file(tmp_path / "alerting.yml", FALLS_BACK)
    environ = {"ROOM": f"json://127.0.0.1:{port}/"}
    with by_file(outbox_engine, path, smtp_server.port, environ) as (world, _):
        world.record(failure(1), failure(2))
        smtp_server.wait_for(2, 60)
        back = WebhookServer(port)
        back.start()
        try:
            world.until(delivered=4)
        finally:
            back.stop()
    assert len(back.requests) == len(smtp_server.mails) == 2
    assert re.search(r"it has taken nothing for \w+ \(.*refused\)", " ".join(text_of(smtp_server.mails[0]).split()))


def test_what_a_service_answers_that_asks_for_time_is_told_with_the_fallback(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, webhook_server: WebhookServer, tmp_path: Path
) -> None:
    webhook_server.answers.append(Answer(429, {"Retry-After": "3600"}, b"so many requests"))
    path = a_file(tmp_path / "alerting.yml", FALLS_BACK)
    environ = {"ROOM": f"json://127.0.0.1:{webhook_server.port}/"}
    with by_file(outbox_engine, path, smtp_server.port, environ) as (world, _):
        world.record(failure(1))
        smtp_server.wait_for(1, 60)
    said = " ".join(text_of(smtp_server.mails[0]).split())
    assert "which could not be told through room: it has taken nothing for " in said
    assert "error 429" in said
    assert "has not answered" not in said


def test_the_end_of_a_trouble_is_told_where_the_trouble_was(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, webhook_server: WebhookServer, tmp_path: Path
) -> None:
    path = a_file(
        tmp_path / "alerting.yml",
        """
        channels: {room: env:ROOM}
        receivers:
          ops: {channels: room}
          quiet: {email: quiet@example.org, send_resolved: false}
        route:
          receiver: nobody
          routes: [{matchers: event=task_failed, receiver: ops, continue: true}, {matchers: dag=daily, receiver: quiet}]
        """,
    )
    with by_file(outbox_engine, path, smtp_server.port, {"ROOM": f"json://127.0.0.1:{webhook_server.port}/"}) as (
        world,
        _,
    ):
        world.record(failure(1))
        world.until(delivered=2)
        world.record(failure(1, kind=EventKind.TASK_RECOVERED), failure(2, kind=EventKind.TASK_RECOVERED))
        world.until(delivered=3, suppressed=2)
    assert len(webhook_server.requests) == 2
    assert len(smtp_server.mails) == 1
    assert world.meter.counts["alerts.suppressed,reason=unwanted"] == 1
    assert world.meter.counts["alerts.suppressed,reason=nobody"] == 1


class Slow:
    """A channel that says how many messages it was given at once, and when."""

    name = "room"
    concurrency = 4

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0
        self.sent: list[float] = []
        self.enough = threading.Event()

    def send(self, message: Message) -> Outcome:
        with self._lock:
            self._now += 1
            self.sent.append(time.monotonic())
            self.most = max(self.most, self._now)
        self.enough.wait(0.05)
        with self._lock:
            self._now -= 1
        return Delivered()


def working(engine: Engine, channel: Slow, options: str) -> tuple[Deliverer, Running]:
    world = Running(engine, Meter())
    renderer = Renderer(lambda *_: [], str)
    return Deliverer(engine, [channel], renderer, one_room(options), meter=world.meter), world


def test_a_channel_is_given_no_more_messages_at_once_than_it_is_allowed(
    outbox_engine: Engine, failure: Failing
) -> None:
    channel = Slow()
    subject, world = working(outbox_engine, channel, "concurrency: 2")
    record(outbox_engine, *(failure(n) for n in range(12)))
    with at_work(subject, world):
        world.until(delivered=12)
    assert channel.most == 2


def test_a_channel_is_given_no_more_messages_in_a_window_than_it_is_allowed_by_several_deliverers(
    outbox_engine: Engine, failure: Failing
) -> None:
    channel = Slow()
    record(outbox_engine, *(failure(n) for n in range(8)))
    first, world = working(outbox_engine, channel, "rate: {messages: 2, per: 1s}")
    second, other = working(outbox_engine, channel, "rate: {messages: 2, per: 1s}")
    with at_work(first, world), at_work(second, other):
        world.until(delivered=8)
    # Four windows: the last begins three seconds after the first, and the first message perhaps well within its own.
    assert channel.sent[-1] - channel.sent[0] > 2
    assert {entry.attempts for entry in history(outbox_engine)} == {1}
