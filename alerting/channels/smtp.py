"""A connection to a mail server: one mail at a time, several one after another.

The standard library's client speaks; what it has no notion of is here. It never says whether the end of a mail was
sent, on which it depends whether the server may have taken it. It waits for each answer before the next command, also
where the server takes several at once (PIPELINING, RFC 2920). And it knows nothing of connections that are kept.
"""

from __future__ import annotations

import contextlib
import re
import select
import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

# The default host name looks itself up in the DNS, which can take seconds where there is none.
OUR_NAME: Final = socket.gethostname() or "localhost"
TAKEN: Final = range(200, 300)  # the first digit of an answer decides: RFC 5321, 4.3.2
GO_ON: Final = 354
CLOSING: Final = 421
FOR_NOW: Final = 400  # from here on the server has not taken it
FOR_GOOD: Final = 500  # from here on; an answer below it is for now
FAREWELL_SECONDS: Final = 2.0
KEPT_SECONDS: Final = 3.0  # in which a kept connection has to show that somebody is still there

Refused: TypeAlias = dict[str, tuple[int, bytes]]
_Answer: TypeAlias = tuple[int, bytes]
_CODES: Final = range(200, 600)
_FIRST_DOT: Final = re.compile(rb"^\.", re.MULTILINE)


class BeyondAscii(smtplib.SMTPException):
    """The user name or the password has letters that the client cannot send."""


class LacksUtf8(smtplib.SMTPNotSupportedError):
    """An address has letters beyond ASCII, and the server takes none such (SMTPUTF8, RFC 6531)."""


class Stale(smtplib.SMTPException):
    """A kept connection has come to its end, and the server surely has not taken this mail: a new one is to be made."""


class Silent(Stale):
    """It did not answer in the time that a kept connection is given. The server is gone, or it is slow."""


@dataclass(frozen=True)
class SmtpConfig:
    """The ``smtp.*`` settings. An empty ``host`` means that mail is off; ``timeout`` is in seconds, per answer.

    A connection is kept for so many ``keep_seconds`` after a mail.
    """

    host: str = ""
    port: int = 25
    user: str = ""
    password: str = field(default="", repr=False)
    mail_from: str = "windsock@localhost"
    ssl: bool = False
    starttls: bool = False
    timeout: float = 30.0
    keep_seconds: float = 0.0


class Connection:
    """One that is ready for mail. Not to be used by two threads at the same time."""

    def __init__(self, client: smtplib.SMTP, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._is_kept = False  # it has taken a mail before this one
        self._answered = False  # by the server, during this mail
        self._end_sent = False  # of this mail
        self._unread = 0  # answers to commands that were sent together

    @property
    def is_quiet(self) -> bool:
        """Whether the server has said nothing since its last answer: neither a farewell nor the end."""
        if self._client.sock is None:
            return False
        poll = select.poll()
        poll.register(self._client.sock, select.POLLIN)
        return not poll.poll(0)

    def post(self, sender: str, recipients: Sequence[str], mail: bytes, *, utf8: bool = False) -> Refused:
        """Hands the mail over; returns the recipients that were refused while others were not.

        Raises what ``smtplib.SMTP.sendmail`` does, and then the connection is closed. On one that was kept it raises
        :class:`Stale` where that may be to blame.
        """
        self._answered = self._end_sent = False
        try:
            refused = self._post(self._commands(sender, recipients, len(mail), utf8=utf8), sender, recipients, mail)
        except Exception as error:
            self._give_up()
            if self._is_kept and self._may_be_stale(error):
                raise (Silent if isinstance(error.__context__, TimeoutError) else Stale) from error
            raise
        self._is_kept = True
        return refused

    def _post(self, commands: Sequence[str], sender: str, recipients: Sequence[str], mail: bytes) -> Refused:
        answers = self._answers(commands)
        code, words = next(answers)
        if code not in TAKEN:
            raise smtplib.SMTPSenderRefused(code, words, sender)
        refused = self._refused(answers, recipients)
        code, words = next(answers)
        if code != GO_ON:
            raise smtplib.SMTPDataError(code, words)
        self._client.send(_FIRST_DOT.sub(b"..", mail) + b".\r\n")
        self._end_sent = True
        code, words = self._heard()
        if code not in TAKEN:
            raise smtplib.SMTPDataError(code, words)
        return refused

    def _refused(self, answers: Iterator[_Answer], recipients: Sequence[str]) -> Refused:
        """Those of them that were not taken. Raises where none was, or where another connection might take more."""
        refused: Refused = {}
        for recipient in recipients:
            code, words = next(answers)
            if code not in TAKEN:
                refused[recipient] = (code, words)
            if code == CLOSING:
                raise smtplib.SMTPRecipientsRefused(refused)
        if len(refused) == len(recipients) or (self._is_kept and _any_for_now(refused)):
            raise smtplib.SMTPRecipientsRefused(refused)
        return refused

    def _commands(self, sender: str, recipients: Sequence[str], size: int, *, utf8: bool) -> list[str]:
        if utf8 and not self._client.has_extn("smtputf8"):
            raise LacksUtf8("SMTPUTF8 not supported by server")
        options = f" size={size}" if self._client.has_extn("size") else ""
        if utf8:
            options += " SMTPUTF8 BODY=8BITMIME"
        self._client.command_encoding = "utf-8" if utf8 else "ascii"
        to = [f"RCPT TO:{smtplib.quoteaddr(recipient)}" for recipient in recipients]
        return [f"MAIL FROM:{smtplib.quoteaddr(sender)}{options}", *to, "DATA"]

    def _answers(self, commands: Sequence[str]) -> Iterator[_Answer]:
        """Sent all together where the server takes that, or else one by one as the answers are asked for.

        All together, DATA is sent before it is known that anybody takes the mail. Where nobody does, and the server
        wants it all the same, it gets nothing.
        """
        together = self._client.has_extn("pipelining")
        if together:
            self._client.send("".join(f"{command}\r\n" for command in commands))
            self._unread = len(commands)
        for command in commands:
            if not together:
                self._client.putcmd(command)
            self._wait_at_most(KEPT_SECONDS if self._is_kept and not self._answered else self._timeout)
            answer = self._heard()
            self._answered = True
            self._unread -= together
            yield answer

    def _heard(self) -> _Answer:
        """The next answer. One that has no code says nothing of the mail, nor do those after it."""
        code, words = self._client.getreply()
        if code not in _CODES:
            raise smtplib.SMTPServerDisconnected("an answer that is none of SMTP")
        return code, words

    def _wait_at_most(self, seconds: float) -> None:
        if self._client.sock is not None:
            self._client.sock.settimeout(min(seconds, self._timeout))

    def _may_be_stale(self, error: Exception) -> bool:
        """Whether a new connection may fare better, and the server surely has not taken the mail."""
        match error:
            case smtplib.SMTPSenderRefused():  # it has had enough of our mails, or has forgotten who we are
                return True
            case smtplib.SMTPRecipientsRefused(recipients=refused):
                return _any_for_now(refused)
            case smtplib.SMTPResponseException(smtp_code=code):
                return FOR_NOW <= code < FOR_GOOD or (code < FOR_NOW and not self._end_sent)
            case smtplib.SMTPNotSupportedError():
                return False
            case smtplib.SMTPException() | OSError():  # after the end of the mail nobody knows what became of it
                return not self._end_sent and not (self._answered and isinstance(error.__context__, TimeoutError))
            case _:
                return False

    def _give_up(self) -> None:
        """What was sent together is answered together. A server that waits for the mail all the same gets none."""
        with contextlib.suppress(smtplib.SMTPException, OSError):
            self._wait_at_most(FAREWELL_SECONDS)
            while self._unread and self._client.sock is not None:
                self._unread -= 1
                if self._client.getreply()[0] == GO_ON:
                    self._client.close()
        self.leave()

    def leave(self) -> None:
        """Says good-bye and closes. A quarrel over that undoes nothing of what the server has answered."""
        with contextlib.suppress(smtplib.SMTPException, OSError):
            if self._client.sock is not None:
                self._wait_at_most(FAREWELL_SECONDS)
                self._client.quit()
        self._client.close()


def _any_for_now(refused: Refused) -> bool:
    return any(code < FOR_GOOD for code, _ in refused.values())


def dial(config: SmtpConfig, context: ssl.SSLContext | None) -> Connection:
    """A new connection, encrypted and signed in as the settings want it. Raises what smtplib does."""
    client = _greeted(config, context)
    connection = Connection(client, config.timeout)
    try:
        if client.sock is not None:  # the end of a mail need not wait until the server has heard its beginning
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if config.starttls and not config.ssl:
            _encrypt(client, context)
        if config.user:
            _sign_in(client, config)
        client.ehlo_or_helo_if_needed()
    except Exception:
        connection.leave()
        raise
    return connection


def _greeted(config: SmtpConfig, context: ssl.SSLContext | None) -> smtplib.SMTP:
    if config.ssl:
        return smtplib.SMTP_SSL(config.host, config.port, OUR_NAME, timeout=config.timeout, context=context)
    return smtplib.SMTP(config.host, config.port, OUR_NAME, timeout=config.timeout)


def _encrypt(client: smtplib.SMTP, context: ssl.SSLContext | None) -> None:
    try:
        client.starttls(context=context)
    except smtplib.SMTPResponseException as error:  # there is no mail yet of which it could say anything
        raise smtplib.SMTPConnectError(error.smtp_code, error.smtp_error) from error


def _sign_in(client: smtplib.SMTP, config: SmtpConfig) -> None:
    try:
        client.login(config.user, config.password)
    except UnicodeError:  # its words hold a piece of the password
        raise BeyondAscii from None
