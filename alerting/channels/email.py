"""Mail through SMTP.

The standard library's client rather than apprise's: apprise answers true or false, while delivery here depends on the
SMTP code (later, never, or not these recipients) and on headers of our own (Message-ID, References).
"""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Final

from alerting.addressees import is_address
from alerting.channels import Attachment, Channel, Delivered, Failure, Message, Outcome, Permanent, Refusal, Retry
from alerting.cleaning import one_line, shorten
from alerting.remedies import RESTART
from alerting.routes import EMAIL

AUTH_RETRY_SECONDS: Final = 60.0  # somebody has to correct a setting first
SERVICE_CLOSING: Final = 421
TOO_LARGE: Final = 552
REASON_LIMIT: Final = 500
# The default host name looks itself up in the DNS, which can take seconds where there is none.
_OUR_NAME: Final = socket.gethostname() or "localhost"


Refused = dict[str, tuple[int, bytes]]


class BeyondAscii(smtplib.SMTPException):
    """The user name or the password has letters that the client cannot send."""


@dataclass(frozen=True)
class SmtpConfig:
    """The ``smtp.*`` settings. An empty ``host`` means that mail is off; ``timeout`` is in seconds, per answer."""

    host: str = ""
    port: int = 25
    user: str = ""
    password: str = field(default="", repr=False)
    mail_from: str = "windsock@localhost"
    ssl: bool = False
    starttls: bool = False
    timeout: float = 30.0


def mail_channels(config: SmtpConfig) -> list[Channel]:
    """The mail channel; none while mail is off, and then mails wait in the outbox."""
    return [Email(config)] if config.host else []


class Email:
    """One mail per message, to all its recipients."""

    name = EMAIL
    concurrency = 4

    def __init__(self, config: SmtpConfig) -> None:
        self._config = config

    def send(self, message: Message) -> Outcome:
        """Hands the mail to the server. What it refuses is told apart by its codes: 4xx later, 5xx never."""
        usable = tuple(address for address in message.recipients if is_address(address))
        if not usable:
            wrong = ", ".join(map(one_line, message.recipients)) or "none"
            reason = f"no valid mail address: {wrong}; correct `email` in the DAG file"
            return Permanent(Failure.CONFIG, reason, addressee=True)
        mail = compose(message, usable, self._config.mail_from)
        try:
            refused = self._hand_over_to_all(mail, usable)
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            return self._failed(error)
        unusable = tuple(address for address in message.recipients if address not in usable)
        return self._delivered(refused, unusable)

    def _hand_over_to_all(self, mail: EmailMessage, recipients: tuple[str, ...]) -> Refused:
        """A server that hangs up at one recipient (421) is asked again for the others: nobody has the mail yet."""
        try:
            return self._hand_over(mail, recipients)
        except smtplib.SMTPRecipientsRefused as error:
            refused: Refused = error.recipients
            others = tuple(address for address in recipients if address not in refused)
            if not others:
                raise
        try:
            return refused | self._hand_over(mail, others)
        except smtplib.SMTPRecipientsRefused as error:
            raise smtplib.SMTPRecipientsRefused(refused | error.recipients) from None

    def _hand_over(self, mail: EmailMessage, recipients: tuple[str, ...]) -> Refused:
        """Returns the recipients that were refused while others were not."""
        client = self._connect()
        try:
            if self._config.starttls and not self._config.ssl:
                client.starttls(context=ssl.create_default_context())
            if self._config.user:
                self._sign_in(client)
            sender = parseaddr(self._config.mail_from)[1]
            return client.send_message(mail, from_addr=sender, to_addrs=list(recipients))
        finally:
            # The server has answered; a quarrel over the farewell must not undo that.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                client.quit()
            client.close()

    def _sign_in(self, client: smtplib.SMTP) -> None:
        try:
            client.login(self._config.user, self._config.password)
        except UnicodeError:  # its words hold a piece of the password
            raise BeyondAscii from None

    def _connect(self) -> smtplib.SMTP:
        c = self._config
        if c.ssl:
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(c.host, c.port, _OUR_NAME, timeout=c.timeout, context=context)
        return smtplib.SMTP(c.host, c.port, _OUR_NAME, timeout=c.timeout)

    def _delivered(self, refused: Refused, unusable: tuple[str, ...]) -> Delivered:
        later = [self._refusal((address,), *refused[address]) for address in refused if refused[address][0] < 500]
        never = [self._refusal((address,), *refused[address]) for address in refused if refused[address][0] >= 500]
        never += [Refusal((address,), f"not a valid mail address: {one_line(address)}") for address in unusable]
        return Delivered(tuple(later), tuple(never))

    def _refusal(self, addresses: tuple[str, ...], code: int, answer: bytes) -> Refusal:
        return Refusal(addresses, self._answer(code, answer))

    def _failed(self, error: Exception) -> Outcome:
        where = f"{self._config.host}:{self._config.port}"
        match error:
            case smtplib.SMTPRecipientsRefused(recipients=refused):
                return self._all_refused(refused)
            case smtplib.SMTPAuthenticationError():
                return self._misconfigured(
                    f"{where} does not accept the user name and password ({self._answer_of(error)}): check "
                    "WINDSOCK__SMTP__SMTP_USER and WINDSOCK__SMTP__SMTP_PASSWORD"
                )
            case BeyondAscii():
                return self._misconfigured(
                    "the user name and the password of mail can have letters of ASCII alone: give "
                    "WINDSOCK__SMTP__SMTP_USER and WINDSOCK__SMTP__SMTP_PASSWORD others"
                )
            case smtplib.SMTPSenderRefused(smtp_code=code) if code >= 500 and code != TOO_LARGE:
                return self._misconfigured(
                    f"{where} takes no mail from {one_line(self._config.mail_from)} ({self._answer_of(error)}): check "
                    "WINDSOCK__SMTP__SMTP_MAIL_FROM, WINDSOCK__SMTP__SMTP_USER and WINDSOCK__SMTP__SMTP_PASSWORD"
                )
            case smtplib.SMTPNotSupportedError():
                return self._unsupported(where, error)
            case smtplib.SMTPConnectError() | smtplib.SMTPHeloError():
                return Retry(Failure.UNREACHABLE, f"{where}: {self._answer_of(error)}", channel_down=True)
            case smtplib.SMTPResponseException():  # of MAIL FROM, DATA and the rest
                return self._answered(error)
            case ssl.SSLError():
                reason = getattr(error, "verify_message", "") or error.reason or str(error)
                return self._misconfigured(
                    f"no secure connection to {where}: {reason}; check its certificate, WINDSOCK__SMTP__SMTP_SSL "
                    "and WINDSOCK__SMTP__SMTP_STARTTLS"
                )
            case TimeoutError():  # of connecting or encrypting: later on, the client says that the server hung up
                no_connection = f"{where}: no connection in {self._config.timeout:g} s"
                return Retry(Failure.UNREACHABLE, no_connection, channel_down=True)
            case _ if isinstance(error.__context__, TimeoutError):
                return Retry(
                    Failure.TIMEOUT,
                    f"{where} did not answer in {self._config.timeout:g} s",
                    channel_down=True,
                )
            case UnicodeError():
                return Permanent(Failure.REJECTED, f"{where} takes no such address or header: {error}")
            case _:  # refused, reset, no route, no such host, closed in the middle
                return Retry(Failure.UNREACHABLE, f"{where}: {self._redact(str(error))}", channel_down=True)

    def _all_refused(self, refused: Refused) -> Outcome:
        reasons = "; ".join(
            f"{one_line(address)}: {self._answer(code, answer)}" for address, (code, answer) in refused.items()
        )
        if all(code >= 500 for code, _ in refused.values()):
            told = f"every recipient was refused: {shorten(reasons, REASON_LIMIT)}"
            return Permanent(Failure.REJECTED, told, addressee=True)
        return Retry(Failure.BUSY, f"no recipient was taken: {shorten(reasons, REASON_LIMIT)}", addressee=True)

    def _answered(self, error: smtplib.SMTPResponseException) -> Outcome:
        reason = self._answer_of(error)
        if error.smtp_code == SERVICE_CLOSING:
            return Retry(Failure.BUSY, reason, channel_down=True)
        if 400 <= error.smtp_code < 500:
            return Retry(Failure.BUSY, reason)
        return Permanent(Failure.REJECTED, reason)

    def _unsupported(self, where: str, error: smtplib.SMTPNotSupportedError) -> Outcome:
        if "SMTPUTF8" in str(error):
            return Permanent(Failure.REJECTED, f"{where} takes no addresses with letters beyond ASCII (SMTPUTF8)")
        remedy = (
            "clear WINDSOCK__SMTP__SMTP_STARTTLS" if "STARTTLS" in str(error) else "clear WINDSOCK__SMTP__SMTP_USER"
        )
        return self._misconfigured(f"{where}: {one_line(str(error))}; correct the server or {remedy}")

    def _misconfigured(self, reason: str) -> Retry:
        """It can be corrected without the alert being lost, so it is tried again, slowly."""
        return Retry(Failure.AUTH, f"{reason}, then {RESTART}", after_seconds=AUTH_RETRY_SECONDS, channel_down=True)

    def _answer_of(self, error: smtplib.SMTPResponseException) -> str:
        return self._answer(error.smtp_code, error.smtp_error)

    def _answer(self, code: int, answer: bytes | str) -> str:
        text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
        return f"{code} {shorten(self._redact(text), REASON_LIMIT)}"

    def _redact(self, text: str) -> str:
        password = self._config.password
        return one_line(text.replace(password, "***") if password else text)


def compose(message: Message, recipients: tuple[str, ...], mail_from: str) -> EmailMessage:
    """The mail. Its Message-ID is the same on every attempt; References files a run's mails together."""
    domain = _domain(mail_from)
    root = f"<run.{message.thread[:40]}@{domain}>"
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"] = one_line(mail_from)
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = one_line(message.subject)
    mail["Date"] = format_datetime(message.occurred_at)
    mail["Message-ID"] = f"<{message.key[:40]}@{domain}>"
    mail["In-Reply-To"] = root
    mail["References"] = root
    mail["Auto-Submitted"] = "auto-generated"  # out-of-office robots keep quiet
    mail["X-Windsock-Key"] = message.key
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    for attachment in message.attachments:
        _attach(mail, attachment)
    return mail


def _attach(mail: EmailMessage, attachment: Attachment) -> None:
    """A picture belongs to the page, which shows it by its name; anything else is a file beside the text."""
    maintype, _, subtype = attachment.type.partition("/")
    page = mail.get_body(("html",))
    if attachment.alt and isinstance(page, EmailMessage):
        page.add_related(
            attachment.content,
            maintype,
            subtype,
            cid=f"<{attachment.name}>",
            filename=attachment.name,
            disposition="inline",
        )
        return
    charset = {"charset": "utf-8"} if maintype == "text" else {}
    mail.add_attachment(attachment.content, maintype, subtype, filename=attachment.name, params=charset)


def _domain(mail_from: str) -> str:
    try:
        return parseaddr(one_line(mail_from))[1].rpartition("@")[2].encode("idna").decode() or "localhost"
    except UnicodeError:
        return "localhost"
