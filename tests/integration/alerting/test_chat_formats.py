"""What each chat service gets, received by a real server and checked against the service's documented limits."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from alerting import samples
from alerting.channels import Delivered, Failure, Link, Message, Permanent, Retry, chat
from alerting.channels.chat import named_channel
from alerting.channels.services import pagerduty
from alerting.events import AlertEvent
from alerting.kinds import KINDS, EventKind
from alerting.render import Renderer
from tests.integration.alerting.schemas import problems
from tests.integration.alerting.services import SERVICES, URLS, channel_to, payloads
from tests.servers.webhook import Answer, WebhookServer

NOW = datetime(2026, 11, 23, 2, 14, 7, tzinfo=UTC)
TOO_LONG = Renderer(lambda *_: ["l" * 5_000] * 500, str, read_history=samples.history)
RENDERER = Renderer(
    samples.tail,
    str,
    find_links=lambda _: [
        Link("Run", "https://windsock.example.com/run"),
        Link("Board", "http://localhost:3000/d/windsock-dag?from=1&to=2"),
        Link("Runbook", "https://windsock.example.com/runbooks/X.md"),
    ],
)


def endless() -> AlertEvent:
    """As much as can be in one event."""
    return AlertEvent(
        kind=EventKind.SLA_MISSED,
        occurred_at=NOW,
        dag_id="d" * 250,
        run_id="r" * 250,
        task_id="t" * 250,
        error="*<_" * 9_000,
        summary="_[s](x)" * 3_000,
        url="https://windsock.example.com/" + "u" * 4_000,
        hostname="@everyone" * 30,
        cause="`" * 500,
        log_path="x",
        missed=tuple(f"missed_{n}" + "m" * 240 for n in range(500)),
        blocking=tuple(f"blocking_{n}" + "@" * 240 for n in range(500)),
        labels=tuple((f"label_{n}" * 20, "&<>*" * 500) for n in range(300)),
        due_at=NOW,
    )


def messages() -> list[Message]:
    """Of every kind with everything and with nothing known, of several events, and far too long ones."""
    everything = [RENDERER.render(samples.event(kind)) for kind in EventKind]
    nothing = [RENDERER.render(AlertEvent(kind=kind, occurred_at=NOW)) for kind in EventKind]
    many = [samples.event(EventKind.TASK_FAILED)] * 40 + samples.wave()
    waves = [RENDERER.render_wave(events, (), "windsock alerts show 17") for events in (samples.wave(), many)]
    long_wave = TOO_LONG.render_wave([endless()] * 60, (), "windsock alerts show 17")
    return [*everything, *nothing, *waves, TOO_LONG.render(endless()), long_wave]


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_gets_what_it_takes_of_every_kind(
    service: str, webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = channel_to(service, webhook_server, monkeypatch)
    for message in messages():
        webhook_server.requests.clear()
        if service == "matrix":
            webhook_server.answers.extend([Answer(body=b'{"room_id": "!room:example.org"}')] * 8)
        assert channel.send(message) == Delivered()
        webhook_server.answers.clear()
        found = payloads(service, webhook_server)
        assert found
        for payload in found:
            assert problems(payload, service) == []
        whole = webhook_server.requests[-1].body
        assert len(whole) < {"teams": 28_000, "matrix": 65_536, "discord": 60_000}.get(service, 512_000)


@pytest.mark.parametrize("service", [service for service in SERVICES if service not in ("pagerduty",)])
def test_a_failure_says_what_where_why_and_what_is_blocked(
    service: str, webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel_to(service, webhook_server, monkeypatch).send(RENDERER.render(samples.event(EventKind.TASK_FAILED)))
    (told,) = payloads(service, webhook_server)
    read = re.sub(r"[\\\u200b]", "", str(told))
    for words in ("daily_report.load_orders", "Attempt 3 of 3", "PartitionMissing", "build_report", "publish"):
        assert words in read
    for link in ("https://windsock.example.com/dags/daily_report/runs/",):
        assert link in read


@pytest.mark.parametrize("service", ["slack", "teams", "discord", "mattermost"])
def test_what_is_over_is_green_and_trouble_is_red(
    service: str, webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = channel_to(service, webhook_server, monkeypatch)
    shades = {"red": ("#b42318", "11805464", "attention"), "green": ("#067647", "423495", "good")}
    for kind, shade in ((EventKind.TASK_FAILED, "red"), (EventKind.TASK_RECOVERED, "green")):
        channel.send(RENDERER.render(samples.event(kind)))
        told = str(payloads(service, webhook_server)[-1])
        assert any(name in told for name in shades[shade])
        assert not any(f"'{name}'" in told for name in shades["green" if shade == "red" else "red"])


def test_slack_has_buttons_for_the_log_the_run_and_the_runbook_and_words_for_a_local_address(
    webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel_to("slack", webhook_server, monkeypatch).send(RENDERER.render(samples.event(EventKind.TASK_FAILED)))
    (told,) = payloads("slack", webhook_server)
    (actions,) = [block for block in told["attachments"][0]["blocks"] if block["type"] == "actions"]
    assert [button["text"]["text"] for button in actions["elements"]] == ["Open the log", "Run", "Runbook"]
    assert "Board: http://localhost:3000/d/windsock-dag?from=1&to=2" in str(told)


def test_slack_answers_200_also_when_it_refuses(
    webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch, message: Message
) -> None:
    channel_to("slack", webhook_server, monkeypatch)
    bot = named_channel("bot", "slack://xoxb-1234-1234-abc124/#alerts")
    for answer, expected in (
        (b'{"ok": false, "error": "ratelimited"}', Retry),
        (b'{"ok": false, "error": "invalid_auth"}', Permanent),
        (b'{"ok": false, "error": "invalid_blocks"}', Permanent),
        (b'{"ok": true}', Delivered),
    ):
        webhook_server.answers.append(Answer(body=answer))
        assert isinstance(bot.send(message), expected)
    assert webhook_server.requests[0].headers["authorization"] == "Bearer xoxb-1234-1234-abc124"
    assert problems(webhook_server.requests[0].json(), "slack") == []


def test_pagerduty_opens_one_incident_per_episode_and_resolves_it(
    webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = channel_to("pagerduty", webhook_server, monkeypatch)
    pairs = [(kind.ends, name) for name, kind in KINDS.items() if kind.ends]
    for trouble, end in pairs:
        webhook_server.requests.clear()
        for kind in (trouble, end):
            event = AlertEvent(kind=kind, occurred_at=NOW, dag_id="d", run_id="r", task_id="t", subject="s")
            channel.send(RENDERER.render(event))
        opened, closed = payloads("pagerduty", webhook_server)
        assert (opened["event_action"], closed["event_action"]) == ("trigger", "resolve")
        assert opened["dedup_key"] == closed["dedup_key"]
    assert len(pairs) == 6


def test_pagerduty_resolves_each_episode_that_a_digest_ends(
    webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [samples.event(kind) for kind in (EventKind.TASK_RECOVERED, EventKind.COMPONENT_UP, EventKind.DAG_LATE)]
    channel_to("pagerduty", webhook_server, monkeypatch).send(RENDERER.render_wave(events, (), "x"))
    told = payloads("pagerduty", webhook_server)
    assert [each["event_action"] for each in told] == ["trigger", "resolve", "resolve"]
    ended = {samples.event(kind).episode_key for kind in (EventKind.TASK_FAILED, EventKind.COMPONENT_DOWN)}
    assert {each["dedup_key"] for each in told[1:]} == ended


def many_ends(count: int) -> Message:
    events = [
        AlertEvent(kind=EventKind.TASK_RECOVERED, occurred_at=NOW, dag_id="d", run_id="r", task_id=f"task_{number}")
        for number in range(count)
    ]
    return RENDERER.render_wave(events, (), "x")


def test_what_pagerduty_has_taken_of_many_ends_is_not_sent_again(
    webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = channel_to("pagerduty", webhook_server, monkeypatch)
    message = many_ends(5)
    webhook_server.answers.extend([Answer(202), Answer(202), Answer(429), Answer(202), Answer(500)])
    assert isinstance(channel.send(message), Retry)
    assert isinstance(channel.send(message), Retry)
    assert channel.send(message) == Delivered()
    keys = [each["dedup_key"] for each in payloads("pagerduty", webhook_server)]
    assert keys == [*message.ended[:3], *message.ended[2:4], *message.ended[3:]]


def test_many_ends_for_pagerduty_leave_it_to_other_messages_in_between(
    webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = channel_to("pagerduty", webhook_server, monkeypatch)
    monkeypatch.setattr(chat, "SHARE_SECONDS", 0.0)
    message = many_ends(3)
    outcomes = [channel.send(message) for _ in range(2)]
    assert [type(outcome) for outcome in outcomes] == [Retry, Retry]
    assert not any(outcome.channel_down for outcome in outcomes if isinstance(outcome, Retry))
    assert channel.send(message) == Delivered()
    assert tuple(each["dedup_key"] for each in payloads("pagerduty", webhook_server)) == message.ended


def test_pagerduty_gets_requests_as_fast_as_it_takes_them() -> None:
    channel = named_channel("pager", URLS["pagerduty"])
    assert channel._plugin.request_rate_per_sec == pagerduty.PACE_SECONDS  # type: ignore[attr-defined]


def test_discord_keeps_within_its_limit_for_all_texts(
    webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = channel_to("discord", webhook_server, monkeypatch)
    for message in messages():
        channel.send(message)
        embed = payloads("discord", webhook_server)[-1]["embeds"][0]
        fields = [field[part] for field in embed.get("fields", []) for part in ("name", "value")]
        assert len(embed["title"]) + len(embed["description"]) + sum(map(len, fields)) + len("Windsock") <= 6_000


class Tags(HTMLParser):
    """Telegram's tags, each closed in the order of its opening."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in ("b", "pre", "code", "a")
        assert [name for name, _ in attrs] == (["href"] if tag == "a" else [])
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def well_formed(text: str) -> bool:
    parser = Tags()
    parser.feed(text)
    parser.close()
    return not parser.open


def test_telegram_gets_its_own_tags_only_and_each_is_closed(
    webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = channel_to("telegram", webhook_server, monkeypatch)
    for message in messages():
        channel.send(message)
    assert all(well_formed(each["text"]) for each in payloads("telegram", webhook_server))


@pytest.mark.parametrize("service", [service for service in SERVICES if service != "matrix"])
@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (Answer(429, {"Retry-After": "37"}), 37.0),
        (Answer(503, {"Retry-After": "12"}), 12.0),
        (Answer(429, body=b'{"retry_after": 2.5}'), 2.5),
        (Answer(429, body=b'{"ok": false, "parameters": {"retry_after": 9}}'), 9.0),
        (Answer(429, {"Retry-After": "Mon, 23 Nov 2009 02:14:07 GMT"}), 0.0),
        (Answer(429, {"Retry-After": "soon"}), None),
        (Answer(500), None),
    ],
    ids=["header", "503", "discord", "telegram", "past date", "no number", "nothing"],
)
def test_a_service_is_tried_again_when_it_says(
    service: str,
    answer: Answer,
    seconds: float | None,
    webhook_server: WebhookServer,
    monkeypatch: pytest.MonkeyPatch,
    message: Message,
) -> None:
    webhook_server.answers.append(answer)
    outcome = channel_to(service, webhook_server, monkeypatch).send(message)
    assert isinstance(outcome, Retry)
    assert outcome.failure is Failure.BUSY
    assert outcome.after_seconds == seconds
