"""Webhooks that are signed: a receiver can tell who sent a body, and when."""

from __future__ import annotations

import hashlib
import hmac
import time
from pathlib import Path

import pytest

from alerting.channels import Delivered, Message, Permanent
from alerting.channels.chat import check_url, named_channel, receivers
from alerting.config import ConfigError, read
from alerting.errors import ReceiverError
from alerting.meters import NoMeter
from alerting.reload import Watch
from tests.servers.webhook import Request, WebhookServer

SECRET = "0123456789-shared-secret"
FILE = """
channels:
  room: {{url: "json://127.0.0.1:{port}/hooks", hmac_secret: "env:ROOM_HMAC"}}
  plain: json://127.0.0.1:{port}/plain
receivers:
  all: {{channels: [room, plain]}}
route: {{receiver: all}}
"""


def verify(request: Request, secret: str = SECRET) -> bool:
    """As docs/alerting.md tells a receiver to do it."""
    parts = dict(part.split("=", 1) for part in request.headers["x-windsock-signature"].split(","))
    expected = hmac.new(secret.encode(), f"{parts['t']}.".encode() + request.body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"]) and abs(time.time() - int(parts["t"])) < 300


def test_a_channel_of_the_file_signs_with_the_secret_that_it_names(
    webhook_server: WebhookServer, message: Message
) -> None:
    routing = read(FILE.format(port=webhook_server.port), Path("alerting.yml"), {"ROOM_HMAC": SECRET})
    for each in routing.channels:
        assert named_channel(each.name, each.url, each.hmac_secret).send(message) == Delivered()
        assert SECRET not in repr(each)
    signed, plain = webhook_server.requests
    assert verify(signed)
    assert not verify(signed, "another secret")
    assert signed.headers["idempotency-key"] == message.key
    assert "x-windsock-signature" not in plain.headers


@pytest.mark.parametrize("how", [SECRET, "env:ROOM_HMAC"])
def test_a_url_of_the_settings_may_name_the_secret(
    how: str, webhook_server: WebhookServer, message: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOM_HMAC", SECRET)
    (channel,) = receivers([f"json://127.0.0.1:{webhook_server.port}/x?hmac={how}"])
    assert channel.send(message) == Delivered()
    assert verify(webhook_server.requests[0])
    assert SECRET not in webhook_server.requests[0].path


def test_the_secret_of_a_url_is_known_when_the_file_changes_though_the_variable_is_hidden_by_then(
    webhook_server: WebhookServer, message: Message, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROOM_HMAC", raising=False)
    path = tmp_path / "alerting.yml"
    path.write_text("route: {receiver: nobody}")
    watch = Watch(path, {"ROOM_HMAC": SECRET}, NoMeter())
    url = f"json://127.0.0.1:{webhook_server.port}/x?hmac=env:ROOM_HMAC"
    path.write_text(f"channels: {{room: '{url}'}}\nroute: {{receiver: nobody}}")
    assert watch.refresh(force=True)
    (channel,) = watch.channels
    assert channel.send(message) == Delivered()
    assert verify(webhook_server.requests[0])


def test_a_secret_that_is_not_there_is_told(message: Message) -> None:
    (channel,) = receivers(["json://127.0.0.1:1/x?hmac=env:NOSUCH_SECRET"])
    outcome = channel.send(message)
    assert isinstance(outcome, Permanent)
    assert "the environment variable NOSUCH_SECRET, which is not set" in outcome.reason


def test_only_webhooks_of_ones_own_can_be_signed() -> None:
    with pytest.raises(ReceiverError, match=r"cannot be signed: .* not slack://"):
        check_url(f"slack://{'T' * 9}/{'B' * 9}/{'c' * 24}", "it", signed=True)


@pytest.mark.parametrize(
    ("channel", "told"),
    [
        ("{hmac_secret: x}", "channels.room: it needs a url"),
        ("{url: 'json://h/x', hmac_secrt: x}", "unknown key, did you mean hmac_secret?"),
        ("{url: 'json://h/x', hmac_secret: 'env:NOSUCH'}", "the environment variable NOSUCH is not set"),
        ("{url: 'discord://h/x', hmac_secret: y}", "cannot be signed"),
        ("[json://h/x]", "must be a text"),
    ],
)
def test_what_is_wrong_with_a_channel_is_told_with_its_line(channel: str, told: str) -> None:
    text = f"channels:\n  room: {channel}\nreceivers:\n  all: {{channels: [room]}}\nroute: {{receiver: all}}\n"
    with pytest.raises(ConfigError) as raised:
        read(text, Path("alerting.yml"), {})
    assert any(told in line and "line 2" in line for line in raised.value.lines)
