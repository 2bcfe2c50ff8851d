"""The first receiver's address does not exist: the next one is told, and mail goes on working."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import Engine

from alerting.channels.email import Email, SmtpConfig
from alerting.config import read
from alerting.deliver import Deliverer
from alerting.events import AlertEvent
from alerting.render import Renderer
from alerting.routes import Plan
from tests.integration.alerting.running import Meter, Running, at_work, history
from tests.servers.mail import Mail, MailServer

RULES = """
receivers:
  on-call: {email: gone@example.org, escalate: {after: 1s, to: lead}}
  lead: {email: lead@example.org}
  operators: {email: [gone@example.org, operator@example.org]}
route:
  receiver: on-call
  routes:
    - {matchers: 'event=~"delivery_.*"', receiver: operators}
"""


class WithoutOneMailbox(MailServer):
    """It knows no gone@example.org."""

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Called by aiosmtpd for each recipient."""
        if address == "gone@example.org":
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"


@pytest.fixture
def post_office() -> Iterator[MailServer]:
    server = WithoutOneMailbox()
    server.start()
    yield server
    server.stop()


def text_of(mail: Mail) -> str:
    return " ".join(str(mail.message.get_body(("plain",)).get_content()).split())  # type: ignore[union-attr]


def test_the_next_one_is_told_and_mail_is_not_declared_broken(
    outbox_engine: Engine, failure: Callable[..., AlertEvent], post_office: MailServer
) -> None:
    plan = Plan(routing=read(RULES, Path("alerting.yml"), {}), failing_after=timedelta(minutes=15))
    mail = Email(SmtpConfig(host="127.0.0.1", port=post_office.port, mail_from="alerts@example.org", timeout=5))
    world = Running(outbox_engine, Meter())
    subject = Deliverer(outbox_engine, [mail], Renderer(lambda *_: [], str), plan, meter=world.meter, poll_seconds=0.2)
    with at_work(subject, world):
        world.record(failure(1), failure(2))
        world.until(dead=2, delivered=3)
        subject._gauges_due = 0.0  # it looks now for channels that are well again
        world.record(failure(3))
        world.until(dead=3, delivered=4)
    to_lead, to_operator = (
        [each for each in post_office.mails if each.recipients == (f"{name}@example.org",)]
        for name in ("lead", "operator")
    )
    assert sorted(str(each.message["Subject"]).partition("daily.")[2][:2] for each in to_lead) == ["t1", "t2", "t3"]
    assert "on-call could not be told through email (every recipient was refused: gone@example.org: 550" in text_of(
        to_lead[0]
    )
    (told,) = to_operator
    assert "Alerts are not delivered: email to gone@example.org" in str(told.message["Subject"])
    kinds = [entry.kind for entry in history(outbox_engine)]
    assert (kinds.count("delivery_failing"), kinds.count("delivery_recovered")) == (1, 0)
