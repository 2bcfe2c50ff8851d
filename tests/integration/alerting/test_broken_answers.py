"""What an answer means of which only the beginning came: the status is known, and what it says holds."""

from __future__ import annotations

import pytest

from alerting.channels import Delivered, Failure, Message, Outcome, Permanent, Retry
from alerting.channels.chat import named_channel
from tests.integration.alerting.services import channel_to
from tests.servers.webhook import Answer, WebhookServer

HALF = {"Content-Length": "100", "Content-Type": "application/json"}


def answered_a_webhook(server: WebhookServer, message: Message, status: int) -> Outcome:
    server.answers.append(Answer(status, HALF, b"no such room"))
    outcome = named_channel("room", f"json://127.0.0.1:{server.port}/").send(message)
    assert len(server.requests) == 1
    return outcome


def test_what_was_accepted_is_not_sent_again_because_the_rest_of_the_answer_is_missing(
    webhook_server: WebhookServer, message: Message
) -> None:
    assert answered_a_webhook(webhook_server, message, 200) == Delivered()


def test_what_was_refused_is_refused_with_as_much_of_the_reason_as_came(
    webhook_server: WebhookServer, message: Message
) -> None:
    outcome = answered_a_webhook(webhook_server, message, 400)
    assert outcome == Permanent(Failure.REJECTED, "error 400: no such room")


def test_who_says_in_the_answer_alone_whether_it_took_the_message_is_asked_again(
    webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch, message: Message
) -> None:
    channel_to("slack", webhook_server, monkeypatch)
    bot = named_channel("bot", "slack://xoxb-1234-1234-abc124/#alerts")
    webhook_server.answers.append(Answer(200, HALF, b'{"ok": false, "err'))
    outcome = bot.send(message)
    assert outcome == Retry(Failure.TIMEOUT, "the answer 200 broke off before it said more", channel_down=True)
