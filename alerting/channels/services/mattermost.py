"""Mattermost: one attachment, by an incoming webhook. Its Markdown is escaped, and an @ loses its power.

Format: https://developers.mattermost.com/integrate/reference/message-attachments
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from alerting.channels import Message, brief_facts, fitting
from alerting.channels.http import Post, json_post
from alerting.cleaning import defang, shorten, shorten_lines

TITLE_LIMIT: Final = 300
SENTENCE_LIMIT: Final = 1_000
ERROR_LIMIT: Final = 1_500
LOG_LIMIT: Final = 2_500
LOG_LINES: Final = 15
FACT_LIMIT: Final = 300
MOST_FIELDS: Final = 12
LINE_LIMIT: Final = 300
MOST_LINES: Final = 40
_MARKUP: Final = re.compile(r"([\\*_~`|<>\[\]()#+\-.!:@])")


def suits(plugin: Any) -> bool:
    """Not a bot, which must look up its channels."""
    return bool(plugin.mode == "webhook")


def posts(plugin: Any, message: Message) -> Iterable[Post]:
    """One request per channel, or one to the webhook's own."""
    port = f":{plugin.port}" if plugin.port else ""
    url = f"{plugin.schema}://{plugin.host}{port}{plugin.fullpath.rstrip('/')}/hooks/{plugin.token}"
    sender = {"username": plugin.user} if plugin.user else {}
    icon = {"icon_url": plugin.icon_url} if plugin.icon_url else {}
    for _kind, channel in plugin.targets or [(None, None)]:
        room = {"channel": channel} if channel else {}
        yield json_post(url, {**payload(message), **room, **sender, **icon})


def payload(message: Message) -> dict[str, Any]:
    """What is posted."""
    title = shorten(message.title or message.subject, TITLE_LIMIT)
    attachment: dict[str, Any] = {
        "fallback": defang(title),
        "color": f"#{message.tone}",
        "title": defang(escape(title)),
        "text": "\n".join(_described(message)),
        "footer": "Windsock",
    }
    public = [link.url for link in message.links if link.is_public]
    if public:
        attachment["title_link"] = public[0]
    fields = [] if message.body or message.sections else list(_fields(message))[:MOST_FIELDS]
    if fields:
        attachment["fields"] = fields
    return {"text": "", "attachments": [attachment], "props": {"disable_group_highlight": True}}


def escape(text: str) -> str:
    """Markdown's marks, each with a backslash."""
    return _MARKUP.sub(r"\\\1", text)


def _described(message: Message) -> Iterator[str]:
    if message.body:
        yield _words(message.body, ERROR_LIMIT)
    elif message.sections:
        yield from _wave(message)
    else:
        yield _words(message.sentence or message.chat, SENTENCE_LIMIT)
        if message.error:
            yield _fenced(shorten(message.error, ERROR_LIMIT))
        if message.log:
            yield _fenced("\n".join(shorten_lines(list(message.log[-LOG_LINES:]), LOG_LIMIT)))
    yield from _links(message)


def _wave(message: Message) -> Iterator[str]:
    for section in fitting(message.sections, MOST_LINES):
        yield f"**{_words(section.title, LINE_LIMIT)}**"
        yield from (f"- {_words(line, LINE_LIMIT)}" for line in section.lines)
    yield f"All: `{message.reference}`"


def _words(text: str, limit: int) -> str:
    return defang(escape(shorten(text, limit)))


def _links(message: Message) -> Iterator[str]:
    told = [
        f"[{escape(link.label)}](<{link.url}>)" if link.is_public else f"{escape(link.label)}: <{link.url}>"
        for link in message.links
    ]
    if told:
        yield " | ".join(told)


def _fenced(text: str) -> str:
    return f"\n```\n{defang(text)}\n```\n"


def _fields(message: Message) -> Iterator[dict[str, Any]]:
    for fact in brief_facts(message.facts):
        yield {"title": fact.label, "value": _words(fact.value, FACT_LIMIT), "short": True}
    for listing in message.listings:
        yield {"title": listing.title, "value": _words(str(listing), FACT_LIMIT), "short": False}
