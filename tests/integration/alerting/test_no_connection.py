"""A service that answers no attempt to connect, as behind a firewall that drops packets, has had no message."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from alerting.channels import Channel, Failure, Message, Retry
from alerting.channels.chat import named_channel
from alerting.channels.email import Email, SmtpConfig


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Nobody takes the one connection that may wait here, and the attempts of others are not answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port: int = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            yield port


def webhook(port: int) -> Channel:
    return named_channel("room", f"json://127.0.0.1:{port}/?cto=0.2")


def mail(port: int) -> Channel:
    return Email(SmtpConfig(host="127.0.0.1", port=port, mail_from="alerts@example.org", timeout=0.2))


def encrypted_mail(port: int) -> Channel:
    return Email(SmtpConfig(host="127.0.0.1", port=port, mail_from="alerts@example.org", ssl=True, timeout=0.2))


@pytest.mark.parametrize("channel", [webhook, mail, encrypted_mail])
def test_a_service_to_which_there_is_no_connection_is_not_reached(
    channel: Callable[[int], Channel], deaf_port: int, message: Message
) -> None:
    outcome = channel(deaf_port).send(message)
    assert isinstance(outcome, Retry)
    assert (outcome.failure, outcome.channel_down) == (Failure.UNREACHABLE, True)
    assert "no connection in " in outcome.reason


def test_a_mail_server_that_does_not_agree_on_encryption_is_not_reached(message: Message) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outcome = encrypted_mail(silent.getsockname()[1]).send(message)
    assert isinstance(outcome, Retry)
    assert (outcome.failure, outcome.channel_down) == (Failure.UNREACHABLE, True)
