from __future__ import annotations

import email
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage

import pytest

from alerting.addressees import is_address
from alerting.channels import Message
from alerting.channels.mime import compose
from alerting.channels.smtp import SmtpConfig

MESSAGE = Message(
    key="k" * 64,
    thread="t" * 64,
    occurred_at=datetime(2026, 11, 23, 2, 14, 7, tzinfo=UTC),
    subject="Failed: naïve 漢字",
    text="text 💥\n" + "x" * 3000 + "\n.\n.dot\n",
    html="<p>html 💥</p>",
    chat="chat",
    failed=True,
)


def read_back(mail: bytes) -> EmailMessage:
    read = email.message_from_bytes(mail, policy=policy.default)
    assert isinstance(read, EmailMessage)
    return read


def composed(
    message: Message = MESSAGE, recipients: tuple[str, ...] = ("a@example.org", "b@example.org")
) -> EmailMessage:
    return read_back(compose(message, recipients, "Windsock <alerts@example.org>"))


def test_it_has_a_text_and_an_html_part() -> None:
    mail = composed()
    assert mail.get_content_type() == "multipart/alternative"
    text, page = mail.iter_parts()
    assert isinstance(text, EmailMessage)
    assert isinstance(page, EmailMessage)
    assert text.get_content().replace("\r\n", "\n") == MESSAGE.text
    assert "html 💥" in page.get_content()


def test_its_keys_are_the_same_each_time() -> None:
    mail = composed()
    assert mail["Message-ID"] == f"<{'k' * 40}@example.org>" == composed()["Message-ID"]
    assert mail["References"] == mail["In-Reply-To"] == f"<run.{'t' * 40}@example.org>"


def test_robots_are_asked_to_be_quiet() -> None:
    assert composed()["Auto-Submitted"] == "auto-generated"


def test_its_date_is_that_of_the_event() -> None:
    assert composed()["Date"].datetime == MESSAGE.occurred_at


def test_its_subject_may_have_any_letters() -> None:
    assert composed()["Subject"] == MESSAGE.subject


def test_no_line_is_longer_than_smtp_allows() -> None:
    assert max(map(len, compose(MESSAGE, ("a@example.org",), "w@example.org").splitlines())) <= 998


@pytest.mark.parametrize("sender", ["Windsock\r\nBcc: x@example.org <alerts@example.org>", "a@münchen.example", "odd"])
def test_a_strange_sender_adds_no_header(sender: str) -> None:
    mail = read_back(compose(MESSAGE, ("a@example.org",), sender))
    assert mail["Bcc"] is None
    assert mail["Message-ID"].endswith(">")


@pytest.mark.parametrize("address", ["alice@example.org", "a.b+c@x.example.org", "ålice@example.org", "root@localhost"])
def test_addresses_that_are_taken(address: str) -> None:
    assert is_address(address)


@pytest.mark.parametrize(
    "address",
    ["", "alice", "a@b\r\nBcc: c@d", "a@b, c@d", "Alice <a@b>", "a b@c", "a@", "@b", "a@b\x00", "a@b@c"],
)
def test_addresses_that_are_refused(address: str) -> None:
    assert not is_address(address)


def test_the_password_is_not_shown() -> None:
    assert "hunter2" not in repr(SmtpConfig(password="hunter2"))
