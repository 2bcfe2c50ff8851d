"""Templates of an operator's own: they come first, they run in the sandbox, and a broken one costs no alert."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from alerting import samples
from alerting.channels.services import PAYLOADS
from alerting.kinds import EventKind
from alerting.render import Renderer
from alerting.templating import Templates

FAILED = samples.event(EventKind.TASK_FAILED)
RETRY = samples.event(EventKind.TASK_RETRY)
TO = ("a@example.org",)


def renderer(folder: Path, secret: str = "hunter2_secret") -> Renderer:
    def redact(text: str) -> str:
        return text.replace(secret, "***")

    return Renderer(samples.tail, redact, templates=Templates(folder, redact))


def test_one_for_a_kind_comes_before_one_for_all_and_that_before_ours(tmp_path: Path) -> None:
    (tmp_path / "task_failed.text.j2").write_text("{{ where }} broke")
    (tmp_path / "message.text.j2").write_text("{{ where }} did something")
    assert renderer(tmp_path).render(FAILED, TO).text == "daily_report.load_orders broke"
    assert renderer(tmp_path).render(RETRY, TO).text == "daily_report.load_orders did something"
    assert "<!DOCTYPE html>" in renderer(tmp_path).render(FAILED, TO).html


def test_each_part_and_a_message_about_several_events_can_be_replaced(tmp_path: Path) -> None:
    parts = {
        "task_failed.subject.j2": "[{{ severity }}] {{ headline }}",
        "task_failed.title.j2": "{{ verdict }}!",
        "task_failed.html.j2": "<b>{{ error }}</b>",
        "wave.subject.j2": "{{ headline }} ({{ sections | length }})",
    }
    for name, text in parts.items():
        (tmp_path / name).write_text(text)
    message = renderer(tmp_path).render(FAILED, TO)
    assert message.subject == "[error] Failed: daily_report.load_orders"
    assert message.title == "Failed!"
    assert message.html == "<b>PartitionMissing: orders has no partition for 2026-11-22</b>"
    wave = renderer(tmp_path).render_wave([FAILED, RETRY], TO, "x")
    assert wave.subject == "1 failure, 1 retry: daily_report (1)"


def test_a_page_can_build_on_ours(tmp_path: Path) -> None:
    (tmp_path / "message.html.j2").write_text(
        '{% extends "built-in/message.html.j2" %}{% block footer %}Ask the data team: 4711{% endblock %}'
    )
    page = renderer(tmp_path).render(FAILED, TO).html
    assert "Ask the data team: 4711" in page
    assert "Sent by Windsock" not in page
    assert "PartitionMissing" in page


def test_own_words_for_chat_stand_in_every_service(tmp_path: Path) -> None:
    (tmp_path / "task_failed.chat.j2").write_text("call the *data team* about {{ where }} @here")
    message = renderer(tmp_path).render(FAILED)
    for payload in (make(message) for make in PAYLOADS.values()):
        read = str(payload).replace("\\", "")
        assert "data team" in read
        assert "Attempt 3 of 3" not in str({**payload, "sentence": "", "facts": ""})
    assert "@here" not in message.chat


def test_a_template_is_text_of_html_only_where_it_is_a_page(tmp_path: Path) -> None:
    (tmp_path / "task_failed.html.j2").write_text("{{ event.task_id }}{{ '<i>' }}")
    (tmp_path / "task_failed.text.j2").write_text("{{ '<i>' }}")
    message = renderer(tmp_path).render(FAILED, TO)
    assert message.html.endswith("&lt;i&gt;")
    assert message.text == "<i>"


BROKEN = {
    "a word that there is not": "{{ nosuch }}",
    "syntax": "{% if %}",
    "an attribute of nothing": "{{ error.nothing.more }}",
    "a way out of the sandbox": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "a division by zero": "{{ 1 / 0 }}",
    "a file elsewhere": '{% include "../../../../etc/passwd" %}',
    "a loop without end": "{% for n in range(1000000000) %}x{% endfor %}",
}


@pytest.mark.parametrize("what", sorted(BROKEN))
def test_a_broken_one_is_told_once_and_ours_is_used(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "task_failed.text.j2").write_text(BROKEN[what])
    broken = renderer(tmp_path)
    ours = Renderer(samples.tail, str).render(FAILED, TO)
    for _ in range(3):
        assert broken.render(FAILED, TO) == ours
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) == 1
    assert told[0].startswith("task_failed.text.j2 is not used, the built-in template is: ")
    assert list(broken.problems) == ["task_failed.text.j2"]


def test_a_corrected_one_is_used_without_a_restart(tmp_path: Path) -> None:
    made = renderer(tmp_path)
    (tmp_path / "task_failed.text.j2").write_text("{{ nosuch }}")
    made.render(FAILED, TO)
    (tmp_path / "task_failed.text.j2").write_text("{{ where }} broke for good")
    assert made.render(FAILED, TO).text == "daily_report.load_orders broke for good"
    assert made.problems == {}


def test_secrets_are_masked_in_what_a_template_says_and_in_why_it_cannot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "task_failed.text.j2").write_text("the password is hunter2_secret")
    (tmp_path / "task_failed.html.j2").write_text("{{ nosuch['hunter2_secret'] }}{% hunter2_secret %}")
    message = renderer(tmp_path).render(FAILED, TO)
    assert message.text == "the password is ***"
    assert "hunter2" not in message.html + caplog.text
    assert "not used" in caplog.text


def test_a_subject_that_a_template_makes_is_one_line_and_never_empty(tmp_path: Path) -> None:
    (tmp_path / "task_failed.subject.j2").write_text("{{ where }}\nBcc: evil@example.org\n")
    (tmp_path / "task_retry.subject.j2").write_text("  ")
    assert renderer(tmp_path).render(FAILED).subject == "daily_report.load_orders Bcc: evil@example.org"
    assert renderer(tmp_path).render(RETRY).subject == "Will retry: daily_report.load_orders"


def test_a_misspelt_name_is_told_with_what_was_meant(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "task_faild.text.j2").write_text("x")
    (tmp_path / "our-own-base.j2").write_text("x")
    made = Templates(tmp_path)
    assert made.problems == {
        "task_faild.text.j2": "no message has such a template; did you mean task_failed.text.j2?",
    }
    assert len(caplog.records) == 1
