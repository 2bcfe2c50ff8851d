"""The faults that delivery has to survive, each with the tests that show it, and those of them that had none.

The first part of a row is what goes wrong; the second names the tests, which a test of this module looks for.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from alerting import pace
from alerting.channels import Failure, Message, Permanent, Retry
from alerting.channels.chat import receivers
from alerting.events import AlertEvent
from tests.integration.alerting.running import running
from tests.servers.webhook import Answer, WebhookServer

Failing = Callable[..., AlertEvent]

TESTS = Path(__file__).parents[2]
KILL = "integration/alerting/test_kill.py"
DELIVER = "integration/alerting/test_deliver.py"
EMAIL = "integration/alerting/test_email.py"
CHAT = "integration/alerting/test_chat.py"
ROUTING = "integration/alerting/test_routing.py"
FOLLOW_UPS = "integration/alerting/test_follow_ups.py"
HERE = "integration/alerting/test_fault_matrix.py"
OUTBOX = "contract/alerting/test_outbox.py"
PROMISE = "integration/alerting/test_every_event_is_told.py"
PATIENCE = "integration/alerting/test_patience.py"
THROTTLE = "contract/alerting/test_throttle.py"

MATRIX: dict[str, tuple[tuple[str, str], ...]] = {
    "kill -9 before sending, after it, while confirming": (
        (KILL, "test_a_deliverer_killed_at_any_step_loses_nothing"),
    ),
    "kill -9 while a wave is formed": (
        (ROUTING, "test_a_deliverer_killed_while_it_forms_a_wave_loses_nothing_and_tells_once"),
    ),
    "kill -9 between a delivery and its escalation, and in it": (
        (FOLLOW_UPS, "test_a_deliverer_killed_before_or_in_an_escalation_loses_nothing_and_escalates_once"),
    ),
    "the database is away": ((DELIVER, "test_a_database_that_goes_away_while_sending_costs_no_duplicate"),),
    "SMTP accepts and stalls": (
        (EMAIL, "test_a_server_that_accepts_and_stalls_is_given_up_on_in_time"),
        (DELIVER, "test_a_mail_server_that_stalls_does_not_hold_up_chat"),
    ),
    "SMTP 4xx and 5xx": (
        (EMAIL, "test_the_servers_code_decides_whether_to_retry"),
        (EMAIL, "test_when_all_recipients_are_refused_their_codes_decide"),
    ),
    "429 with Retry-After": (
        (DELIVER, "test_a_receiver_that_asks_for_time_gets_it"),
        (PATIENCE, "test_who_says_when_to_come_back_is_asked_nothing_before"),
    ),
    "500 again and again": (
        (HERE, "test_a_webhook_that_fails_many_times_is_told_with_one_key_until_it_accepts"),
        (PATIENCE, "test_what_a_service_refuses_for_now_again_and_again_is_told_to_the_fallback"),
    ),
    "TLS": (
        (HERE, "test_a_webhook_whose_certificate_nobody_vouches_for_is_told_nothing_and_tried_again"),
        (EMAIL, "test_a_certificate_that_nobody_vouches_for_is_not_trusted"),
    ),
    "the name does not resolve": (
        (HERE, "test_a_webhook_whose_name_does_not_resolve_is_tried_again"),
        (EMAIL, "test_a_host_that_does_not_resolve_is_retried"),
    ),
    "an answer that never ends": (
        (HERE, "test_an_answer_that_drips_for_ever_holds_up_neither_the_message_nor_others"),
        (PATIENCE, "test_no_more_is_read_of_an_answer_than_it_takes_to_understand_it"),
    ),
    "a redirect into the own network": ((HERE, "test_a_redirect_is_not_followed"),),
    "the clock jumps": (
        (PROMISE, "test_every_event_ends_told_dead_or_suppressed_and_nothing_is_told_twice"),
        (THROTTLE, "test_a_clock_that_was_set_back_holds_a_channel_for_no_longer_than_a_window"),
    ),
    "several deliverers": (
        (DELIVER, "test_several_deliverers_at_once_tell_everything_once"),
        ("contract/alerting/test_deliverers.py", "test_everything_is_told_once_by_either"),
    ),
    "a burst of 10 000": (
        (ROUTING, "test_ten_thousand_failures_in_a_minute_are_a_handful_of_messages_that_name_them_all"),
    ),
    "a channel is deleted meanwhile": (
        (OUTBOX, "test_says_what_those_wait_for_whose_receiver_is_gone"),
        (OUTBOX, "test_buries_what_has_no_receiver_any_more_at_its_age"),
    ),
    "secrets in errors": ((CHAT, "test_secrets_are_neither_in_reasons_nor_in_the_log"),),
}


@pytest.mark.parametrize("fault", list(MATRIX))
def test_each_fault_has_its_tests(fault: str) -> None:
    for module, name in MATRIX[fault]:
        assert f"def {name}(" in (TESTS / module).read_text(encoding="utf-8"), f"{module}: {name}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off and probes in tenths of seconds instead of seconds."""
    monkeypatch.setattr(pace, "FIRST_SECONDS", 0.02)
    monkeypatch.setattr(pace, "LONGEST_SECONDS", 0.1)
    monkeypatch.setattr(pace, "LONGEST_PROBE_SECONDS", 0.1)


@pytest.mark.usefixtures("impatient")
def test_a_webhook_that_fails_many_times_is_told_with_one_key_until_it_accepts(
    outbox_engine: Engine, failure: Failing, webhook_server: WebhookServer
) -> None:
    webhook_server.answers.extend(Answer(500) for _ in range(8))
    told = failure(emails=())
    with running(outbox_engine, *receivers([f"json://127.0.0.1:{webhook_server.port}/"])) as world:
        world.record(told)
        world.until(delivered=1)
    keys = Counter(request.headers["idempotency-key"] for request in webhook_server.requests)
    assert keys == {told.dedup_key: 9}


def test_a_webhook_whose_name_does_not_resolve_is_tried_again(message: Message) -> None:
    outcome = receivers(["json://no-such-host.invalid/"])[0].send(message)
    assert isinstance(outcome, Retry)
    assert (outcome.failure, outcome.channel_down) == (Failure.UNREACHABLE, True)


def test_a_webhook_whose_certificate_nobody_vouches_for_is_told_nothing_and_tried_again(
    webhook_server: WebhookServer, message: Message
) -> None:
    outcome = receivers([f"jsons://127.0.0.1:{webhook_server.port}/"])[0].send(message)
    assert isinstance(outcome, Retry)
    assert outcome.channel_down
    assert webhook_server.requests == []


def test_a_redirect_is_not_followed(webhook_server: WebhookServer, message: Message) -> None:
    inner = WebhookServer()
    inner.start()
    try:
        webhook_server.answers.append(Answer(307, {"Location": f"{inner.url}/metadata"}))
        outcome = receivers([f"json://127.0.0.1:{webhook_server.port}/"])[0].send(message)
    finally:
        inner.stop()
    assert isinstance(outcome, Permanent)
    assert "307" in outcome.reason
    assert (len(webhook_server.requests), inner.requests) == (1, [])


@contextmanager
def dripping() -> Iterator[tuple[int, threading.Event]]:
    """Answers the first request with a header that never ends, a byte at a time, and the others as they should be."""
    over, dripped = threading.Event(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not over.wait(0.02):
                connection.sendall(b".")

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.recv(65_536)
                if not dripped.is_set():
                    dripped.set()
                    threads.append(threading.Thread(target=drip, args=(connection,)))
                    threads[-1].start()
                    continue
                with connection:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    threads = [threading.Thread(target=serve)]
    threads[0].start()
    try:
        yield listener.getsockname()[1], dripped
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(10)


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_drips_for_ever_holds_up_neither_the_message_nor_others(
    outbox_engine: Engine, failure: Failing, webhook_server: WebhookServer
) -> None:
    with dripping() as (port, dripped):
        channels = receivers([f"json://127.0.0.1:{port}/", f"json://127.0.0.1:{webhook_server.port}/"])
        options = {"lease_for": timedelta(seconds=3), "poll_seconds": 0.05}
        with running(outbox_engine, *channels, **options) as world:
            world.record(failure(1, emails=()))
            assert dripped.wait(60)
            webhook_server.wait_for(1, 60)
            world.until(delivered=2)
    assert world.meter.counts[f"alerts.possible_duplicates,channel={channels[0].name}"] == 1
