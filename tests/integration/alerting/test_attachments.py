"""What a mail carries besides its words: the end of the log, and a picture of the task's durations."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from email.message import EmailMessage

import pytest

from alerting import samples
from alerting.channels import Delivered
from alerting.channels.email import Email, SmtpConfig
from alerting.chart import HEIGHT, WIDTH, Sample, draw
from alerting.kinds import EventKind
from alerting.render import ATTACHED_LINES, Renderer
from tests.servers.mail import MailServer

SECRET = "s3cr3t-token"
LINES = [f"line {number} {SECRET}" for number in range(2_000)]


def tail(_path: str, lines: int) -> list[str]:
    return LINES[-lines:]


def redact(text: str) -> str:
    return text.replace(SECRET, "***")


def sent(server: MailServer, renderer: Renderer, kind: EventKind = EventKind.TASK_FAILED) -> EmailMessage:
    message = renderer.render(samples.event(kind), ("alice@example.org",))
    assert Email(SmtpConfig("127.0.0.1", server.port)).send(message) == Delivered()
    return server.wait_for(1)[-1].message


def test_the_last_lines_of_the_log_come_as_a_text_file_without_secrets(smtp_server: MailServer) -> None:
    mail = sent(smtp_server, Renderer(tail, redact))
    (file,) = mail.iter_attachments()
    assert isinstance(file, EmailMessage)
    assert (file.get_filename(), file.get_content_type()) == ("log.txt", "text/plain")
    lines = file.get_content().splitlines()
    assert len(lines) == ATTACHED_LINES
    assert (lines[0], lines[-1]) == ("line 1500 ***", "line 1999 ***")
    text = mail.get_body(("plain",))
    assert text is not None
    assert "Last 30 log lines" in text.get_content()


def test_the_page_shows_the_durations_as_a_picture_of_its_own(smtp_server: MailServer) -> None:
    mail = sent(smtp_server, Renderer(tail, redact, read_history=samples.history))
    (picture,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    page = mail.get_body(("html",))
    assert page is not None
    assert f'src="cid:{str(picture["Content-ID"]).strip("<>")}"' in page.get_content()
    assert picture.get_content_disposition() == "inline"
    assert [part.get_filename() for part in mail.iter_attachments()] == ["log.txt"]
    assert "Durations of the last 29 attempts: up to 1 h 15 min, 3 of them failed" in page.get_content()


@pytest.mark.parametrize("kind", [EventKind.RUN_FAILED, EventKind.TEST])
def test_what_is_about_no_task_carries_neither(smtp_server: MailServer, kind: EventKind) -> None:
    mail = sent(smtp_server, Renderer(tail, redact, read_history=samples.history), kind)
    assert mail.get_content_type() == "multipart/alternative"


def test_too_short_a_history_is_not_shown() -> None:
    short: Callable[..., list[Sample]] = lambda _: [Sample(1.0), Sample(2.0)]  # noqa: E731
    message = Renderer(tail, redact, read_history=short).render(samples.event(EventKind.TASK_FAILED), ("a@b",))
    assert [each.name for each in message.attachments] == ["log.txt"]
    assert "Durations" not in message.html


def test_chat_reads_neither_the_history_nor_the_long_log() -> None:
    asked: list[int] = []

    def counted(path: str, lines: int) -> list[str]:
        asked.append(lines)
        return tail(path, lines)

    def never(_event: object) -> list[Sample]:
        raise AssertionError

    message = Renderer(counted, redact, read_history=never).render(samples.event(EventKind.TASK_FAILED))
    assert asked == [30]
    assert message.attachments == ()


def pixels(png: bytes) -> list[bytes]:
    """The rows of a picture with a palette and without filters, as the specification of PNG has it; checks the sums."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        name, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(name + data)
        chunks[name] = data
        at += 12 + length
    width, height, depth, colours = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (width, height, depth, colours) == (WIDTH, HEIGHT, 2, 3)
    raw = zlib.decompress(chunks[b"IDAT"])
    size = width // 4 + 1  # four dots to a byte, after one that names the filter
    assert len(raw) == height * size
    rows = [raw[row * size : (row + 1) * size] for row in range(height)]
    assert {row[0] for row in rows} == {0}
    return [bytes(four >> shift & 3 for four in row[1:] for shift in (6, 4, 2, 0)) for row in rows]


def test_the_longest_attempt_is_as_high_as_the_picture_and_half_of_it_half_as_high() -> None:
    rows = pixels(draw([Sample(50.0), Sample(100.0, failed=True)]))
    heights = [sum(row[column] in (1, 2) for row in rows) for column in (2, 42)]
    assert heights == [(HEIGHT - 2) // 2, HEIGHT - 2]
    assert {row[2] for row in rows[:-2]} == {0, 1}
    assert {row[42] for row in rows[:-2]} == {2}


@pytest.mark.parametrize("samples_", [[], [Sample(0.0)] * 3, [Sample(1e9)] * 30, [Sample(1.0)] * 1_300])
def test_any_history_can_be_drawn(samples_: list[Sample]) -> None:
    assert len(pixels(draw(samples_))) == HEIGHT
