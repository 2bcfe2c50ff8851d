"""URLs that name several rooms: each room is a channel, with deliveries of its own."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from alerting.alertmanager_config import Mail, mapped
from alerting.channels import Channel, Delivered, Message, Permanent, Retry
from alerting.channels.chat import plugin_of, receivers
from alerting.config import ConfigError, read
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.meters import NoMeter
from alerting.reload import Watch
from alerting.routing import Routing
from alerting.standalone import send_to_url
from tests.servers.webhook import Answer, WebhookServer

BOT = "tgram://123456789:abcdefg_hijklmnop"
SLACK = f"slack://{'T' * 9}/{'B' * 9}/{'c' * 24}"
TWO_ROOMS = f"""
channels: {{ops: "{BOT}/111/222", pager: "json://127.0.0.1/x"}}
receivers: {{team: {{channels: [pager, ops]}}}}
route: {{receiver: team}}
"""


def routing_of(text: str) -> Routing:
    return read(text, Path("alerting.yml"), {})


@pytest.fixture
def telegram(webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch) -> WebhookServer:
    plugin: Any = type(plugin_of(f"{BOT}/111"))
    monkeypatch.setattr(plugin, "notify_url", f"{webhook_server.url}/bot")
    monkeypatch.setattr(plugin, "request_rate_per_sec", 0)
    return webhook_server


def rooms_told(server: WebhookServer) -> list[int]:
    return [request.json()["chat_id"] for request in server.requests]


def test_a_room_that_is_gone_keeps_nothing_from_the_others(telegram: WebhookServer, message: Message) -> None:
    telegram.answers.append(Answer(403))
    gone, other = receivers([f"{BOT}/111/222"])
    assert isinstance(gone.send(message), Permanent)
    assert other.send(message) == Delivered()
    assert rooms_told(telegram) == [111, 222]


def test_a_busy_room_is_tried_again_and_the_others_hear_it_once(telegram: WebhookServer, message: Message) -> None:
    telegram.answers.extend([Answer(), Answer(429)])
    first, busy = receivers([f"{BOT}/111/222"])
    assert first.send(message) == Delivered()
    assert isinstance(busy.send(message), Retry)
    assert busy.send(message) == Delivered()
    assert rooms_told(telegram) == [111, 222, 222]


def names(urls: list[str]) -> list[str]:
    return [re.sub("-[0-9a-f]{6}", "", channel.name) for channel in receivers(urls)]


def test_the_first_room_has_the_name_that_the_url_had() -> None:
    assert names([f"{BOT}/111/222/333", "json://127.0.0.1/x"]) == ["tgram", "tgram-2", "tgram-3", "json"]
    assert names([f"{SLACK}/#a/#b"]) == ["slack", "slack-2"]
    assert names([f"{SLACK}/#a", f"{BOT}/111/222"]) == ["slack", "tgram", "tgram-2"]


def test_services_that_apprise_sends_to_are_told_room_by_room_too() -> None:
    assert names(["matrix://token@127.0.0.1/!one:example.org/!two:example.org"]) == ["matrix", "matrix-2"]


def test_what_one_request_tells_to_all_is_one_channel() -> None:
    assert names(["pover://uuuuuuuuuuuuuuuuuuuuuuuuuuuuuu@tttttttttttttttttttttttttttttt/phone/tablet"]) == ["pover"]


def test_a_receiver_of_the_file_tells_every_room_of_its_channel() -> None:
    routing = routing_of(TWO_ROOMS)
    assert [channel.name for channel in routing.channels] == ["ops", "ops-2", "pager"]
    assert routing.receivers["team"].channels == ("pager", "ops", "ops-2")


def test_the_notifier_has_a_channel_for_every_room(tmp_path: Path, telegram: WebhookServer, message: Message) -> None:
    path = tmp_path / "alerting.yml"
    path.write_text(TWO_ROOMS)
    found: dict[str, Channel] = {channel.name: channel for channel in Watch(path, {}, NoMeter()).channels}
    assert found["ops-2"].send(message) == found["ops"].send(message) == Delivered()
    assert rooms_told(telegram) == [222, 111]


@pytest.mark.parametrize("taken", ["ops-2", "o" * 62])
def test_a_room_whose_name_cannot_be_had_is_complained_of(taken: str) -> None:
    name = "ops" if taken == "ops-2" else taken
    other = f'{taken}: "json://127.0.0.1/x"' if taken == "ops-2" else 'pager: "json://127.0.0.1/x"'
    text = f'channels:\n  {name}: "{BOT}/111/222"\n  {other}\nroute: {{receiver: settings}}\n'
    with pytest.raises(ConfigError) as raised:
        routing_of(text)
    assert f"line 2: channels.{name}: a room of its URL is the channel {name}-2" in str(raised.value)


def test_a_callback_with_a_url_tells_every_room_and_then_says_which_one_was_not(telegram: WebhookServer) -> None:
    telegram.answers.append(Answer(403))
    with pytest.raises(AlertingError, match=r"^tgram://… was not told: error 403"):
        send_to_url(f"{BOT}/111/222", AlertEvent(kind=EventKind.TEST, occurred_at=datetime.now(UTC)))
    assert rooms_told(telegram) == [111, 222]


def test_an_alertmanager_is_told_of_every_room() -> None:
    routing = routing_of(TWO_ROOMS.replace("pager, ops", "ops"))
    (team,) = [each for each in mapped(routing, Mail()).document["receivers"] if each["name"] == "team"]
    assert [each["chat_id"] for each in team["telegram_configs"]] == [111, 222]
