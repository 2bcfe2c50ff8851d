"""What a task wrote is not ours: made harmless before it reaches a mail client, a terminal or a chat room."""

from __future__ import annotations

import re
from typing import Final

_ZERO_WIDTH_SPACE: Final = "\u200b"
# CSI, OSC (title, hyperlink) and the two-character escapes, as terminals understand them.
_ANSI: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_a-z])|\x9b[0-?]*[ -/]*[@-~]"
)
# C0 and C1 but tab and line feed; marks that reorder or hide text; lone surrogates.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
# @here, @everyone, @name; Slack's <!channel>, <@U1>, <#C1>, <https://…|text>; Markdown links and fences.
_CHAT_MARKUP: Final = re.compile(r"@(?=[\w&!])|<(?=[!@#&:]|\w+:)|\](?=\()|`(?=``)")


def clean(text: str) -> str:
    """Without terminal escapes and control characters; line ends are line feeds, carriage returns overwrite nothing."""
    text = _ANSI.sub("", text.replace("\r\n", "\n"))
    return _CONTROL.sub("", text.replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n"))


def storable(text: str) -> str:
    """Without what a database refuses: NUL, and the lone surrogates that stand in for bytes that are not UTF-8."""
    return text.encode("utf-8", "replace").decode().replace("\0", "�")


def one_line(text: str) -> str:
    """Clean and on one line: fit for a header or a title."""
    return " ".join(clean(text).split())


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters; an ellipsis says that some are missing."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def shorten_lines(lines: list[str], limit: int) -> list[str]:
    """The last lines that fit into ``limit`` characters: how a log ends matters most."""
    kept: list[str] = []
    for line in reversed(lines):
        limit -= len(line) + 1
        if limit < 0:
            break
        kept.append(line)
    return kept[::-1] if kept or not lines else [shorten(lines[-1], limit + len(lines[-1]) + 1)]


def defang(text: str) -> str:
    """For chat: cannot mention anybody, hide a link behind words or leave a code block, and reads the same."""
    return _CHAT_MARKUP.sub(lambda found: found.group() + _ZERO_WIDTH_SPACE, text)
