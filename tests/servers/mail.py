"""A mail server that keeps what it gets."""

from __future__ import annotations

import email
import email.policy
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.servers.processes import free_port


@dataclass(frozen=True, slots=True)
class Mail:
    """One accepted mail."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class MailServer:
    """An SMTP server on 127.0.0.1:`port`; it can be stopped and started again on the same port.

    `answers` holds replies to the next mails, such as ``"451 try later"``; when it is empty, mails are accepted.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.mails: list[Mail] = []
        self.answers: deque[str] = deque()
        self._changed = threading.Condition()
        self._controller: Controller | None = None

    def start(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ready_timeout=30.0)
        self._controller.start()

    def stop(self) -> None:
        """Stop listening; the mails stay. Stopping twice does nothing."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def wait_for(self, count: int, timeout: float = 30.0) -> list[Mail]:
        """The mails, once there are `count` at least."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.mails) >= count, timeout):
                raise TimeoutError(f"waited {timeout:g} s for {count} mails, got {len(self.mails)}")
            return list(self.mails)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Called by aiosmtpd at the end of each mail."""
        received_at = datetime.now(UTC)
        if self.answers:
            return self.answers.popleft()
        content = envelope.content
        message = email.message_from_bytes(
            content if isinstance(content, bytes) else (content or "").encode(), policy=email.policy.default
        )
        with self._changed:
            self.mails.append(Mail(envelope.mail_from or "", tuple(envelope.rcpt_tos), message, received_at))
            self._changed.notify_all()
        return "250 OK"
