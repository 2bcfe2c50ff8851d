from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from alerting import samples, words
from alerting.channels import Link, Message, Section, fitting
from alerting.events import AlertEvent
from alerting.kinds import KINDS, EventKind, Severity
from alerting.preview import FORMATS
from alerting.render import CHAT_ERROR_LIMIT, CHAT_LOG_LIMIT, Renderer

WHEN = datetime(2026, 11, 23, 2, 14, 7, tzinfo=UTC)
LOG = [f"line {n}" for n in range(100)]
FULL = AlertEvent(
    kind=EventKind.TASK_FAILED,
    occurred_at=WHEN,
    dag_id="daily_report",
    run_id="scheduled__2026-11-22T00:00:00+00:00",
    task_id="load_orders",
    map_index=3,
    try_number=2,
    max_tries=3,
    operator="PythonOperator",
    owner="data-platform",
    tags=("finance",),
    logical_date=datetime(2026, 11, 22, tzinfo=UTC),
    started_at=WHEN - timedelta(minutes=75),
    ended_at=WHEN,
    hostname="worker-2",
    cause="exception",
    exit_code=1,
    signal=9,
    error="PartitionMissing: no partition",
    log_path="dag_id=daily_report/attempt=2.log",
    url="http://localhost:8080/dags/daily_report",
    blocked=("build", "publish"),
)


def tail(_path: str, lines: int) -> list[str]:
    return LOG[-lines:]


def render(event: AlertEvent, read_tail: Callable[[str, int], list[str]] = tail, **changes: Any) -> Message:
    return Renderer(read_tail, changes.pop("redact", str), **changes).render(event)


def changed(**values: Any) -> AlertEvent:
    fields = {name: getattr(FULL, name) for name in AlertEvent.__struct_fields__}
    return AlertEvent(**fields | values)


def visible(page: str) -> str:
    body = page.partition("</head>")[2]
    return html.unescape(re.sub(r"<[^>]+>", " ", body))


@pytest.mark.parametrize(
    "fact",
    [
        "daily_report",
        "load_orders[3]",
        "scheduled__2026-11-22T00:00:00+00:00",
        "2 of 3",
        "exception, exit code 1, signal 9",
        "2026-11-23 00:59:07 UTC",
        "2026-11-23 02:14:07 UTC, after 1 h 15 min",
        "2026-11-22 00:00:00 UTC",
        "worker-2",
        "PartitionMissing: no partition",
        "build, publish",
        "line 99",
        "line 70",
        "dag_id=daily_report/attempt=2.log",
    ],
)
def test_the_mail_says_what_is_known_in_text_and_in_html(fact: str) -> None:
    message = render(FULL)
    assert fact in visible(message.html)
    if "attempt=2.log" not in fact:
        assert fact in message.text


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"cause": "exit", "exit_code": 3}, "exit code 3"),
        ({"cause": "signal", "signal": 9}, "signal 9"),
        ({"cause": "exit"}, "exit"),
        ({"cause": "timed_out", "signal": 15}, "timed out, signal 15"),
        ({"kind": EventKind.RUN_FAILED, "cause": "task_failures"}, None),
        ({"kind": EventKind.RUN_FAILED, "cause": "timed_out"}, "timed out"),
    ],
)
def test_how_it_ended_is_said_once_and_in_words(known: dict[str, Any], told: str | None) -> None:
    message = render(changed(**{"exit_code": None, "signal": None} | known))
    assert {fact.label: fact.value for fact in message.facts}.get("Ended how") == told


def test_the_log_is_cut_to_its_last_lines() -> None:
    message = render(FULL)
    assert "line 69" not in message.text
    assert "Last 30 log lines" in message.text


def test_the_link_leads_to_the_attempt() -> None:
    message = render(FULL)
    assert 'href="http://localhost:8080/dags/daily_report"' in message.html
    assert message.chat.endswith("\nhttp://localhost:8080/dags/daily_report")


@pytest.mark.parametrize("kind", EventKind)
@pytest.mark.parametrize("known", ["everything", "nothing"])
def test_every_kind_renders_with_everything_and_with_nothing_known(kind: EventKind, known: str) -> None:
    event = changed(kind=kind) if known == "everything" else AlertEvent(kind=kind, occurred_at=WHEN)
    message = render(event)
    assert message.subject
    assert message.chat
    for body in (message.text, visible(message.html), message.chat):
        assert "None" not in body


def test_a_test_alert_says_that_nothing_failed() -> None:
    message = render(AlertEvent(kind=EventKind.TEST, occurred_at=WHEN))
    assert message.subject == "Test alert: Windsock"
    assert "Nothing has failed" in message.text
    assert "Sent:         2026-11-23 02:14:07 UTC" in message.text
    assert not message.failed


def test_what_has_no_end_is_noticed_and_says_what_is_due_and_expected() -> None:
    due, expected = WHEN + timedelta(minutes=20), WHEN + timedelta(minutes=30)
    event = AlertEvent(
        kind=EventKind.SLA_AT_RISK, occurred_at=WHEN, dag_id="d", run_id="r", due_at=due, predicted_at=expected
    )
    text = Renderer(lambda *_: [], str).render(event).text
    assert "Ended" not in text
    for fact in ("2026-11-23 02:14:07 UTC", "2026-11-23 02:34:07 UTC", "2026-11-23 02:44:07 UTC"):
        assert fact in text
    assert [label for label in ("Noticed", "Due", "Expected") if label not in text] == []


def test_a_retry_says_when_it_starts() -> None:
    message = render(changed(kind=EventKind.TASK_RETRY, next_retry_at=WHEN + timedelta(minutes=5)))
    assert "Attempt 2 of 3 failed; the next one starts at 2026-11-23 02:19:07 UTC." in message.text


def test_the_subject_is_the_same_for_each_attempt_and_time() -> None:
    first = render(FULL)
    second = render(changed(try_number=3, occurred_at=WHEN + timedelta(hours=1)))
    assert first.subject == second.subject == "Failed: daily_report.load_orders[3] (2026-11-22 00:00 UTC)"
    assert first.key != second.key
    assert first.thread == second.thread


def test_the_subject_stays_short_and_keeps_its_date() -> None:
    subject = render(changed(dag_id="d" * 250, task_id="t" * 250)).subject
    assert len(subject) <= 180
    assert subject.endswith("… (2026-11-22 00:00 UTC)")


def test_text_of_a_task_cannot_become_markup() -> None:
    message = render(changed(error="<script>alert(1)</script>"), lambda *_: ["<img src=x onerror=y>"])
    assert "<script>" not in message.html
    assert "<img" not in message.html
    assert "<script>alert(1)</script>" in message.text


def test_template_syntax_of_a_task_is_only_text() -> None:
    message = render(changed(error="{{ 7 * 7 }} {% include 'x' %}"))
    assert "{{ 7 * 7 }} {% include 'x' %}" in message.text


def test_colours_and_control_characters_are_gone() -> None:
    message = render(changed(error="\x1b[31mred\x1b[0m\x00"), lambda *_: ["\x1b[2Kprogress\r100 %"])
    for body in (message.text, message.html, message.chat):
        assert "\x1b" not in body
        assert "\x00" not in body
    assert "red" in message.text
    assert "100 %" in message.text


def test_chat_cannot_be_made_to_ping_anybody() -> None:
    message = render(changed(error="<!channel> @here <@U1>", blocked=("@everyone",)), lambda *_: ["@all [x](http://e)"])
    for mark in ("<!channel>", "@here", "<@U1>", "@everyone", "@all", "](http"):
        assert mark not in message.chat


def test_secrets_are_masked_before_anything_is_cut() -> None:
    secret = "hunter2-" + "s" * 40
    padding = "x" * (CHAT_ERROR_LIMIT - 20)

    def redact(text: str) -> str:
        return text.replace(secret, "***")

    message = render(changed(error=padding + secret, task_id=secret), lambda *_: [f"pw={secret}"], redact=redact)
    for body in (message.subject, message.text, message.html, message.chat):
        assert "hunter2" not in body
    assert "pw=***" in message.text


def test_chat_stays_within_what_services_take() -> None:
    message = render(
        changed(error="e" * 9000, blocked=tuple(f"t{n}" for n in range(500))), lambda *_: ["l" * 5000] * 30
    )
    assert len(message.chat) < CHAT_ERROR_LIMIT + CHAT_LOG_LIMIT + 600
    assert "and 488 more" in message.chat


def test_a_mail_stays_below_what_clients_clip() -> None:
    message = render(changed(error="<" * 100_000), lambda *_: ["<" * 100_000] * 30)
    assert len(message.html.encode()) < 100_000


def test_a_log_that_cannot_be_read_does_not_stop_the_alert() -> None:
    def unreadable(_path: str, _lines: int) -> list[str]:
        raise PermissionError(13, "Permission denied")

    assert "the log cannot be read: Permission denied" in render(FULL, unreadable).text


def test_the_log_can_be_left_out() -> None:
    assert "log line" not in render(FULL, log_lines=0).text


def test_sections_fit_into_so_many_lines_and_a_title_stands_with_one_of_its_lines() -> None:
    told = [Section("note", ()), Section("a", ("1", "2", "3")), Section("b", ("4",))]
    assert list(fitting(told, 100)) == told
    assert list(fitting(told, 4)) == [told[0], Section("a", ("1", "2"))]
    assert list(fitting(told, 2)) == [told[0]]
    assert list(fitting(told, 0)) == []


def test_an_alert_of_prometheus_leads_to_its_runbook_first_and_to_the_query_last() -> None:
    def links_of(event: AlertEvent) -> list[tuple[str, str]]:
        find = {"Open Windsock": "https://windsock.example.com/alerts"}
        renderer = Renderer(tail, str, find_links=lambda _: [Link(*item) for item in find.items()])
        return [(link.label, link.url) for link in renderer.render(event).links]

    firing = samples.event(EventKind.PROMETHEUS_FIRING)
    told = links_of(firing)
    assert [label for label, _ in told] == ["Runbook", "Board", "Open Windsock", "Query"]
    assert told[0][1].endswith("/runbooks/WindsockSchedulerLoopSlow.md")
    assert told[-1][1] == firing.url
    assert links_of(msgspec.structs.replace(firing, labels=()))[0][0] == "Open Windsock"


def test_a_message_about_several_alerts_of_prometheus_leads_to_a_runbook() -> None:
    firing = samples.event(EventKind.PROMETHEUS_FIRING)
    message = Renderer(tail, str).render_wave((firing, firing), (), "windsock alerts show 1")
    (section,) = message.sections
    assert section.url.endswith("/runbooks/WindsockSchedulerLoopSlow.md")


def test_a_trouble_that_was_over_before_it_was_told_says_so() -> None:
    firing = msgspec.structs.replace(samples.event(EventKind.PROMETHEUS_FIRING), over_at=WHEN)
    message = render(firing)
    assert message.subject == "Alert, over by now: WindsockSchedulerLoopSlow"
    assert "takes 4.2 s That is over since 2026-11-23 02:14:07 UTC." in message.text
    wave = Renderer(tail, str).render_wave((firing, FULL), (), "windsock alerts show 1")
    assert "alert: WindsockSchedulerLoopSlow (over since 2026-11-23 02:14:07 UTC)" in wave.text


def with_pages(event: AlertEvent, **changes: Any) -> Message:
    return Renderer(tail, str, find_page=a_page, **changes).render(event)


def a_page(events: Sequence[AlertEvent]) -> str:
    return f"https://w.example.com/alerts/{events[0].number if len(events) == 1 else ''}"


@pytest.mark.parametrize("kind", EventKind)
def test_a_trouble_leads_to_the_page_where_it_is_acknowledged_and_nothing_else_does(kind: EventKind) -> None:
    message = with_pages(changed(kind=kind, number=7))
    pages = [link.url for link in message.links if link.label == "Acknowledge"]
    assert pages == (["https://w.example.com/alerts/7"] if KINDS[kind].trouble else [])
    for text in (message.text, message.html, message.chat):
        assert ("/alerts/7" in text) == KINDS[kind].trouble


@pytest.mark.parametrize("kind", EventKind)
def test_no_message_has_two_links_to_the_same_page(kind: EventKind) -> None:
    def further(event: AlertEvent) -> list[Link]:
        return [
            Link("Run", event.url or ""),
            Link("Board", "https://g.example.com/d/x"),
            Link("Dashboard", event.url or ""),
        ]

    labels = (("runbook_url", "https://w.example.com/alerts/7"),)
    event = changed(kind=kind, number=7, labels=labels)
    message = with_pages(event, find_links=further)
    urls = [link.url for link in message.links]
    assert len(urls) == len(set(urls))
    assert message.links[0].url == words.page_url(event)


def wave(*kinds: EventKind) -> Message:
    events = [changed(kind=kind, number=number, task_id=f"t{number}") for number, kind in enumerate(kinds)]
    return Renderer(tail, str, find_page=a_page).render_wave(events, (), "windsock alerts show 1")


RED, ORANGE, BLUE, GREEN = "b42318", "b54708", "175cd3", "067647"
FAILED, RETRY, RECOVERED = EventKind.TASK_FAILED, EventKind.TASK_RETRY, EventKind.TASK_RECOVERED
RESOLVED, UP, RUN_UP = EventKind.PROMETHEUS_RESOLVED, EventKind.COMPONENT_UP, EventKind.RUN_RECOVERED


@pytest.mark.parametrize(
    ("kinds", "title", "tone"),
    [
        ((FAILED, FAILED), "2 failures", RED),
        ((RECOVERED, RECOVERED, RUN_UP), "3 recovered", GREEN),
        ((RESOLVED, RESOLVED), "2 resolved", GREEN),
        ((UP, UP), "2 up again", GREEN),
        ((EventKind.DAG_REPAIRED, EventKind.DAG_REPAIRED), "2 repaired", GREEN),
        ((UP, RECOVERED), "1 recovered, 1 up again", GREEN),
        ((RECOVERED, FAILED), "1 failure, 1 recovered", RED),
        ((RESOLVED, RESOLVED, EventKind.RUN_OVERDUE), "1 overdue run, 2 resolved", ORANGE),
        ((RETRY, RETRY, RECOVERED), "2 retries, 1 recovered", ORANGE),
        ((RETRY, FAILED), "1 failure, 1 retry", RED),
        ((EventKind.NOTIFIED, RECOVERED), "1 notice, 1 recovered", BLUE),
        ((FAILED, EventKind.RUN_FAILED, FAILED), "2 failures, 1 failed run", RED),
        ((EventKind.SLA_MISSED, EventKind.COMPONENT_DOWN), "1 component down, 1 missed SLA", "912018"),
        (
            (RETRY, FAILED, EventKind.SLA_MISSED, RECOVERED, UP),
            "1 failure, 1 missed SLA, 1 retry, 1 recovered, 1 up again",
            RED,
        ),
    ],
)
def test_a_message_about_several_says_of_what_sort_they_are_and_has_their_colour(
    kinds: tuple[EventKind, ...], title: str, tone: str
) -> None:
    message = wave(*kinds)
    assert message.subject == f"{title}: daily_report"
    assert message.tone == tone
    assert f"background-color:#{tone}" in message.html
    assert message.resolved == (tone == GREEN)


@pytest.mark.parametrize(
    ("kinds", "subject"),
    [
        ((EventKind.DAG_BROKEN, FAILED), "1 failure, 1 broken file: daily_report.py, daily_report"),
        ((EventKind.DAG_BROKEN,) * 2, "2 broken files: daily_report.py"),
        ((EventKind.COMPONENT_DOWN, EventKind.TEST), "1 component down, 1 test: scheduler on machine-1, Windsock"),
        ((EventKind.PROMETHEUS_FIRING,) * 2, "2 alerts: WindsockSchedulerLoopSlow"),
    ],
)
def test_a_subject_names_what_is_in_the_group_also_where_that_is_about_no_dag(
    kinds: tuple[EventKind, ...], subject: str
) -> None:
    events = [samples.event(kind) for kind in kinds]
    assert Renderer(tail, str).render_wave(events, (), "windsock alerts show 1").subject == subject


def lines_of_wave(event: AlertEvent, redact: Callable[[str], str] = str) -> str:
    """What a message about several says of this one; the same in text, HTML and chat."""
    message = Renderer(tail, redact).render_wave([event, changed(task_id="other")], (), "windsock alerts show 1")
    line = next(line for line in message.sections[0].lines if "other" not in line)
    assert f"  {line}\n" in message.text
    assert html.escape(line, quote=False) in message.html.replace("&#34;", '"').replace("&#39;", "'")
    assert line in message.chat.replace("\u200b", "")
    return line


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"kind": EventKind.NOTIFIED, "text": "\n ORDERS ARE WRONG: call <b>Anna</b>\nat once", "error": None},
            "notice load_orders[3] (attempt 2 of 3): ORDERS ARE WRONG: call <b>Anna</b>",
        ),
        (
            {"kind": EventKind.NOTIFIED, "summary": "The task failed.", "error": "ValueError: no table"},
            "notice load_orders[3] (attempt 2 of 3): The task failed: ValueError: no table",
        ),
        (
            {"kind": EventKind.SLA_MISSED, "task_id": None, "map_index": -1, "try_number": None, "error": None}
            | {"missed": ("a", "b"), "due_at": WHEN},
            "SLA missed a, b (due at 2026-11-23 02:14:07 UTC)",
        ),
        (
            {"kind": EventKind.SLA_MISSED, "task_id": None, "map_index": -1, "try_number": None, "error": "c waits"}
            | {"missed": ("a",), "due_at": WHEN, "summary": "a was not done by 2026-11-23 02:14:07 UTC."},
            "SLA missed a: a was not done by 2026-11-23 02:14:07 UTC: c waits",
        ),
        (
            {"kind": EventKind.RUN_FAILED, "task_id": None, "map_index": -1, "try_number": None}
            | {"summary": "The run timed out: it took longer than 1:00:00.", "error": "run timed out: it took longer"},
            "run failed: The run timed out: it took longer than 1:00:00.",
        ),
        (
            {"kind": EventKind.DAG_LATE, "task_id": None, "map_index": -1, "try_number": None, "error": None}
            | {"due_at": WHEN},
            "run not created (due at 2026-11-23 02:14:07 UTC)",
        ),
    ],
)
def test_a_message_about_several_says_what_each_says(changes: dict[str, Any], line: str) -> None:
    assert lines_of_wave(changed(**changes)) == line


def test_what_each_of_several_says_is_short_and_has_neither_secrets_nor_commands() -> None:
    long = lines_of_wave(changed(kind=EventKind.NOTIFIED, text="w" * 5_000, error="e" * 5_000))
    assert len(long) < 500
    assert "www…: eee" in long

    def redact(text: str) -> str:
        return text.replace("BEGIN\nKEY", "***")

    told = lines_of_wave(changed(kind=EventKind.NOTIFIED, text="\x1b[31mBEGIN\nKEY is out", error=None), redact)
    assert told.endswith(": *** is out")
    pinged = changed(kind=EventKind.NOTIFIED, text="@everyone look", error=None)
    chat = Renderer(tail, str).render_wave([pinged, pinged], (), "windsock alerts show 1").chat
    assert "look" in chat
    assert "@everyone" not in chat


def test_the_severity_of_the_file_sets_the_colour_and_how_loud_a_service_is() -> None:
    renderer = Renderer(tail, str)
    by_file: dict[EventKind, Severity] = {EventKind.TASK_FAILED: "info"}
    by_file |= {EventKind.TASK_RETRY: "critical", EventKind.RUN_OVERDUE: "critical"}
    quiet, loud = renderer.render(FULL, (), by_file), renderer.render(changed(kind=EventKind.TASK_RETRY), (), by_file)
    assert (quiet.severity, loud.severity) == ("info", "critical")
    assert [json.loads(FORMATS["json"](told))["severity"] for told in (quiet, loud)] == ["info", "critical"]
    assert [json.loads(FORMATS["pagerduty"](told))["payload"]["severity"] for told in (quiet, loud)] == [
        "info",
        "critical",
    ]
    assert f"background-color:#{BLUE}" in quiet.html
    assert '"style":"accent"' in FORMATS["teams"](quiet).replace(": ", ":")
    assert renderer.render(changed(severity="warning"), (), by_file).severity == "warning"
    events = [FULL, changed(kind=EventKind.RUN_OVERDUE)]
    wave = renderer.render_wave(events, (), "windsock alerts show 1", by_file)
    assert (wave.severity, wave.subject) == ("critical", "1 overdue run, 1 failure: daily_report")


def test_tasks_that_are_only_counted_are_among_those_that_will_not_run() -> None:
    names = tuple(f"t{number}" for number in range(12))
    message = render(changed(blocked=names, blocked_more=988))
    assert "t10, t11 and 988 more" in message.text
    assert "t10, t11 and 988 more" in " ".join(visible(message.html).split())
    old = render(changed(blocked=tuple(f"t{number}" for number in range(1_000))))
    assert "t10, t11 and 988 more" in old.text


def test_a_subject_stays_short_whatever_is_in_the_group() -> None:
    events = [changed(kind=kind, dag_id=f"{number}{'x' * 240}") for number, kind in enumerate(EventKind)]
    subject = Renderer(tail, str).render_wave(events, (), "windsock alerts show 1").subject
    assert len(subject) <= 180
    counted, _, places = subject.partition(": ")
    assert counted.startswith("1 component down, 1 failing channel, 1 failure, 1 failed run, 1 missed SLA, ")
    assert sum(map(int, re.findall(r"\d+", counted))) == len(events)
    assert places.startswith("0xxx")
    several = Renderer(tail, str).render_wave([events[0]] * 12_345, (), "windsock alerts show 1").subject
    assert several.startswith("12345 failures: 0xxx")


def test_what_is_over_stands_behind_the_trouble() -> None:
    (section,) = wave(RECOVERED, FAILED, EventKind.RUN_FAILED).sections
    assert [line.split(" t")[0] for line in section.lines] == ["run failed", "failed", "recovered"]


def test_several_troubles_have_each_its_page_and_one_has_a_button() -> None:
    several = wave(FAILED, FAILED, RECOVERED)
    assert [(link.label, link.url) for link in several.links] == [("Open the alerts", "https://w.example.com/alerts/")]
    assert several.html.count(">Acknowledge</a>") == 2
    in_text = re.findall(r"^    Acknowledge: (\S+)$", several.text, re.MULTILINE)
    assert in_text == ["https://w.example.com/alerts/0", "https://w.example.com/alerts/1"]
    assert in_text == re.findall(r'<a href="([^"]+)"[^>]*>Acknowledge</a>', several.html)
    assert in_text == re.findall(r"^    Acknowledge: (\S+)$", several.full, re.MULTILINE)
    one = wave(RECOVERED, FAILED)
    assert [(link.label, link.url) for link in one.links] == [("Acknowledge", "https://w.example.com/alerts/1")]
    assert one.html.count("https://w.example.com/alerts/1") == one.text.count("https://w.example.com/alerts/1") == 1
    assert one.chat.endswith("\nhttps://w.example.com/alerts/1")
    assert wave(RECOVERED, UP).links == ()


def test_what_cannot_be_found_does_not_stop_a_message_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def links(_event: AlertEvent) -> Iterator[Link]:
        raise PermissionError("data/grafana")
        yield  # fails where it is read and not where it is asked

    def fails(_about: object) -> Any:
        raise ValueError("no link can be made")

    renderer = Renderer(tail, str, find_links=links, find_page=fails, read_history=fails)
    for _ in range(2):
        message = renderer.render(FULL, ("ops@example.org",))
        wave = renderer.render_wave((FULL, FULL), (), "windsock alerts show 1")
    assert message.subject
    assert wave.subject
    assert "Acknowledge" not in [link.label for link in (*message.links, *wave.links)]
    told = [record.getMessage() for record in caplog.records]
    assert sorted(told) == [
        f"messages go out without the {what} of their alerts, which cannot be found"
        for what in ("history", "links", "page")
    ]
