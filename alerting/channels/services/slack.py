"""Slack: Block Kit, by an incoming webhook or a bot's token.

All text stands in rich text blocks, where Slack takes it literally: it can neither mention anybody nor format. The one
exception is the line above the blocks, which also is what a phone shows; there Slack's three characters are escaped
and formatting is off. Limits: https://docs.slack.dev/reference/block-kit
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from alerting.channels import Failure, Link, Message, Outcome, Permanent, Retry, brief_facts, fitting
from alerting.channels.http import Answer, Post, json_post
from alerting.cleaning import defang, shorten, shorten_lines

TEXT_LIMIT: Final = 3_000
TITLE_LIMIT: Final = 300
ERROR_LIMIT: Final = 1_500
LOG_LINES: Final = 12
MOST_BUTTONS: Final = 5
MOST_FACTS: Final = 12
FACT_LIMIT: Final = 300
BUTTON_LIMIT: Final = 75
MOST_LINES: Final = 40
_LATER: Final = {"ratelimited", "rate_limited", "service_unavailable", "internal_error", "fatal_error"}
_ACCESS: Final = {"invalid_auth", "account_inactive", "token_revoked", "token_expired", "not_authed", "no_permission"}


def suits(plugin: Any) -> bool:
    """Not where a workflow takes the text only, nor where a person must be looked up by mail address."""
    return plugin.mode in ("hook", "gov-hook", "bot") and not any("@" in (to or "")[1:] for to in plugin.channels)


def posts(plugin: Any, message: Message) -> Iterable[Post]:
    """One request per channel."""
    for channel in plugin.channels or [None]:
        yield _post(plugin, {**payload(message), **_room(channel), **_sender(plugin)})


def _post(plugin: Any, body: dict[str, Any]) -> Post:
    if plugin.mode == "bot":
        headers = {"Authorization": f"Bearer {plugin.access_token}"}
        return json_post(plugin.api_url.format("chat.postMessage"), body, headers, complaint=_complaint)
    base = plugin.webhook_gov_url if plugin.mode == "gov-hook" else plugin.webhook_url
    return json_post(f"{base}/{plugin.token_a}/{plugin.token_b}/{plugin.token_c}", body)


def _sender(plugin: Any) -> dict[str, str]:
    return {"username": plugin.user} if plugin.user else {}


def _room(channel: str | None) -> dict[str, str]:
    """As the URL names it: ``#room``, ``@person``, ``+ID``, each perhaps with ``:thread``."""
    if not channel:
        return {}
    name, _, thread = channel.partition(":")
    told = name[1:] if name[0] == "+" else name if name[0] in "#@" else f"#{name}"
    return {"channel": told} | ({"thread_ts": thread} if thread else {})


def _complaint(answer: Answer) -> Outcome | None:
    """The web API answers 200 in any case."""
    told = answer.json()
    if not isinstance(told, dict) or told.get("ok", True):
        return None
    reason = shorten(str(told.get("error")), 100)
    if reason in _LATER:
        return Retry(Failure.BUSY, f"Slack says {reason}", channel_down=True)
    if reason in _ACCESS:
        return Permanent(Failure.AUTH, f"Slack says {reason}; correct the token in the URL")
    return Permanent(Failure.REJECTED, f"Slack says {reason}")


def payload(message: Message) -> dict[str, Any]:
    """What is posted."""
    return {
        "text": escape(shorten(defang(message.title or message.subject), TITLE_LIMIT)),
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "attachments": [{"color": f"#{message.tone}", "blocks": list(_blocks(message))}],
    }


def escape(text: str) -> str:
    """Slack's three characters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _blocks(message: Message) -> Iterator[dict[str, Any]]:
    elements = list(_said(message))
    if elements:
        yield {"type": "rich_text", "elements": elements}
    buttons = [_button(link) for link in message.links if link.is_public][:MOST_BUTTONS]
    if buttons:
        yield {"type": "actions", "elements": buttons}


def _said(message: Message) -> Iterator[dict[str, Any]]:
    if message.body:
        yield _section(_text(message.body))
    elif message.sections:
        yield from _wave(message)
    else:
        yield from _one(message)
    for link in message.links:
        if not link.is_public:
            yield _section(_text(f"{link.label}: {link.url}"))


def _one(message: Message) -> Iterator[dict[str, Any]]:
    yield _section(_text(message.sentence or message.chat))
    if message.error:
        yield _preformatted(shorten(message.error, ERROR_LIMIT))
    for fact in brief_facts(message.facts)[:MOST_FACTS]:
        yield _section(_bold(f"{fact.label}: "), _text(shorten(fact.value, FACT_LIMIT)))
    for listing in message.listings:
        yield _section(_bold(f"{listing.title}: "), _text(str(listing)))
    if message.log:
        lines = shorten_lines(list(message.log[-LOG_LINES:]), TEXT_LIMIT - 500)
        yield _preformatted("\n".join(lines))


def _wave(message: Message) -> Iterator[dict[str, Any]]:
    for section in fitting(message.sections, MOST_LINES):
        told = shorten("\n".join(shorten(line, FACT_LIMIT) for line in section.lines), TEXT_LIMIT // 2)
        yield _section(_bold(f"{shorten(section.title, FACT_LIMIT)}\n"), *([_text(told)] if told else []))
    yield _section(_text(f"All: {message.reference}"))


def _section(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rich_text_section", "elements": [*elements, _text("\n")]}


def _preformatted(text: str) -> dict[str, Any]:
    return {"type": "rich_text_preformatted", "elements": [_text(text)]}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": shorten(text, TEXT_LIMIT)}


def _bold(text: str) -> dict[str, Any]:
    return {**_text(text), "style": {"bold": True}}


def _button(link: Link) -> dict[str, Any]:
    label = {"type": "plain_text", "text": shorten(link.label, BUTTON_LIMIT), "emoji": False}
    return {"type": "button", "text": label, "url": link.url}
