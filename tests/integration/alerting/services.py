"""Every chat service at an address of our own: what is sent to it arrives at a local server."""

from __future__ import annotations

from typing import Any

import pytest

from alerting.channels import Channel, chat
from alerting.channels.chat import named_channel
from alerting.channels.services import pagerduty, teams
from tests.servers.webhook import Answer, WebhookServer

KEY = "0123456789abcdef0123456789abcdef"
URLS = {
    "slack": f"slack://{'T' * 9}/{'B' * 9}/{'c' * 24}/#alerts",
    "teams": f"workflow://127.0.0.1:{{port}}/{'a' * 32}/{'B' * 40}",
    "discord": f"discord://{'1' * 18}/{'t' * 68}",
    "telegram": "tgram://123456789:abcdefg_hijklmnop/-1001234",
    "mattermost": f"mmost://127.0.0.1:{{port}}/{'a' * 26}?channel=alerts",
    "pagerduty": f"pagerduty://{KEY}@{'a' * 20}",
    "matrix": "matrix://token@127.0.0.1:{port}/!room:example.org",
    "webhook": "json://127.0.0.1:{port}/hooks",
}
SERVICES = tuple(URLS)


def channel_to(service: str, server: WebhookServer, patch: pytest.MonkeyPatch) -> Channel:
    """The channel of a URL as somebody would write it, its service being the local server."""
    url = URLS[service].format(port=server.port)
    patch.setattr(chat, "PACES", {})
    channel = named_channel(service, url)
    plugin: Any = channel._plugin  # type: ignore[attr-defined]
    match service:
        case "slack":
            patch.setattr(type(plugin), "webhook_url", server.url)
            patch.setattr(type(plugin), "api_url", f"{server.url}/api/{{}}")
        case "teams":
            patch.setattr(teams, "ADDRESS", teams.ADDRESS.replace("https://", "http://"))
        case "discord":
            patch.setattr(type(plugin), "notify_url", f"{server.url}/webhooks")
        case "telegram":
            patch.setattr(type(plugin), "notify_url", f"{server.url}/bot")
        case "pagerduty":
            patch.setattr(pagerduty, "ADDRESSES", {"us": f"{server.url}/v2/enqueue"})
        case "matrix":
            server.answers.extend([Answer(body=b'{"user_id": "@w:example.org", "room_id": "!room:example.org"}')] * 8)
    # The services ask for seconds between two messages, which only a real one needs.
    patch.setattr(type(plugin), "request_rate_per_sec", 0)
    return channel


def payloads(service: str, server: WebhookServer) -> list[Any]:
    """What arrived; of Matrix the messages only, not the steps before them."""
    kept = [request for request in server.requests if service != "matrix" or "m.room.message" in request.path]
    return [request.json() for request in kept]
