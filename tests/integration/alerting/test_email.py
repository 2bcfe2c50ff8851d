"""The mail channel against real SMTP servers, friendly and not."""

from __future__ import annotations

import email
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from alerting.channels import Delivered, Failure, Message, Permanent, Refusal, Retry
from alerting.channels.email import Email, mail_channels
from alerting.channels.smtp import SmtpConfig
from tests.integration.alerting.certificates import certified
from tests.integration.alerting.mailbox import Mailbox
from tests.servers.processes import free_port

Serve = Callable[..., int]
PASSWORD = "hunter2-secret"


def channel(port: int, **settings: object) -> Email:
    config = SmtpConfig(host="127.0.0.1", port=port, mail_from="Windsock <alerts@example.org>", timeout=5)
    return Email(replace(config, **settings))  # type: ignore[arg-type]


def test_a_mail_reaches_all_recipients_at_once(serve: Serve, message: Message) -> None:
    mailbox = Mailbox()
    assert channel(serve(mailbox)).send(message) == Delivered()
    ((recipients, raw),) = mailbox.mails
    assert recipients == ["alice@example.org", "bob@example.org"]
    mail = email.message_from_bytes(raw)
    assert mail["To"] == "alice@example.org, bob@example.org"
    assert mail["From"] == "Windsock <alerts@example.org>"


def test_a_subject_with_line_breaks_adds_no_header(serve: Serve, message: Message) -> None:
    mailbox = Mailbox()
    channel(serve(mailbox)).send(replace(message, subject="Failed\r\nBcc: eve@example.org\r\n\r\nbody"))
    ((recipients, raw),) = mailbox.mails
    assert "eve@example.org" not in recipients
    assert email.message_from_bytes(raw)["Bcc"] is None


def test_a_recipient_with_line_breaks_is_left_out_and_told(serve: Serve, message: Message) -> None:
    mailbox = Mailbox()
    outcome = channel(serve(mailbox)).send(replace(message, recipients=("alice@example.org", "x@y\r\nBcc: eve@z")))
    assert isinstance(outcome, Delivered)
    assert outcome.never[0].reason == "not a valid mail address: x@y Bcc: eve@z"
    assert mailbox.mails[0][0] == ["alice@example.org"]


def test_without_any_valid_address_it_says_so(message: Message) -> None:
    outcome = channel(1).send(replace(message, recipients=("alice",)))
    reason = (
        "no valid mail address: alice; correct `email` in the DAG file for what comes, "
        "and send this one to somebody else: windsock alerts replay NUMBER --to RECEIVER"
    )
    assert outcome == Permanent(Failure.CONFIG, reason, addressee=True)


def test_refused_recipients_are_told_apart_from_those_who_accepted(serve: Serve, message: Message) -> None:
    mailbox = Mailbox(rcpt={"bob@example.org": "451 greylisted", "carol@example.org": "550 no such user"})
    recipients = ("alice@example.org", "bob@example.org", "carol@example.org")
    outcome = channel(serve(mailbox)).send(replace(message, recipients=recipients))
    assert isinstance(outcome, Delivered)
    assert [(refusal.addresses, refusal.reason) for refusal in outcome.later] == [
        (("bob@example.org",), "451 greylisted")
    ]
    assert [refusal.addresses for refusal in outcome.never] == [("carol@example.org",)]
    assert mailbox.mails[0][0] == ["alice@example.org"]


def test_where_the_server_hangs_up_at_one_recipient_the_others_are_told(serve: Serve, message: Message) -> None:
    mailbox = Mailbox(rcpt={"alice@example.org": "421 too many for alice", "carol@example.org": "550 unknown"})
    recipients = ("alice@example.org", "bob@example.org", "carol@example.org")
    outcome = channel(serve(mailbox)).send(replace(message, recipients=recipients))
    assert outcome == Delivered(
        later=(Refusal(("alice@example.org",), "421 too many for alice"),),
        never=(Refusal(("carol@example.org",), "550 unknown"),),
    )
    assert [people for people, _ in mailbox.mails] == [["bob@example.org"]]


def test_where_the_server_hangs_up_at_one_and_refuses_the_others_all_are_tried_again(
    serve: Serve, message: Message
) -> None:
    mailbox = Mailbox(rcpt={"alice@example.org": "421 closing", "bob@example.org": "550 unknown"})
    outcome = channel(serve(mailbox)).send(replace(message, recipients=("alice@example.org", "bob@example.org")))
    reasons = "alice@example.org: 421 closing; bob@example.org: 550 unknown"
    assert outcome == Retry(Failure.BUSY, f"no recipient was taken: {reasons}", addressee=True)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("451 later", "451 later"), Retry),
        (("550 never", "451 later"), Retry),
        (("550 never", "550 never"), Permanent),
    ],
)
def test_when_all_recipients_are_refused_their_codes_decide(
    serve: Serve, message: Message, answers: tuple[str, str], expected: type
) -> None:
    mailbox = Mailbox(rcpt=dict(zip(message.recipients, answers, strict=True)))
    outcome = channel(serve(mailbox)).send(message)
    assert isinstance(outcome, expected)
    assert outcome.addressee
    assert not getattr(outcome, "channel_down", False)


@pytest.mark.parametrize(
    ("answer", "failure", "down"),
    [("451 try later", Failure.BUSY, False), ("421 closing", Failure.BUSY, True), ("554 spam", Failure.REJECTED, None)],
)
def test_the_servers_code_decides_whether_to_retry(
    serve: Serve, message: Message, answer: str, failure: Failure, down: bool | None
) -> None:
    outcome = channel(serve(Mailbox(data=answer))).send(message)
    assert not isinstance(outcome, Delivered)
    assert outcome.failure is failure
    assert outcome.reason == answer
    assert getattr(outcome, "channel_down", None) is down


def test_nobody_listening_is_retried_and_takes_the_channel_down(message: Message) -> None:
    port = free_port()
    outcome = channel(port).send(message)
    assert isinstance(outcome, Retry)
    assert outcome.channel_down
    assert outcome.failure is Failure.UNREACHABLE
    assert f"127.0.0.1:{port}" in outcome.reason


def test_a_host_that_does_not_resolve_is_retried(message: Message) -> None:
    outcome = channel(25, host="mail.invalid").send(message)
    assert isinstance(outcome, Retry)
    assert outcome.channel_down


def test_a_server_that_accepts_and_stalls_is_given_up_on_in_time(message: Message) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outcome = channel(silent.getsockname()[1], timeout=0.2).send(message)
    assert isinstance(outcome, Retry)
    assert (outcome.failure, outcome.channel_down) == (Failure.TIMEOUT, True)
    assert "did not answer in 0.2 s" in outcome.reason


def hang_up(server: socket.socket) -> None:
    server.accept()[0].close()


def test_a_server_that_hangs_up_is_retried(message: Message) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=hang_up, args=(server,)).start()
        outcome = channel(server.getsockname()[1]).send(message)
    assert isinstance(outcome, Retry)
    assert outcome.channel_down


def test_a_quarrel_after_the_mail_was_accepted_does_not_send_it_again(message: Message) -> None:
    """The server takes the mail and answers QUIT with an error."""

    def converse(server: socket.socket) -> None:
        connection = server.accept()[0]
        with connection, connection.makefile("rwb", buffering=0) as talk:
            talk.write(b"220 hello\r\n")
            while line := talk.readline().upper():
                if line.startswith(b"DATA"):
                    talk.write(b"354 go on\r\n")
                    while talk.readline() != b".\r\n":
                        pass
                talk.write(b"451 whatever\r\n" if line.startswith(b"QUIT") else b"250 OK\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=converse, args=(server,), daemon=True).start()
        assert channel(server.getsockname()[1]).send(message) == Delivered()


def test_without_a_host_mail_is_off() -> None:
    assert mail_channels(SmtpConfig()) == []
    assert [made.name for made in mail_channels(SmtpConfig(host="127.0.0.1"))] == ["email"]


def authenticator(_server: object, _session: object, _envelope: object, _mechanism: str, data: object) -> AuthResult:
    return AuthResult(success=getattr(data, "password", b"") == PASSWORD.encode(), handled=False)


def test_the_right_password_is_accepted(serve: Serve, message: Message) -> None:
    mailbox = Mailbox()
    port = serve(mailbox, authenticator=authenticator, auth_require_tls=False)
    assert channel(port, user="windsock", password=PASSWORD).send(message) == Delivered()
    assert len(mailbox.mails) == 1


def test_a_wrong_password_is_retried_slowly_and_never_shown(serve: Serve, message: Message) -> None:
    port = serve(Mailbox(), authenticator=authenticator, auth_require_tls=False)
    outcome = channel(port, user="windsock", password="wrong-password").send(message)
    assert isinstance(outcome, Retry)
    assert (outcome.failure, outcome.channel_down, outcome.after_seconds) == (Failure.AUTH, True, 60)
    assert "WINDSOCK__SMTP__SMTP_PASSWORD" in outcome.reason
    assert "wrong-password" not in outcome.reason


@pytest.mark.parametrize("secret", [{"password": "geheimß"}, {"user": "jürgen", "password": PASSWORD}])
def test_a_sign_in_beyond_ascii_is_waited_out_and_no_letter_of_it_shown(
    serve: Serve, message: Message, secret: dict[str, str]
) -> None:
    port = serve(Mailbox(), authenticator=authenticator, auth_require_tls=False)
    outcome = channel(port, **({"user": "windsock"} | secret)).send(message)
    assert isinstance(outcome, Retry)
    assert (outcome.failure, outcome.channel_down, outcome.after_seconds) == (Failure.AUTH, True, 60)
    assert "letters of ASCII alone" in outcome.reason
    assert "ß" not in outcome.reason
    assert "\\xdf" not in outcome.reason


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("553 sender address rejected", Failure.AUTH),
        ("530 authentication required", Failure.AUTH),
        ("552 message too large", Failure.REJECTED),
        ("451 later", Failure.BUSY),
    ],
)
def test_a_server_that_takes_no_mail_from_us_is_waited_for_until_the_settings_are_right(
    serve: Serve, message: Message, answer: str, expected: Failure
) -> None:
    class Refusing(Mailbox):
        async def handle_MAIL(self, *_: object) -> str:  # noqa: N802
            return answer

    outcome = channel(serve(Refusing())).send(message)
    assert isinstance(outcome, Retry | Permanent)
    assert outcome.failure is expected
    assert ("WINDSOCK__SMTP__SMTP_MAIL_FROM" in outcome.reason) is (expected is Failure.AUTH)


def test_a_password_that_the_server_repeats_is_masked(serve: Serve, message: Message) -> None:
    outcome = channel(serve(Mailbox(data=f"554 bad {PASSWORD}")), password=PASSWORD).send(message)
    assert isinstance(outcome, Permanent)
    assert outcome.reason == "554 bad ***"


def test_a_server_without_sign_in_is_told_with_a_remedy(serve: Serve, message: Message) -> None:
    outcome = channel(serve(Mailbox()), user="windsock", password=PASSWORD).send(message)
    assert isinstance(outcome, Retry)
    assert "clear WINDSOCK__SMTP__SMTP_USER" in outcome.reason


def test_a_server_without_starttls_is_told_with_a_remedy(serve: Serve, message: Message) -> None:
    outcome = channel(serve(Mailbox()), starttls=True).send(message)
    assert isinstance(outcome, Retry)
    assert "clear WINDSOCK__SMTP__SMTP_STARTTLS" in outcome.reason


@pytest.mark.parametrize("answer", ["454 not now", "554 no certificate"])
def test_a_server_that_cannot_encrypt_says_nothing_of_the_mail(serve: Serve, message: Message, answer: str) -> None:
    class Plain(SMTP):
        async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
            await self.push(answer)

    class Encrypting(Controller):
        def factory(self) -> SMTP:
            return Plain(self.handler, tls_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    server = Encrypting(Mailbox(), hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        outcome = channel(server.port, starttls=True).send(message)
    finally:
        server.stop()
    assert isinstance(outcome, Retry)
    assert (outcome.failure, outcome.channel_down) == (Failure.UNREACHABLE, True)
    assert outcome.reason == f"127.0.0.1:{server.port}: {answer}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certified(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_starttls_with_a_trusted_certificate_delivers(
    serve: Serve, message: Message, tls: ssl.SSLContext, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    mailbox = Mailbox()
    port = serve(mailbox, tls_context=tls, require_starttls=True)
    assert channel(port, starttls=True).send(message) == Delivered()
    assert len(mailbox.mails) == 1


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    serve: Serve, message: Message, tls: ssl.SSLContext
) -> None:
    mailbox = Mailbox()
    outcome = channel(serve(mailbox, tls_context=tls), starttls=True).send(message)
    assert isinstance(outcome, Retry)
    assert (outcome.failure, outcome.channel_down) == (Failure.AUTH, True)
    assert "certificate" in outcome.reason
    assert mailbox.mails == []


def test_tls_from_the_first_byte_delivers(
    serve: Serve, message: Message, tls: ssl.SSLContext, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    mailbox = Mailbox()
    assert channel(serve(mailbox, ssl_context=tls), ssl=True).send(message) == Delivered()
    assert len(mailbox.mails) == 1


def test_tls_with_a_server_that_speaks_plain_is_told(serve: Serve, message: Message) -> None:
    outcome = channel(serve(Mailbox()), ssl=True).send(message)
    assert isinstance(outcome, Retry)
    assert "WINDSOCK__SMTP__SMTP_SSL" in outcome.reason


def test_an_address_beyond_ascii_needs_a_server_that_takes_it(serve: Serve, message: Message) -> None:
    abroad = replace(message, recipients=("ålice@example.org",))
    outcome = channel(serve(Mailbox(), enable_SMTPUTF8=False)).send(abroad)
    assert isinstance(outcome, Permanent)
    assert "SMTPUTF8" in outcome.reason
    mailbox = Mailbox()
    assert channel(serve(mailbox, enable_SMTPUTF8=True)).send(abroad) == Delivered()
    assert mailbox.mails[0][0] == ["ålice@example.org"]


def test_an_address_beyond_ascii_keeps_the_mail_from_nobody_else(serve: Serve, message: Message) -> None:
    mailbox = Mailbox()
    mixed = replace(message, recipients=("ålice@example.org", "bob@example.org"))
    outcome = channel(serve(mailbox, enable_SMTPUTF8=False)).send(mixed)
    assert isinstance(outcome, Delivered)
    ((people, mail),) = mailbox.mails
    assert people == ["bob@example.org"]
    assert mail.isascii()
    (refusal,) = outcome.never
    assert refusal.addresses == ("ålice@example.org",)
    assert "SMTPUTF8" in refusal.reason
    assert outcome.later == ()


def test_the_headers_of_a_mail_are_announced_as_they_are_also_where_the_server_hangs_up_at_the_address_beyond_ascii(
    serve: Serve, message: Message
) -> None:
    """They name that address in the second try, too, though nobody of whom the mail is taken then is beyond ASCII."""
    announced: list[list[str]] = []

    class Listening(Mailbox):
        async def handle_MAIL(  # noqa: N802
            self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
        ) -> str:
            announced.append(options)
            envelope.mail_from = address
            return "250 OK"

    mailbox = Listening(rcpt={"ålice@example.org": "421 closing"})
    mixed = replace(message, recipients=("ålice@example.org", "bob@example.org"))
    outcome = channel(serve(mailbox, enable_SMTPUTF8=True)).send(mixed)
    assert outcome == Delivered(later=(Refusal(("ålice@example.org",), "421 closing"),))
    ((people, mail),) = mailbox.mails
    assert people == ["bob@example.org"]
    assert "ålice".encode() in mail
    assert len(announced) == 2
    assert all("SMTPUTF8" in options for options in announced)
