"""What the mail and webhook servers promise to every other test."""

from __future__ import annotations

import smtplib
import urllib.error
import urllib.request

import pytest

from tests.servers.mail import MailServer
from tests.servers.webhook import Answer, WebhookServer


def test_the_mail_server_keeps_what_it_accepts(smtp_server: MailServer) -> None:
    _send(smtp_server, "first")
    (mail,) = smtp_server.wait_for(1)
    assert (mail.sender, mail.recipients) == ("a@example.org", ("b@example.org",))
    assert mail.message["Subject"] == "first"


def test_the_mail_server_refuses_as_it_is_told_and_keeps_nothing(smtp_server: MailServer) -> None:
    smtp_server.answers.append("451 try later")
    with pytest.raises(smtplib.SMTPDataError, match="451"):
        _send(smtp_server, "refused")
    _send(smtp_server, "accepted")
    assert [mail.message["Subject"] for mail in smtp_server.wait_for(1)] == ["accepted"]


def test_the_mail_server_comes_back_on_its_port(smtp_server: MailServer) -> None:
    smtp_server.stop()
    with pytest.raises(ConnectionRefusedError):
        _send(smtp_server, "nobody there")
    smtp_server.start()
    _send(smtp_server, "back")
    assert len(smtp_server.wait_for(1)) == 1


def test_waiting_for_a_mail_that_does_not_come_says_so(smtp_server: MailServer) -> None:
    with pytest.raises(TimeoutError, match="for 1 mails, got 0"):
        smtp_server.wait_for(1, timeout=0.05)


def test_the_webhook_server_keeps_requests_and_answers_as_it_is_told(webhook_server: WebhookServer) -> None:
    webhook_server.answers.append(Answer(status=503, headers={"Retry-After": "7"}))
    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        _post(webhook_server, b'{"n": 1}')
    assert refused.value.headers["Retry-After"] == "7"
    refused.value.close()
    _post(webhook_server, b'{"n": 2}')
    assert [request.json()["n"] for request in webhook_server.wait_for(2)] == [1, 2]


def test_the_webhook_server_comes_back_on_its_port(webhook_server: WebhookServer) -> None:
    webhook_server.stop()
    with pytest.raises(urllib.error.URLError):
        _post(webhook_server, b"{}")
    webhook_server.start()
    _post(webhook_server, b"{}")
    assert len(webhook_server.wait_for(1)) == 1


def _send(server: MailServer, subject: str) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=5) as client:
        client.sendmail("a@example.org", ["b@example.org"], f"Subject: {subject}\r\n\r\nhello\r\n")


def _post(server: WebhookServer, body: bytes) -> None:
    urllib.request.urlopen(f"{server.url}/hook", data=body, timeout=5).close()
