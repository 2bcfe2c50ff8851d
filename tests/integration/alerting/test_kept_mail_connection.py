"""The connection that is kept after a mail, for the next one: it saves time, and must cost no mail and no try."""

from __future__ import annotations

import gc
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from alerting.channels import Delivered, Failure, Message, Outcome, Permanent, Refusal, Retry, kept
from alerting.channels import smtp as connections
from alerting.channels.email import Email
from alerting.channels.smtp import SmtpConfig, dial
from tests.integration.alerting.certificates import certified
from tests.integration.alerting.mailbox import Mailbox
from tests.servers.processes import wait_until

Serve = Callable[..., int]
PASSWORD = "hunter2-secret"
PATIENCE_SECONDS = 60.0


@dataclass
class Counting(Mailbox):
    """Counts its connections, and answers the commands of the second mail of each as it is told.

    `again` gives the answer by command: MAIL, RCPT, DATA (before the mail) or END (after it); ``hang up`` is one.
    """

    pipelining: bool = False
    again: dict[str, str] = field(default_factory=dict)
    greeted: list[SMTP] = field(default_factory=list)
    begun: Counter[int] = field(default_factory=Counter)  # mails, by connection
    tried: list[str] = field(default_factory=list)  # the Message-ID of each mail that came to its end

    @property
    def connections(self) -> int:
        return len({id(server) for server in self.greeted})

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.greeted.append(server)
        return [responses[0], *(["250-PIPELINING"] if self.pipelining else []), *responses[1:]]

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.begun[id(server)] += 1
        answer = self._answer("MAIL", server)
        if answer.startswith("2"):
            envelope.mail_from = address
        return answer

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self._answer("RCPT", server)
        if not answer.startswith("2"):
            return answer
        return await super().handle_RCPT(server, session, envelope, address, options)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.tried += [line for line in envelope.content.decode().splitlines() if line.startswith("Message-ID:")]
        answer = self._answer("END", server)
        return await super().handle_DATA(server, session, envelope) if answer.startswith("2") else answer

    def _answer(self, command: str, server: SMTP) -> str:
        answer = self.again.get(command, "250 OK") if self.begun[id(server)] == 2 else "250 OK"
        if answer == "hang up":
            assert server.transport is not None
            server.transport.abort()
        return answer


def channel(port: int, **settings: object) -> Email:
    config = SmtpConfig(host="127.0.0.1", port=port, mail_from="alerts@example.org", timeout=5, keep_seconds=60)
    return Email(replace(config, **settings))  # type: ignore[arg-type]


@contextmanager
def opened(port: int, **settings: object) -> Iterator[Email]:
    made = channel(port, **settings)
    yield made
    made.close()


def send_two(mail: Email, message: Message) -> Outcome:
    """Send one that is taken; the outcome of the next one."""
    assert mail.send(message) == Delivered()
    return mail.send(replace(message, key="2" * 64))


@pytest.mark.parametrize("pipelining", [False, True])
def test_the_next_mail_goes_through_the_same_connection(serve: Serve, message: Message, pipelining: bool) -> None:
    mailbox = Counting(pipelining=pipelining)
    with opened(serve(mailbox)) as mail:
        assert send_two(mail, message) == Delivered()
    assert (mailbox.connections, len(mailbox.mails)) == (1, 2)


def test_where_none_is_to_be_kept_each_mail_has_its_own(serve: Serve, message: Message) -> None:
    mailbox = Counting()
    with opened(serve(mailbox), keep_seconds=0) as mail:
        assert send_two(mail, message) == Delivered()
    assert (mailbox.connections, len(mailbox.mails)) == (2, 2)


@pytest.mark.parametrize("pipelining", [False, True])
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("MAIL", "421 idle for too long"),
        ("MAIL", "452 too many mails in this session"),
        ("MAIL", "530 sign in again"),
        ("MAIL", "hang up"),
        ("RCPT", "421 closing"),
        ("RCPT", "452 too many recipients in this session"),
        ("RCPT", "hang up"),
        ("END", "421 too many mails in this session"),
        ("END", "451 too many mails in this session"),
    ],
)
def test_what_the_kept_connection_has_had_enough_of_is_sent_at_once_through_a_new_one(
    serve: Serve, message: Message, command: str, answer: str, pipelining: bool
) -> None:
    mailbox = Counting(pipelining=pipelining, again={command: answer})
    with opened(serve(mailbox)) as mail:
        assert send_two(mail, message) == Delivered()
    assert mailbox.connections == 2
    assert len(mailbox.mails) == 2
    assert [people for people, _ in mailbox.mails] == [list(message.recipients)] * 2


def test_where_the_server_has_left_meanwhile_the_next_mail_takes_a_new_connection(
    serve: Serve, message: Message
) -> None:
    mailbox = Counting()
    with opened(serve(mailbox)) as mail:
        assert mail.send(message) == Delivered()
        (server,) = mailbox.greeted
        transport = server.transport
        assert transport is not None
        server.loop.call_soon_threadsafe(transport.close)
        wait_until(transport.is_closing, "the server to leave", PATIENCE_SECONDS)
        assert mail.send(replace(message, key="2" * 64)) == Delivered()
    assert (mailbox.connections, len(mailbox.mails)) == (2, 2)


def test_where_the_end_of_a_mail_was_sent_and_not_answered_it_is_not_sent_at_once(
    serve: Serve, message: Message
) -> None:
    """The server may have taken it: it is a try that failed, and the next one has the same Message-ID."""
    mailbox = Counting(again={"END": "hang up"})
    with opened(serve(mailbox)) as mail:
        outcome = send_two(mail, message)
        assert isinstance(outcome, Retry)
        assert (outcome.failure, outcome.channel_down) == (Failure.UNREACHABLE, True)
        assert mailbox.connections == 1
        assert mail.send(replace(message, key="2" * 64)) == Delivered()
    assert len(mailbox.tried) == 3
    assert mailbox.tried[1] == mailbox.tried[2] != mailbox.tried[0]


def test_an_answer_to_the_end_that_is_none_of_smtp_may_mean_that_the_mail_was_taken(
    serve: Serve, message: Message
) -> None:
    mailbox = Counting(again={"END": "hello there"})
    with opened(serve(mailbox)) as mail:
        outcome = send_two(mail, message)
    assert isinstance(outcome, Retry)
    assert (outcome.failure, outcome.channel_down) == (Failure.UNREACHABLE, True)
    assert outcome.reason.endswith("an answer that is none of SMTP")
    assert (mailbox.connections, len(mailbox.tried)) == (1, 2)


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
def test_a_kept_connection_that_does_not_speak_smtp_any_more_is_left(
    serve: Serve, message: Message, command: str
) -> None:
    mailbox = Counting(again={command: "hello there"})
    with opened(serve(mailbox)) as mail:
        assert send_two(mail, message) == Delivered()
    assert (mailbox.connections, len(mailbox.mails)) == (2, 2)


@pytest.mark.parametrize("code", [b"250", b"251", b"252", b"200"])
def test_what_a_server_takes_is_taken_whatever_else_its_answer_says(message: Message, code: bytes) -> None:
    """The first digit decides (RFC 5321, 4.3.2): what is taken is not to be sent again, and is not dead."""

    def converse(talk: Talk) -> None:
        talk.greet(b"PIPELINING")
        talk.read_to(b"DATA\r\n")
        talk.answer(b"250 OK", code + b" yes", code + b" yes", b"354 go on")
        talk.read_to(b"\r\n.\r\n")
        talk.answer(code + b" taken")

    with speaking(converse) as port, opened(port) as mail:
        assert mail.send(message) == Delivered()


def test_what_is_refused_for_good_is_not_asked_again(serve: Serve, message: Message) -> None:
    mailbox = Counting(again={"RCPT": "550 no such user"})
    with opened(serve(mailbox)) as mail:
        outcome = send_two(mail, message)
        assert isinstance(outcome, Permanent)
        assert outcome.addressee
    assert mailbox.connections == 1


def test_a_refused_mail_is_not_asked_again(serve: Serve, message: Message) -> None:
    mailbox = Counting(again={"END": "554 spam"})
    with opened(serve(mailbox)) as mail:
        assert send_two(mail, message) == Permanent(Failure.REJECTED, "554 spam")
    assert mailbox.connections == 1


@pytest.mark.parametrize("keep_seconds", [0, 60])
def test_commands_that_are_sent_together_still_tell_who_was_refused(
    serve: Serve, message: Message, keep_seconds: float
) -> None:
    mailbox = Counting(pipelining=True, rcpt={"bob@example.org": "550 no such user"})
    with opened(serve(mailbox), keep_seconds=keep_seconds) as mail:
        refused = Delivered(never=(Refusal(("bob@example.org",), "550 no such user"),))
        assert [mail.send(message), mail.send(message)] == [refused, refused]
    assert [people for people, _ in mailbox.mails] == [["alice@example.org"]] * 2
    assert mailbox.connections == (2 if keep_seconds == 0 else 1)


def test_a_server_that_takes_several_commands_at_once_gets_them_so(message: Message) -> None:
    """It answers none before it has DATA, so whoever waited for an answer would wait for ever."""
    heard: list[bytes] = []

    def converse(talk: Talk) -> None:
        talk.greet(b"PIPELINING")
        heard.extend(talk.read_to(b"DATA\r\n").splitlines())
        talk.answer(b"250 OK", b"250 OK", b"250 OK", b"354 go on")
        talk.read_to(b"\r\n.\r\n")
        talk.answer(b"250 taken")

    with speaking(converse) as port, opened(port) as mail:
        assert mail.send(message) == Delivered()
    assert [line.split(b":")[0] for line in heard] == [b"MAIL FROM", b"RCPT TO", b"RCPT TO", b"DATA"]


def test_a_server_that_does_not_offer_it_gets_one_command_at_a_time(message: Message) -> None:
    heard: list[bytes] = []

    def converse(talk: Talk) -> None:
        talk.greet(b"SIZE")
        for answer in (b"250 OK", b"250 OK", b"250 OK", b"354 go on"):
            heard.append(talk.connection.recv(4096))
            talk.answer(answer)
        talk.read_to(b"\r\n.\r\n")
        talk.answer(b"250 taken")

    with speaking(converse) as port, opened(port) as mail:
        assert mail.send(message) == Delivered()
    assert [line.count(b"\r\n") for line in heard] == [1, 1, 1, 1]


def test_a_server_that_wants_a_mail_that_nobody_takes_gets_none(message: Message) -> None:
    heard: list[bytes] = []

    def converse(talk: Talk) -> None:
        talk.greet(b"PIPELINING")
        talk.read_to(b"DATA\r\n")
        talk.answer(b"250 OK", b"550 unknown", b"550 unknown", b"354 go on")
        heard.append(talk.connection.recv(4096))

    with speaking(converse) as port, opened(port) as mail:
        outcome = mail.send(message)
    assert isinstance(outcome, Permanent)
    assert heard == [b""]


def test_a_kept_connection_that_has_fallen_silent_is_not_waited_for(
    message: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a firewall forgot it: a new one is made long before the time of an answer is up."""
    monkeypatch.setattr(connections, "KEPT_SECONDS", 0.1)
    done, silent, was_left = threading.Event(), threading.Event(), list[bool]()

    def converse(talk: Talk) -> None:
        talk.greet(b"PIPELINING")
        talk.take()
        if not silent.is_set():
            silent.set()
            was_left.append(done.wait(PATIENCE_SECONDS))

    with speaking(converse, times=2) as port, opened(port, timeout=3 * PATIENCE_SECONDS) as mail:
        assert send_two(mail, message) == Delivered()
        done.set()
    assert was_left == [True]


@pytest.mark.parametrize(("rest_seconds", "waits"), [(3_600.0, 1), (0.0, 3)], ids=["while it rests", "afterwards"])
def test_a_server_that_is_slow_on_a_kept_connection_is_waited_for_once_in_a_while(
    message: Message, monkeypatch: pytest.MonkeyPatch, rest_seconds: float, waits: int
) -> None:
    """It answers on new ones alone. What waits is what would make each mail slower than without a kept connection."""
    monkeypatch.setattr(connections, "KEPT_SECONDS", 0.1)
    monkeypatch.setattr(kept, "REST_SECONDS", rest_seconds)
    waited_for: list[bytes] = []

    def converse(talk: Talk) -> None:
        talk.greet(b"PIPELINING")
        talk.take()
        more = talk.connection.recv(65_536)
        if more.startswith(b"MAIL"):
            waited_for.append(more)
            talk.connection.recv(65_536)

    with speaking(converse, times=4) as port, opened(port) as mail:
        outcomes = [mail.send(replace(message, key=f"{number}" * 64)) for number in range(4)]
        mail.close()
    assert outcomes == [Delivered()] * 4
    assert len(waited_for) == waits


def test_several_threads_share_none(serve: Serve, message: Message) -> None:
    mailbox = Counting(pipelining=True)
    keys = [f"{number:02}" * 32 for number in range(40)]
    with opened(serve(mailbox)) as mail, ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(lambda key: mail.send(replace(message, key=key)), keys))
    assert outcomes == [Delivered()] * len(keys)
    assert sorted(mailbox.tried) == [f"Message-ID: <{key[:40]}@example.org>" for key in keys]
    assert len(mailbox.mails) == len(keys)
    assert mailbox.connections <= 4


def test_one_that_nobody_needs_is_closed_after_its_time(serve: Serve, message: Message) -> None:
    mailbox = Counting()
    with opened(serve(mailbox), keep_seconds=0.05) as mail:
        assert mail.send(message) == Delivered()
        wait_until(lambda: is_gone(mailbox.greeted[0]), "the connection to be closed", PATIENCE_SECONDS)
        assert mail.send(message) == Delivered()
        wait_until(lambda: is_gone(mailbox.greeted[1]), "the other one to be closed", PATIENCE_SECONDS)
    assert mailbox.connections == 2


def test_closing_closes_what_is_kept_and_nothing_is_kept_from_then_on(serve: Serve, message: Message) -> None:
    mailbox = Counting()
    mail = channel(serve(mailbox))
    assert mail.send(message) == Delivered()
    mail.close()
    wait_until(lambda: is_gone(mailbox.greeted[0]), "the connection to be closed", PATIENCE_SECONDS)
    assert mail.send(message) == Delivered()
    wait_until(lambda: is_gone(mailbox.greeted[1]), "the other one to be closed", PATIENCE_SECONDS)
    del mail
    gc.collect()  # a socket left open would warn, and a warning is an error


def test_lines_that_begin_with_a_dot_arrive_as_they_are(serve: Serve) -> None:
    mailbox = Counting()
    connection = dial(SmtpConfig(host="127.0.0.1", port=serve(mailbox)), None)
    mail = b"Message-ID: <1@example.org>\r\n\r\n.\r\n..\r\n.a\r\n"
    assert connection.post("alerts@example.org", ["alice@example.org"], mail) == {}
    connection.leave()
    assert mailbox.mails == [(["alice@example.org"], mail)]


def authenticator(_server: object, _session: object, _envelope: object, _mechanism: str, data: object) -> AuthResult:
    return AuthResult(success=getattr(data, "password", b"") == PASSWORD.encode(), handled=False)


def test_a_connection_that_is_signed_in_is_kept_and_used_by_none_with_another_password(
    serve: Serve, message: Message
) -> None:
    mailbox = Counting()
    port = serve(mailbox, authenticator=authenticator, auth_require_tls=False)
    with opened(port, user="windsock", password=PASSWORD) as mail:
        assert send_two(mail, message) == Delivered()
        assert mailbox.connections == 1
        with opened(port, user="windsock", password="wrong-password") as other:
            outcome = other.send(message)
    assert isinstance(outcome, Retry)
    assert outcome.failure is Failure.AUTH
    assert (mailbox.connections, len(mailbox.mails)) == (2, 2)


@pytest.mark.parametrize("setting", ["starttls", "ssl"])
def test_an_encrypted_connection_is_kept(
    serve: Serve, message: Message, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = certified(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    mailbox = Counting(pipelining=True)
    options = {"tls_context": context, "require_starttls": True} if setting == "starttls" else {"ssl_context": context}
    with opened(serve(mailbox, **options), **{setting: True}) as mail:
        assert send_two(mail, message) == Delivered()
    assert (mailbox.connections, len(mailbox.mails)) == (1, 2)


def is_gone(server: SMTP) -> bool:
    transport = server.transport
    return transport is None or transport.is_closing()


@dataclass
class Talk:
    """The server's end of one connection, for what aiosmtpd does not do."""

    connection: socket.socket

    def greet(self, offer: bytes) -> None:
        self.answer(b"220 hello")
        self.read_to(b"\r\n")
        self.answer(b"250-here", b"250 " + offer)

    def take(self) -> None:
        """One mail to two people."""
        self.read_to(b"DATA\r\n")
        self.answer(b"250 OK", b"250 OK", b"250 OK", b"354 go on")
        self.read_to(b"\r\n.\r\n")
        self.answer(b"250 taken")

    def answer(self, *lines: bytes) -> None:
        self.connection.sendall(b"".join(line + b"\r\n" for line in lines))

    def read_to(self, end: bytes) -> bytes:
        heard = b""
        while not heard.endswith(end):
            more = self.connection.recv(65_536)
            assert more, "the client has hung up"
            heard += more
        return heard


@contextmanager
def speaking(converse: Callable[[Talk], None], times: int = 1) -> Iterator[int]:
    """A server that has this conversation, so many times at once; its port."""

    def serve_one(server: socket.socket) -> None:
        connection = server.accept()[0]
        with connection, suppress(AssertionError, OSError):  # what matters is what the client says of it
            connection.settimeout(PATIENCE_SECONDS)
            converse(Talk(connection))

    with socket.create_server(("127.0.0.1", 0)) as server:
        threads = [threading.Thread(target=serve_one, args=(server,), daemon=True) for _ in range(times)]
        for thread in threads:
            thread.start()
        yield server.getsockname()[1]
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
