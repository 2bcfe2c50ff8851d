"""Telegram: HTML by a bot, whose four characters are escaped. A mention would need its own tag or an @.

Limits: https://core.telegram.org/bots/api#sendmessage. The text counts without its tags, and the limit is kept with
them, so that no tag is cut.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from typing import Any, Final

from alerting.channels import Link, Message, brief_facts
from alerting.channels.http import Post, json_post
from alerting.cleaning import defang, shorten, shorten_lines

LIMIT: Final = 4_096
ERROR_LIMIT: Final = 500
LOG_LIMIT: Final = 600
LOG_LINES: Final = 8
FACT_LIMIT: Final = 150
TITLE_LIMIT: Final = 200
BODY_LIMIT: Final = 800
LINKS_LIMIT: Final = 1_500


def suits(plugin: Any) -> bool:
    """Not where the bot must find out first whom it belongs to."""
    return bool(plugin.targets)


def posts(plugin: Any, message: Message) -> Iterable[Post]:
    """One request per chat."""
    url = f"{plugin.notify_url}{plugin.bot_token}/sendMessage"
    for chat, topic in plugin.targets:
        room = {"chat_id": chat} | ({"message_thread_id": topic} if topic else {})
        yield json_post(url, {**room, **payload(message), "disable_notification": bool(plugin.silent)})


def payload(message: Message) -> dict[str, Any]:
    """What is posted, but for the chat."""
    return {
        "text": "\n".join(_fitting(_lines(message))),
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
    }


def escape(text: str) -> str:
    """Telegram's characters, and no mentions."""
    return html.escape(defang(text), quote=True)


def _fitting(pieces: Iterable[str]) -> Iterator[str]:
    """As many whole pieces as fit: none is cut, so that every tag is closed."""
    room = LIMIT
    for piece in pieces:
        room -= len(piece.encode("utf-16-le")) // 2 + 1  # as Telegram counts
        if room < 0:
            return
        yield piece


def _lines(message: Message) -> Iterator[str]:
    yield f"<b>{escape(shorten(message.title or message.subject, TITLE_LIMIT))}</b>"
    yield from _links(message)
    if message.body:
        yield escape(shorten(message.body, BODY_LIMIT))
    elif message.sections:
        yield f"All: <code>{escape(message.reference)}</code>"
        yield from _wave(message)
    else:
        yield from _one(message)


def _one(message: Message) -> Iterator[str]:
    yield escape(shorten(message.sentence or message.chat, ERROR_LIMIT))
    if message.error:
        yield f"<pre>{escape(shorten(message.error, ERROR_LIMIT))}</pre>"
    for fact in brief_facts(message.facts):
        yield f"<b>{escape(shorten(fact.label, FACT_LIMIT))}:</b> {escape(shorten(fact.value, FACT_LIMIT))}"
    for listing in message.listings:
        yield f"<b>{escape(listing.title)}:</b> {escape(shorten(str(listing), FACT_LIMIT * 2))}"
    if message.log:
        yield f"<pre>{escape(chr(10).join(shorten_lines(list(message.log[-LOG_LINES:]), LOG_LIMIT)))}</pre>"


def _wave(message: Message) -> Iterator[str]:
    for section in message.sections:
        yield f"<b>{escape(shorten(section.title, FACT_LIMIT))}</b>"
        yield from (escape(shorten(line, FACT_LIMIT)) for line in section.lines)


def _links(message: Message) -> Iterator[str]:
    """On one line, those that there is room for."""
    told = " · ".join(_link(link) for link in message.links)
    if told and len(told) <= LINKS_LIMIT:
        yield told
    elif message.links:
        yield _link(message.links[0])


def _link(link: Link) -> str:
    """Telegram drops a link to a host such as localhost, and its address with it."""
    if link.is_public:
        return f'<a href="{html.escape(link.url, quote=True)}">{escape(link.label)}</a>'
    return f"{escape(link.label)}: {html.escape(link.url)}"
