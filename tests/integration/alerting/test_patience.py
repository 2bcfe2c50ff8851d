"""Channels that ask for time, by their answers or in the file, and what becomes of the messages meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import Engine

from alerting import deliver, pace
from alerting.channels import Delivered, Failure, Message, Outcome, Retry
from alerting.channels.chat import receivers
from alerting.channels.http import MOST_READ_BYTES
from alerting.deliver import Deliverer
from alerting.events import AlertEvent
from alerting.render import Renderer
from alerting.routes import Plan
from tests.integration.alerting.files import FALLS_BACK, one_room
from tests.integration.alerting.running import Meter, Running, at_work, record, running
from tests.integration.alerting.test_routing import a_file, by_file
from tests.servers.mail import MailServer
from tests.servers.processes import wait_until
from tests.servers.webhook import Answer, WebhookServer

Failing = Callable[..., AlertEvent]
MEGABYTE = b"x" * 1_000_000
AWAY = Retry(Failure.TIMEOUT, "no answer in time", channel_down=True)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off, probes and looks in tenths of seconds."""
    monkeypatch.setattr(pace, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(pace, "LONGEST_SECONDS", 0.1)
    monkeypatch.setattr(pace, "LONGEST_PROBE_SECONDS", 0.1)
    monkeypatch.setattr(deliver, "GAUGE_SECONDS", 0.05)


class Room:
    """Answers as it is told, then accepts; one message at a time."""

    name = "room"
    concurrency = 1

    def __init__(self, *answers: Outcome) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, float]] = []

    def send(self, message: Message) -> Outcome:
        self.sent.append((message.key, time.monotonic()))
        return self.answers.pop(0) if self.answers else Delivered()


class Watched(Room):
    """Knows before each message whether the log calls it back."""

    def __init__(self, log: pytest.LogCaptureFixture, *answers: Outcome) -> None:
        super().__init__(*answers)
        self.log = log
        self.said_back: list[bool] = []

    def send(self, message: Message) -> Outcome:
        self.said_back.append("receiver room is back" in self.log.text)
        return super().send(message)


def working(engine: Engine, room: Room, plan: Plan) -> tuple[Deliverer, Running]:
    world = Running(engine, Meter())
    return Deliverer(engine, [room], Renderer(lambda *_: [], str), plan, meter=world.meter), world


def test_a_paced_channel_gets_its_messages_in_their_order(outbox_engine: Engine, failure: Failing) -> None:
    room = Room()
    subject, world = working(outbox_engine, room, one_room("rate: {messages: 1, per: 1s}"))
    events = [failure(n) for n in range(4)]
    for event in events:  # each waits for longer than the next
        record(outbox_engine, event)
    with at_work(subject, world):
        world.until(delivered=4)
    assert [key for key, _ in room.sent] == [event.dedup_key for event in events]


@pytest.mark.usefixtures("impatient")
def test_a_try_that_reached_nobody_does_not_count_against_the_rate(outbox_engine: Engine, failure: Failing) -> None:
    room = Room(*[Retry(Failure.UNREACHABLE, "connection refused", channel_down=True)] * 5)
    subject, world = working(outbox_engine, room, one_room("rate: {messages: 1, per: 1h}"))
    record(outbox_engine, *(failure(n) for n in range(2)))
    with at_work(subject, world):
        world.until(delivered=1, pending=1)
        wait_until(lambda: subject._lanes["room"]._held_until > time.monotonic(), "the channel to be held")
    assert len(room.sent) == 6


def test_a_rate_that_is_taken_out_of_the_file_holds_nothing_any_more(outbox_engine: Engine, failure: Failing) -> None:
    room = Room()
    subject, world = working(outbox_engine, room, one_room("rate: {messages: 1, per: 1h}"))
    record(outbox_engine, *(failure(n) for n in range(3)))
    with at_work(subject, world):
        lane = subject._lanes["room"]
        wait_until(lambda: lane._held_until > time.monotonic(), "the channel to be held")
        world.until(delivered=1, pending=2)
        subject.reconfigure([room], one_room())
        world.woken.set()
        world.until(delivered=3)


def test_who_says_when_to_come_back_is_asked_nothing_before(outbox_engine: Engine, failure: Failing) -> None:
    room = Room(Retry(Failure.BUSY, "error 429", after_seconds=1.0, channel_down=True))
    with running(outbox_engine, room) as world:
        world.record(*(failure(n, emails=()) for n in range(5)))
        world.until(delivered=5)
    assert room.sent[1][1] - room.sent[0][1] >= 1.0
    assert len(room.sent) == 6


@pytest.mark.usefixtures("impatient")
def test_a_service_that_answers_that_it_cannot_is_not_back(
    outbox_engine: Engine, failure: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    room = Watched(caplog, *[AWAY] * 3, *[Retry(Failure.BUSY, "error 503")] * 4)
    with running(outbox_engine, room) as world:
        world.record(*(failure(n, emails=()) for n in range(3)))
        world.until(delivered=3)
        wait_until(lambda: "receiver room is back" in caplog.text, "the end of the outage")
    assert room.said_back[:8] == [False] * 8


@pytest.mark.usefixtures("impatient")
def test_a_mail_server_that_refuses_one_address_for_now_is_back(
    outbox_engine: Engine, failure: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    full = Retry(Failure.BUSY, "no recipient was taken: 452 full", addressee=True)
    room = Watched(caplog, *[AWAY] * 3, full)
    with running(outbox_engine, room) as world:
        world.record(failure(1, emails=()))
        world.until(delivered=1)
    assert room.said_back == [False] * 4 + [True]


@pytest.mark.usefixtures("impatient")
def test_what_a_service_refuses_for_now_again_and_again_is_told_to_the_fallback(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, webhook_server: WebhookServer, tmp_path: Path
) -> None:
    webhook_server.answers.extend([Answer(503)] * 10_000)
    path = a_file(tmp_path / "alerting.yml", FALLS_BACK)
    environ = {"ROOM": f"json://127.0.0.1:{webhook_server.port}/"}
    with by_file(outbox_engine, path, smtp_server.port, environ) as (world, _):
        world.record(failure(1))
        smtp_server.wait_for(1, 60)
        webhook_server.answers.clear()
        world.until(delivered=2)
    assert world.meter.counts["alerts.follow_ups,reason=fallback"] == 1


class Endless(BaseHTTPRequestHandler):
    """Answers with more than anybody should read, until who asked has heard enough."""

    server: EndlessServer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(500)
        self.end_headers()
        try:
            for _ in range(100):
                self.wfile.write(MEGABYTE)
        except OSError:
            self.server.was_left.set()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


class EndlessServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Endless)
        self.was_left = threading.Event()


@pytest.fixture
def endless() -> Iterator[EndlessServer]:
    with EndlessServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(60)


def test_no_more_is_read_of_an_answer_than_it_takes_to_understand_it(endless: EndlessServer, message: Message) -> None:
    (room,) = receivers([f"json://127.0.0.1:{endless.server_port}/"])
    outcome = room.send(message)
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("error 500: xxx")
    assert len(outcome.reason) < MOST_READ_BYTES
    assert endless.was_left.wait(60)
