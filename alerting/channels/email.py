"""Mail through SMTP.

The standard library's client rather than apprise's: apprise answers true or false, while delivery here depends on the
SMTP code (later, never, or not these recipients) and on headers of our own (Message-ID, References).
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from alerting.addressees import is_address
from alerting.channels import Delivered, Failure, Message, Outcome, Permanent, Refusal, Retry
from alerting.channels.kept import KeptConnections
from alerting.channels.mime import compose, is_ascii, sender_of
from alerting.channels.smtp import (
    CLOSING,
    FOR_GOOD,
    BeyondAscii,
    Connection,
    LacksUtf8,
    Refused,
    Silent,
    SmtpConfig,
    Stale,
    dial,
)
from alerting.cleaning import one_line, shorten
from alerting.remedies import RESTART
from alerting.routes import EMAIL

AUTH_RETRY_SECONDS: Final = 60.0  # somebody has to correct a setting first
TOO_LARGE: Final = 552
REASON_LIMIT: Final = 500
_CORRECT: Final = (
    "correct `email` in the DAG file for what comes, "
    "and send this one to somebody else: windsock alerts replay NUMBER --to RECEIVER"
)


def mail_channels(config: SmtpConfig) -> list[Email]:
    """The mail channel; none while mail is off, and then mails wait in the outbox."""
    return [Email(config)] if config.host else []


class Email:
    """One mail per message, to all its recipients."""

    name = EMAIL
    concurrency = 4

    def __init__(self, config: SmtpConfig) -> None:
        self._config = config
        self._connections = KeptConnections(config.keep_seconds)
        self._context: ssl.SSLContext | None = None

    def close(self) -> None:
        """Closes the connections that are kept. A mail can be sent all the same."""
        self._connections.close()

    def send(self, message: Message) -> Outcome:
        """Hands the mail to the server. What it refuses is told apart by its codes: 4xx later, 5xx never."""
        usable = tuple(address for address in message.recipients if is_address(address))
        if not usable:
            wrong = ", ".join(map(one_line, message.recipients)) or "none"
            reason = f"no valid mail address: {wrong}; {_CORRECT}"
            return Permanent(Failure.CONFIG, reason, addressee=True)
        mail = compose(message, usable, self._config.mail_from)
        utf8 = not is_ascii([sender_of(self._config.mail_from), *usable])
        try:
            refused = self._hand_over_to_all(mail, usable, utf8=utf8)
        except LacksUtf8 as error:
            return self._sent_to_ascii(message, usable) or self._failed(error)
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            return self._failed(error)
        unusable = tuple(address for address in message.recipients if address not in usable)
        return self._delivered(refused, unusable)

    def _sent_to_ascii(self, message: Message, usable: Sequence[str]) -> Outcome | None:
        """Those whom the server can reach get the mail; None where that is nobody, or the sender is beyond it, too."""
        beyond = tuple(address for address in usable if not address.isascii())
        within = tuple(address for address in message.recipients if address not in beyond)
        if not beyond or len(beyond) == len(usable):
            return None
        outcome = self.send(replace(message, recipients=within))
        if not isinstance(outcome, Delivered):
            return outcome
        return replace(outcome, never=(*outcome.never, *(Refusal((each,), self._lacks_utf8) for each in beyond)))

    @property
    def _lacks_utf8(self) -> str:
        where = f"{self._config.host}:{self._config.port}"
        return f"{where} takes no addresses with letters beyond ASCII (SMTPUTF8)"

    def _hand_over_to_all(self, mail: bytes, recipients: Sequence[str], *, utf8: bool) -> Refused:
        """A server that hangs up at one recipient (421) is asked again for the others: nobody has the mail yet.

        It is the same mail, with headers beyond ASCII where one of all recipients is.
        """
        try:
            return self._hand_over(mail, recipients, utf8=utf8)
        except smtplib.SMTPRecipientsRefused as error:
            refused: Refused = error.recipients
            others = tuple(address for address in recipients if address not in refused)
            if not others:
                raise
        try:
            return refused | self._hand_over(mail, others, utf8=utf8)
        except smtplib.SMTPRecipientsRefused as error:
            raise smtplib.SMTPRecipientsRefused(refused | error.recipients) from None

    def _hand_over(self, mail: bytes, recipients: Sequence[str], *, utf8: bool) -> Refused:
        """Returns the recipients that were refused while others were not. What a kept connection fails at is no try."""
        if (kept := self._connections.take()) is not None:
            try:
                return self._post(kept, mail, recipients, utf8=utf8)
            except Silent:
                self._connections.rest()
            except Stale:
                pass
        return self._post(dial(self._config, self._secured()), mail, recipients, utf8=utf8)

    def _post(self, connection: Connection, mail: bytes, recipients: Sequence[str], *, utf8: bool) -> Refused:
        refused = connection.post(sender_of(self._config.mail_from), recipients, mail, utf8=utf8)
        self._connections.keep(connection)
        return refused

    def _secured(self) -> ssl.SSLContext | None:
        """What the certificates of the server are checked by: made once, since it takes longer than a mail."""
        if self._context is None and (self._config.ssl or self._config.starttls):
            self._context = ssl.create_default_context()
        return self._context

    def _delivered(self, refused: Refused, unusable: tuple[str, ...]) -> Delivered:
        later = [self._refusal((address,), *refused[address]) for address in refused if refused[address][0] < FOR_GOOD]
        never = [self._refusal((address,), *refused[address]) for address in refused if refused[address][0] >= FOR_GOOD]
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
            case LacksUtf8():
                return Permanent(Failure.REJECTED, self._lacks_utf8)
            case smtplib.SMTPNotSupportedError():
                return self._unsupported(where, error)
            case smtplib.SMTPConnectError() | smtplib.SMTPHeloError():
                return Retry(Failure.UNREACHABLE, f"{where}: {self._answer_of(error)}", channel_down=True)
            case smtplib.SMTPResponseException():  # of MAIL FROM, DATA and the rest
                return self._answered(error)
            case ssl.SSLError():
                self._context = None  # whoever corrects the certificates here need not restart
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
        if error.smtp_code == CLOSING:
            return Retry(Failure.BUSY, reason, channel_down=True)
        if error.smtp_code < FOR_GOOD:
            return Retry(Failure.BUSY, reason)
        return Permanent(Failure.REJECTED, reason)

    def _unsupported(self, where: str, error: smtplib.SMTPNotSupportedError) -> Retry:
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
