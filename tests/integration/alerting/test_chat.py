"""The chat channel: apprise against a real HTTP receiver, and URLs that are wrong."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from alerting.channels import Channel, Delivered, Failure, Message, Permanent, Retry
from alerting.channels.chat import SETTING, Chat, _tags, check_url, receivers
from alerting.errors import ReceiverError
from alerting.kinds import Severity
from tests.servers.processes import free_port
from tests.servers.webhook import Answer, WebhookServer

SECRET = "s3cr3t-token"


def receiver(server: WebhookServer) -> Channel:
    return receivers([f"json://robot:hunter2pw@127.0.0.1:{server.port}/hooks/{SECRET}?+X-Team={SECRET}"])[0]


def test_a_message_arrives_with_its_key(webhook_server: WebhookServer, message: Message) -> None:
    assert receiver(webhook_server).send(replace(message, chat="töxt 💥")) == Delivered()
    (request,) = webhook_server.requests
    assert request.path == f"/hooks/{SECRET}"
    assert request.headers["idempotency-key"] == message.key
    assert request.headers["x-team"] == SECRET
    assert request.json()["title"] == message.subject
    assert request.json()["message"] == "töxt 💥"
    assert request.json()["type"] == "failure"


@pytest.mark.parametrize("scheme", ["json", "form"])
@pytest.mark.parametrize(
    ("severity", "resolved", "expected"),
    [
        ("critical", False, "failure"),
        ("error", False, "failure"),
        ("warning", False, "warning"),
        ("info", False, "info"),
        ("critical", True, "success"),
    ],
)
def test_a_notice_looks_as_severe_as_it_is(
    webhook_server: WebhookServer, message: Message, scheme: str, severity: Severity, resolved: bool, expected: str
) -> None:
    """A format of ours, and one of apprise's own."""
    told = replace(message, failed=False, severity=severity, resolved=resolved)
    assert receivers([f"{scheme}://127.0.0.1:{webhook_server.port}/x"])[0].send(told) == Delivered()
    (request,) = webhook_server.requests
    assert (request.json()["type"] if scheme == "json" else parse_qs(request.body.decode())["type"][0]) == expected


@pytest.mark.parametrize("scheme", ["xml", "form"])
def test_other_webhooks_carry_the_key_too(webhook_server: WebhookServer, message: Message, scheme: str) -> None:
    assert receivers([f"{scheme}://127.0.0.1:{webhook_server.port}/x"])[0].send(message) == Delivered()
    assert webhook_server.requests[0].headers["idempotency-key"] == message.key


@pytest.mark.parametrize(
    ("status", "expected", "down"),
    [(500, Retry, False), (503, Retry, False), (429, Retry, True), (408, Retry, False)]
    + [(status, Permanent, None) for status in (400, 401, 403, 404, 410, 413)],
)
def test_the_status_decides_whether_to_retry(
    webhook_server: WebhookServer, message: Message, status: int, expected: type, down: bool | None
) -> None:
    webhook_server.answers.append(Answer(status))
    outcome = receiver(webhook_server).send(message)
    assert isinstance(outcome, expected)
    assert getattr(outcome, "channel_down", None) is down
    assert str(status) in outcome.reason  # type: ignore[attr-defined]


def test_nobody_listening_takes_the_channel_down(message: Message) -> None:
    outcome = receivers([f"json://127.0.0.1:{free_port()}/x"])[0].send(message)
    assert isinstance(outcome, Retry)
    assert (outcome.failure, outcome.channel_down) == (Failure.UNREACHABLE, True)


@pytest.mark.parametrize("answer", [Answer(500, body=SECRET.encode()), Answer(404), None])
def test_secrets_are_neither_in_reasons_nor_in_the_log(
    webhook_server: WebhookServer, message: Message, answer: Answer | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    channel = receiver(webhook_server)
    if answer is None:
        webhook_server.stop()
    else:
        webhook_server.answers.append(answer)
    outcome = channel.send(message)
    assert isinstance(outcome, (Retry, Permanent))
    for secret in (SECRET, "hunter2pw", "robot"):
        assert secret not in outcome.reason
        assert secret not in caplog.text


URLS = ["json://a.example/x", f"slack://{'T' * 9}/{'B' * 9}/{'c' * 24}", f"jsons://b.example/{SECRET}"]


def test_receivers_are_named_after_scheme_and_a_hash_and_show_nothing_else_of_their_url() -> None:
    names = [channel.name for channel in receivers(URLS)]
    assert [re.sub("-[0-9a-f]{6}$", "", name) for name in names] == ["json", "slack", "jsons"]


def test_a_receiver_keeps_its_name_when_others_come_go_or_move() -> None:
    names = dict(zip(URLS, (channel.name for channel in receivers(URLS)), strict=True))
    for urls in (URLS[::-1], URLS[1:], [f" {URLS[2]}", URLS[0], "json://new.example/"]):
        found = [channel.name for channel in receivers(urls)]
        assert [found[urls.index(url)] for url in urls if url in names] == [names[url] for url in urls if url in names]
    assert len({channel.name for channel in receivers(["json://a.example/x", "json://a.example/y"])}) == 2


def test_a_url_given_twice_is_one_receiver_and_two_never_share_a_name() -> None:
    assert len(receivers([URLS[0], URLS[0]])) == 1
    many = [f"json://h/{number}" for number in range(10_000)]  # enough for two hashes to begin alike
    assert len(set(_tags(many).values())) == len(many)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"slak://{SECRET}/B1/c", "receiver 2 has the unknown scheme slak://, did you mean slack://?"),
        (f"jsom://{SECRET}", "did you mean json"),
        (f"qqqqqqq://{SECRET}", "see `apprise --details`"),
        (f"{SECRET}", "has no scheme"),
        (f"https://{SECRET}/x", "for a webhook write jsons://"),
        (f"slack://{SECRET}", "a part of its slack:// URL is missing or wrong; see https://"),
        ("json://", "a part of its json:// URL is missing or wrong"),
        ("", "has no scheme"),
    ],
)
def test_a_wrong_url_is_told_in_one_sentence_without_its_secrets(
    url: str, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    with pytest.raises(ReceiverError) as raised:
        check_url(url, f"{SETTING}: receiver 2")
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value) + caplog.text


def test_a_right_url_is_not_complained_about() -> None:
    check_url(f"slack://{'T' * 9}/{'B' * 9}/{'c' * 24}/#alerts", "it")
    check_url("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "it")


def test_a_receiver_with_a_wrong_url_buries_with_the_reason_and_leaves_the_others_alone(
    webhook_server: WebhookServer, message: Message, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = receivers([f"json://127.0.0.1:{webhook_server.port}/x", f"slak://{SECRET}"])
    assert good.send(message) == Delivered()
    outcome = bad.send(message)
    assert bad.name.startswith("slak-")
    assert isinstance(outcome, Permanent)
    assert "did you mean slack://?" in outcome.reason
    assert "did you mean slack://?" in caplog.text


def test_apprise_keeps_its_log_to_itself() -> None:
    receivers(["json://127.0.0.1/x"])
    assert not logging.getLogger("apprise").propagate


def test_a_slow_receiver_is_waited_for_and_an_url_may_say_how_long() -> None:
    def read_timeout(url: str) -> float:
        (receiver,) = receivers([url])
        assert isinstance(receiver, Chat)
        return float(receiver._plugin.socket_read_timeout)

    assert read_timeout("json://localhost:1/") == 20
    assert read_timeout("json://localhost:1/?rto=7") == 7
