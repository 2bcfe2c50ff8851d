"""What the chat services show best, each in a format of its own: ``posts(plugin, message)`` makes the requests.

apprise reads the URL; its plugin knows the address, the tokens and the rooms. Where a URL asks for what is not built
here (a template of apprise's, a bot that must look up its channels), ``formats`` gives nothing and apprise sends.

Text of tasks goes where a service takes it literally, where there is such a place: Slack's rich text, the text runs of
an adaptive card. Elsewhere it is escaped by that service's rules, and mentions are switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from alerting.channels import Message
from alerting.channels.http import Post
from alerting.channels.services import discord, mattermost, pagerduty, slack, teams, telegram, webhook

if TYPE_CHECKING:
    from apprise import NotifyBase

Format: TypeAlias = Callable[[Any, Message], Iterable[Post]]


def _always(_plugin: Any) -> bool:
    return True


# For each scheme the format, and whether it suits what the URL asks for.
_FORMATS: Final[Mapping[str, tuple[Format, Callable[[Any], bool]]]] = {
    "slack": (slack.posts, slack.suits),
    "workflow": (teams.posts, _always),
    "workflows": (teams.posts, _always),
    "discord": (discord.posts, _always),
    "tgram": (telegram.posts, telegram.suits),
    "mmost": (mattermost.posts, mattermost.suits),
    "mmosts": (mattermost.posts, mattermost.suits),
    "pagerduty": (pagerduty.posts, pagerduty.suits),
}

# Seconds from one request to the next, where apprise's habit (5.5 s) is much slower than the service.
PACES: Final[Mapping[str, float]] = {"pagerduty": pagerduty.PACE_SECONDS}

# What each service gets of a message, but for what its URL adds.
PAYLOADS: Final[Mapping[str, Callable[[Message], dict[str, Any]]]] = {
    "slack": slack.payload,
    "teams": teams.payload,
    "discord": discord.payload,
    "telegram": telegram.payload,
    "mattermost": mattermost.payload,
    "pagerduty": pagerduty.payload,
    "json": webhook.payload,
}


def format_of(scheme: str, plugin: NotifyBase) -> Format | None:
    """How messages for this URL are made; None where apprise makes them."""
    if scheme not in _FORMATS or getattr(plugin, "template", None):
        return None
    posts, suits = _FORMATS[scheme]
    return posts if suits(plugin) else None
