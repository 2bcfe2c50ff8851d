"""Discord: one embed, by a webhook. Mentions are switched off (allowed_mentions), and Markdown is escaped.

Limits: https://discord.com/developers/docs/resources/message#embed-object-embed-limits
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from alerting.channels import Message, brief_facts
from alerting.channels.http import Post, json_post
from alerting.cleaning import defang, shorten, shorten_lines

TITLE_LIMIT: Final = 256
DESCRIPTION_LIMIT: Final = 4_096
FIELD_LIMIT: Final = 1_024
MOST_FIELDS: Final = 12
WHOLE_LIMIT: Final = 6_000
SENTENCE_LIMIT: Final = 400  # escaped, a text may be three times as long
ERROR_LIMIT: Final = 600
LOG_LIMIT: Final = 800
LOG_LINES: Final = 10
FACT_LIMIT: Final = 150
LINE_LIMIT: Final = 200
WAVE_LIMIT: Final = 3_000
BODY_LIMIT: Final = 1_000
LINKS_LIMIT: Final = 800
_MARKUP: Final = re.compile(r"([\\*_~`|<>\[\]()#+\-.!:@])")


def posts(plugin: Any, message: Message) -> Iterable[Post]:
    """One request."""
    params = {"wait": "true"} | ({"thread_id": str(plugin.thread_id)} if plugin.thread_id else {})
    sender = {"username": plugin.user} if plugin.user else {}
    flags = {"flags": plugin.flags} if plugin.flags else {}
    url = f"{plugin.notify_url}/{plugin.webhook_id}/{plugin.webhook_token}"
    yield json_post(url, {**payload(message), **sender, **flags, "tts": bool(plugin.tts)}, params=params)


def payload(message: Message) -> dict[str, Any]:
    """What is posted."""
    embed: dict[str, Any] = {
        "title": shorten(defang(escape(shorten(message.title or message.subject, TITLE_LIMIT // 2))), TITLE_LIMIT),
        "description": shorten("\n".join(_described(message)), DESCRIPTION_LIMIT),
        "color": int(message.tone, 16),
        "timestamp": message.occurred_at.isoformat(),
        "footer": {"text": "Windsock"},
    }
    public = [link.url for link in message.links if link.is_public]
    if public:
        embed["url"] = public[0]
    fields = [] if message.body or message.sections else list(_fields(message))[:MOST_FIELDS]
    if fields:
        embed["fields"] = _fitting(fields, WHOLE_LIMIT - len(embed["title"]) - len(embed["description"]) - 20)
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def escape(text: str) -> str:
    """Discord's Markdown, each of its marks with a backslash."""
    return _MARKUP.sub(r"\\\1", text)


def _described(message: Message) -> Iterator[str]:
    if message.body:
        yield defang(escape(shorten(message.body, BODY_LIMIT)))
    elif message.sections:
        yield from _wave(message)
    else:
        yield defang(escape(shorten(message.sentence or message.chat, SENTENCE_LIMIT)))
        if message.error:
            yield _fenced(shorten(message.error, ERROR_LIMIT))
        if message.log:
            yield _fenced("\n".join(shorten_lines(list(message.log[-LOG_LINES:]), LOG_LIMIT)))
    yield from _links(message)


def _wave(message: Message) -> Iterator[str]:
    room = WAVE_LIMIT
    for section in message.sections:
        told = [f"**{_line(section.title)}**", *map(_line, section.lines)]
        for line in told:
            room -= len(line) + 1
            if room < 0:
                break
            yield line
        if room < 0:
            break
    yield f"All: {_line(message.reference)}"


def _line(text: str) -> str:
    return defang(escape(shorten(text, LINE_LIMIT)))


def _fitting(fields: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """As many of the first fields as there is room for."""
    kept: list[dict[str, Any]] = []
    for field in fields:
        room -= len(field["name"]) + len(field["value"])
        if room < 0:
            break
        kept.append(field)
    return kept


def _links(message: Message) -> Iterator[str]:
    """As many as there is room for, on one line."""
    kept: list[str] = []
    for link in message.links:
        told = f"[{escape(link.label)}](<{link.url}>)" if link.is_public else f"{escape(link.label)}: <{link.url}>"
        if len(" · ".join([*kept, told])) <= LINKS_LIMIT:
            kept.append(told)
    if kept:
        yield " · ".join(kept)


def _fenced(text: str) -> str:
    return f"```\n{defang(text)}\n```"


def _fields(message: Message) -> Iterator[dict[str, Any]]:
    facts = [(fact.label, shorten(fact.value, FACT_LIMIT), True) for fact in brief_facts(message.facts)]
    names = [(listing.title, shorten(str(listing), FIELD_LIMIT // 4), False) for listing in message.listings]
    for label, value, inline in (*facts, *names):
        name = defang(escape(shorten(label, 50)))
        yield {"name": name, "value": shorten(defang(escape(value)), FIELD_LIMIT), "inline": inline}
