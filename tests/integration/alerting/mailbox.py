"""A mail server's handler that refuses what it is told to refuse."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class Mailbox:
    """Handles mail as it is told: `rcpt` and `data` give the answer for a recipient or a message."""

    rcpt: dict[str, str] = field(default_factory=dict)
    data: str = "250 OK"
    mails: list[tuple[list[str], bytes]] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.rcpt.get(address, "250 OK")
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.data.startswith("2"):
            assert isinstance(envelope.original_content, bytes)
            self.mails.append((envelope.rcpt_tos, envelope.original_content))
        return self.data
