"""What a task writes stays text on every channel: it mentions nobody, adds no header and breaks no markup."""

from __future__ import annotations

import email
import html
import re
from datetime import UTC, datetime
from email import policy
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alerting.channels import Message
from alerting.channels.mime import compose
from alerting.channels.services import PAYLOADS
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.render import Renderer
from tests.integration.alerting.schemas import problems

HOSTILE = (
    "@channel",
    "@here",
    "@everyone",
    "<!channel>",
    "<!here|x>",
    "<@U024BE7LH>",
    "<@&1234>",
    "<#C024BE7LR>",
    "<https://evil.example|click>",
    "[click](https://evil.example)",
    "```",
    "``",
    "`",
    "</pre>",
    "<script>alert(1)</script>",
    "<a href='https://evil.example'>x</a>",
    "<at>Everyone</at>",
    '" onmouseover="x',
    "\r\nBcc: evil@example.org\r\n\r\n",
    "\r\n.\r\n",
    "&lt;!channel&gt;",
    "\\",
    "*",
    "_",
    "~",
    "||",
    "\u202e",
    "\u200b",
    "\ud800",
    "\x1b[31m",
    "\x00",
    "{{ 7 * 7 }}",
    "${jndi:x}",
    "@",
    "\n> ",
    "\n# ",
    "![x](https://evil.example/x.png)",
)
TEXTS = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=8), max_size=12).map("".join)
LINES = st.lists(TEXTS, max_size=6)
OURS = ("https://windsock.example.com/", "https://runbooks.example.com/")
NOW = datetime(2026, 11, 23, 2, 14, 7, tzinfo=UTC)
RENDERER = Renderer(lambda path, _: path.split("\n"), str)  # the path of a log here is its text
PINGS = re.compile(r"@(?=[A-Za-z0-9_&!])|<[!@#]")


@st.composite
def told(draw: st.DrawFn) -> Message:
    """One message with hostile text wherever text of a task, of a DAG file or of Prometheus can stand."""
    text = draw(TEXTS)
    lines = draw(LINES)
    changes: dict[str, Any] = {
        "kind": draw(st.sampled_from(sorted(EventKind))),
        "occurred_at": NOW,
        "dag_id": draw(TEXTS) or None,
        "run_id": draw(TEXTS) or None,
        "task_id": draw(TEXTS) or None,
        "error": draw(TEXTS),
        "summary": draw(TEXTS) or None,
        "subject": text or None,
        "hostname": text,
        "cause": text,
        "owner": text,
        "log_path": "\n".join(lines),
        "blocked": tuple(lines),
        "missed": (text, text),
        "labels": ((text, draw(TEXTS)), ("runbook_url", "https://runbooks.example.com/" + text)),
        "url": "https://windsock.example.com/dags/daily",
    }
    event = AlertEvent(**changes)
    recipients = ("alice@example.org",)
    if draw(st.booleans()):
        return RENDERER.render(event, recipients)
    return RENDERER.render_wave([event, event], recipients, "windsock alerts show 17")


CASES = settings(max_examples=50, deadline=None)


def strings(value: Any) -> list[str]:
    """Every text of a payload."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in strings(each)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("service", ["slack", "teams", "discord", "mattermost"])
@CASES
@given(message=told())
def test_what_is_sent_is_still_what_the_service_takes(service: str, message: Message) -> None:
    assert problems(PAYLOADS[service](message), service) == []


@CASES
@given(message=told())
def test_slack_shows_text_of_tasks_as_it_is_and_parses_none_of_it(message: Message) -> None:
    payload = PAYLOADS["slack"](message)
    assert not re.search("[<>]", payload["text"])
    assert not PINGS.search(html.unescape(payload["text"]))
    assert payload["mrkdwn"] is False
    # The schema allows nothing but plain runs of text in the blocks: there is no element that mentions or links.
    assert all(block["type"] in ("rich_text", "actions") for block in payload["attachments"][0]["blocks"])


@CASES
@given(message=told())
def test_discord_mentions_nobody_and_its_code_blocks_are_closed(message: Message) -> None:
    payload = PAYLOADS["discord"](message)
    assert payload["allowed_mentions"] == {"parse": []}
    (embed,) = payload["embeds"]
    outside = without_fences(embed["description"])
    outside = re.sub(r"\[(Open [a-zA-Z ]+|Run|Board|Runbook|Query)\]\(<https://[^>]*>\)", "", outside)  # ours
    for text in (outside, embed["title"], *strings(embed.get("fields", []))):
        assert not PINGS.search(text)
        bare = re.sub(r"\\.", "", text)
        assert not re.search(r"[_~`|<>\[\]]", bare.replace("**", "") if message.sections else bare)


@CASES
@given(message=told())
def test_mattermost_mentions_nobody_and_its_code_blocks_are_closed(message: Message) -> None:
    (attachment,) = PAYLOADS["mattermost"](message)["attachments"]
    text = re.sub(r"\[(Open [a-zA-Z ]+|Run|Board|Runbook|Query)\]\(<https://[^>]*>\)", "", attachment["text"])
    values = [field["value"] for field in attachment.get("fields", [])]
    for each in (text, attachment["title"], attachment["fallback"], *values):
        assert not PINGS.search(each)
    bare = re.sub(r"\\.", "", without_fences(text).replace("`windsock alerts show 17`", ""))
    assert not re.search(r"[_~`<>\[\]]", bare)


def without_fences(text: str) -> str:
    """The text without its code blocks; they must all be closed."""
    assert text.count("```") % 2 == 0
    return re.sub(r"```\n.*?\n```", "", text, flags=re.DOTALL)


class Telegram(HTMLParser):
    """Opens and closes in order, only what Telegram knows; keeps where links lead."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.links: list[str] = []
        self.read = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("b", "pre", "code", "a")
        self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]
        assert all(name == "href" for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.read += data


@CASES
@given(message=told())
def test_telegram_gets_only_our_tags_and_links(message: Message) -> None:
    text = PAYLOADS["telegram"](message)["text"]
    assert len(text.encode("utf-16-le")) // 2 <= 4_096
    parser = Telegram()
    parser.feed(text)
    parser.close()
    assert not parser.open
    assert all(
        link.startswith(("https://windsock.example.com/", "https://runbooks.example.com/")) for link in parser.links
    )
    assert not PINGS.search(parser.read)


@CASES
@given(message=told())
def test_plain_text_for_all_other_services_mentions_nobody_and_hides_no_link(message: Message) -> None:
    body = message.chat.removesuffix(message.url)
    assert not PINGS.search(body)
    assert "](" not in body
    assert "```" not in body


class Page(HTMLParser):
    """Only tags and attributes of our templates."""

    TAGS = re.compile("html|head|meta|title|style|body|div|table|tr|td|span|h1|p|strong|a|img")
    ATTRIBUTES = re.compile(
        "lang|charset|name|content|class|style|role|width|cellpadding|cellspacing|border|align|valign|href|src|alt"
    )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert self.TAGS.fullmatch(tag)
        for name, value in attrs:
            assert self.ATTRIBUTES.fullmatch(name)
            if name == "href":
                assert str(value).startswith(OURS)


@CASES
@given(message=told())
def test_a_mail_has_our_headers_and_tags_only(message: Message) -> None:
    sent = compose(message, message.recipients, "windsock@example.org")
    read = email.message_from_bytes(sent, policy=policy.default)
    assert sorted(read.keys()) == sorted(
        [
            *("From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References"),
            *("Auto-Submitted", "X-Windsock-Key", "MIME-Version", "Content-Type"),
        ]
    )
    assert read["To"] == "alice@example.org"
    page = Page()
    page.feed(message.html)
    page.close()
    assert "\x1b" not in message.html + message.text


@CASES
@given(text=TEXTS)
@example(text="<!channel> @here")
def test_a_title_is_one_line(text: str) -> None:
    event = AlertEvent(kind=EventKind.TASK_FAILED, occurred_at=NOW, dag_id=text or "d")
    message = RENDERER.render(event)
    assert len(message.subject.splitlines()) == len(message.title.splitlines()) == 1
