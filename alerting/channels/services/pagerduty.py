"""PagerDuty: Events API v2. An episode is one incident: what ends it resolves it, by the same dedup_key.

A message about several events opens one incident of its own, and resolves each incident that its events end. Sent
again, nothing is opened twice: the key is the same. Format: https://developer.pagerduty.com/docs/send-alert-event
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from alerting.channels import Message
from alerting.channels.http import Post, json_post
from alerting.cleaning import shorten, shorten_lines

PACE_SECONDS: Final = 0.5  # at most 120 events a minute for an integration key, said PagerDuty's support
SUMMARY_LIMIT: Final = 1_024
DETAIL_LIMIT: Final = 1_000
LOG_LIMIT: Final = 4_000
MOST_LINKS: Final = 8
MOST_LINES: Final = 100
ADDRESSES: Final = {
    "us": "https://events.pagerduty.com/v2/enqueue",
    "eu": "https://events.eu.pagerduty.com/v2/enqueue",
}


def suits(plugin: Any) -> bool:
    """Not where the URL decides itself what opens and what resolves."""
    return plugin.region_name in ADDRESSES and plugin.action in ("trigger", "map") and not plugin.dedup


def posts(plugin: Any, message: Message) -> Iterable[Post]:
    """One request for what is wrong, which is first, and one for each episode that is over."""
    key = plugin.integration_key
    url = ADDRESSES[plugin.region_name]
    if not message.resolved:
        yield json_post(url, {"routing_key": key, **payload(message), **_of_url(plugin, message)})
    for episode in message.ended:
        yield json_post(url, {"routing_key": key, "event_action": "resolve", "dedup_key": episode})


def _of_url(plugin: Any, message: Message) -> dict[str, Any]:
    """What the URL asks for in place of ours."""
    body = payload(message)["payload"]
    asked = {"severity": plugin.severity, "group": plugin.group, "class": plugin.class_id}
    return {"payload": {**body, **{name: value for name, value in asked.items() if value}}}


def payload(message: Message) -> dict[str, Any]:
    """An incident to open."""
    body: dict[str, Any] = {
        "summary": shorten(message.title or message.subject, SUMMARY_LIMIT),
        "source": str(message.about.get("hostname") or "windsock"),
        "severity": message.severity,
        "timestamp": message.occurred_at.isoformat(),
        "component": str(message.about.get("dag_id") or message.about.get("subject") or "windsock"),
        "class": message.kind or "several",
        "custom_details": _details(message),
    }
    links = [{"href": link.url, "text": link.label} for link in message.links if link.is_public][:MOST_LINKS]
    return {
        "event_action": "trigger",
        "dedup_key": message.episode or message.key,
        "client": "Windsock",
        **({"client_url": links[0]["href"]} if links else {}),
        "links": links,
        "payload": body,
    }


def _details(message: Message) -> dict[str, str]:
    if message.body:
        return {"message": shorten(message.body, LOG_LIMIT)}
    told = {"what": message.sentence or message.chat, "error": message.error}
    told |= {fact.label: fact.value for fact in message.facts}
    told |= {listing.title: str(listing) for listing in message.listings}
    told |= {section.title: "\n".join(section.lines) for section in message.sections[:MOST_LINES]}
    told |= {"log": "\n".join(shorten_lines(list(message.log), LOG_LIMIT)), "all": message.reference}
    told |= {link.label: link.url for link in message.links if not link.is_public}
    return {name: shorten(value, LOG_LIMIT if name == "log" else DETAIL_LIMIT) for name, value in told.items() if value}
