"""Microsoft Teams: an adaptive card, by a workflow's address.

Text stands in text runs of rich text blocks, which have no markup; a mention would need an entity that is never sent.
Format: https://adaptivecards.io/explorer (version 1.4); Teams takes at most 28 KB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from alerting.channels import Message, brief_facts, fitting
from alerting.channels.http import Post, json_post
from alerting.cleaning import shorten, shorten_lines

ADDRESS: Final = "https://{host}/workflows/{workflow}/triggers/manual/paths/invoke"
TITLE_LIMIT: Final = 300
TEXT_LIMIT: Final = 3_000
ERROR_LIMIT: Final = 1_500
FACT_LIMIT: Final = 300
MOST_FACTS: Final = 12
MOST_ACTIONS: Final = 6
MOST_LINES: Final = 40
LOG_LINES: Final = 12
_SCHEMA: Final = "http://adaptivecards.io/schemas/adaptive-card.json"
_CARD: Final = "application/vnd.microsoft.card.adaptive"
_STYLES: Final = {"critical": "attention", "error": "attention", "warning": "warning", "info": "accent"}


def posts(plugin: Any, message: Message) -> Iterable[Post]:
    """To where the URL's parts lead, as Power Automate writes its addresses."""
    path = "/powerautomate/automations/direct" if plugin.power_automate else ""
    if path and plugin.routing_id:
        path += f"/cu/{plugin.routing_id}"
    port = f":{plugin.port}" if plugin.port else ""
    url = ADDRESS.format(host=f"{plugin.host}{port}{path}", workflow=plugin.workflow)
    params = {
        "api-version": str(plugin.api_version),
        "sp": "/triggers/manual/run",
        "sv": "1.0",
        "sig": str(plugin.signature),
    }
    yield json_post(url, payload(message), params=params)


def payload(message: Message) -> dict[str, Any]:
    """The card, in the envelope that workflows take."""
    title = {"type": "Container", "style": _style(message), "bleed": True, "items": [_title(message)]}
    actions = [
        {"type": "Action.OpenUrl", "title": shorten(link.label, 100), "url": link.url}
        for link in message.links
        if link.is_public
    ][:MOST_ACTIONS]
    card: dict[str, Any] = {
        "$schema": _SCHEMA,
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": shorten(message.title or message.subject, TITLE_LIMIT),
        "body": [title, *_body(message)],
        "msteams": {"width": "Full"},
    }
    if actions:
        card["actions"] = actions
    return {"type": "message", "attachments": [{"contentType": _CARD, "contentUrl": None, "content": card}]}


def _style(message: Message) -> str:
    return "good" if message.resolved else _STYLES[message.severity]


def _title(message: Message) -> dict[str, Any]:
    return _block(_run(shorten(message.title or message.subject, TITLE_LIMIT), weight="Bolder", size="Medium"))


def _body(message: Message) -> Iterator[dict[str, Any]]:
    if message.body:
        yield from map(_line, shorten(message.body, TEXT_LIMIT).splitlines())
    elif message.sections:
        yield from _wave(message)
    else:
        yield from _one(message)
    for link in message.links:
        if not link.is_public:
            yield _line(f"{link.label}: {link.url}")


def _one(message: Message) -> Iterator[dict[str, Any]]:
    yield from map(_line, (message.sentence or message.chat).splitlines())
    if message.error:
        yield from _code(shorten(message.error, ERROR_LIMIT).splitlines(), "attention")
    for fact in brief_facts(message.facts)[:MOST_FACTS]:
        yield _named(fact.label, shorten(fact.value, FACT_LIMIT))
    for listing in message.listings:
        yield _named(listing.title, str(listing))
    if message.log:
        yield from _code(shorten_lines(list(message.log[-LOG_LINES:]), TEXT_LIMIT - 500), "emphasis")


def _wave(message: Message) -> Iterator[dict[str, Any]]:
    for section in fitting(message.sections, MOST_LINES):
        yield _block(_run(shorten(section.title, FACT_LIMIT), weight="Bolder"), spacing="Medium")
        for line in section.lines:
            yield _block(_run(shorten(line, FACT_LIMIT)), spacing="None")
    yield _line(f"All: {message.reference}")


def _line(text: str) -> dict[str, Any]:
    return _block(_run(shorten(text, TEXT_LIMIT)), spacing="Small")


def _named(label: str, value: str) -> dict[str, Any]:
    return _block(_run(f"{label}: ", weight="Bolder"), _run(value), spacing="Small")


def _code(lines: list[str], style: str) -> Iterator[dict[str, Any]]:
    look = {"fontType": "Monospace", "size": "Small"}
    items = [_block(_run(_indented(line), **look), spacing="None") for line in lines if line.strip()]
    if items:
        yield {"type": "Container", "style": style, "spacing": "Medium", "items": items}


def _indented(line: str) -> str:
    """Spaces at the beginning of a line are not shown, but hard ones are."""
    bare = line.lstrip(" ")
    return "\u00a0" * (len(line) - len(bare)) + bare


def _run(text: str, **look: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": text or " ", **look}


def _block(*runs: dict[str, Any], **look: str) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs), **look}
