"""kill -9 of a deliverer at each step: nothing is lost, and what is sent twice carries the same key."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from alerting.events import AlertEvent
from tests.integration.alerting.running import history, record, states_of
from tests.servers.mail import MailServer
from tests.servers.processes import wait_until

Failing = Callable[..., AlertEvent]

# Runs a deliverer until all is delivered, or until it shoots itself at the step it is told.
DELIVERER = textwrap.dedent(
    """
    import os, signal, sys, threading
    from datetime import timedelta
    from alerting import outbox
    from alerting.channels.email import Email, SmtpConfig
    from alerting.database import connect
    from alerting.deliver import Deliverer
    from alerting.render import Renderer
    from alerting.routes import Plan

    url, port, step, lease_seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    class Deadly(Email):
        def send(self, message):
            if step == "before sending":
                die()
            outcome = super().send(message)
            if step == "after sending":
                die()
            return outcome

    if step == "while confirming":
        confirm = outbox.confirm
        outbox.confirm = lambda *args, **kwargs: (confirm(*args, **kwargs), die())
    if step == "while routing":
        route = outbox.route
        outbox.route = lambda *args, **kwargs: (route(*args, **kwargs), die())

    config = SmtpConfig(host="127.0.0.1", port=port, mail_from="alerts@example.org", timeout=5)
    stop = threading.Event()
    deliverer = Deliverer(connect(url), [Deadly(config)], Renderer(lambda *_: [], str), Plan(),
                          lease_for=timedelta(seconds=lease_seconds), poll_seconds=0.1)
    deliverer.run(stop.wait, stop)
    """
)


def start(engine: Engine, port: int, step: str, lease_seconds: int) -> subprocess.Popen[bytes]:
    url = engine.url.render_as_string(hide_password=False)
    return subprocess.Popen([sys.executable, "-c", DELIVERER, url, str(port), step, str(lease_seconds)])


@pytest.mark.parametrize(
    ("step", "times_sent"),
    [("while routing", 1), ("before sending", 1), ("after sending", 2), ("while confirming", 2)],
)
def test_a_deliverer_killed_at_any_step_loses_nothing(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, step: str, times_sent: int
) -> None:
    record(outbox_engine, failure())
    assert start(outbox_engine, smtp_server.port, step, lease_seconds=1).wait(60) == -signal.SIGKILL
    assert states_of(outbox_engine) == [{"while routing": "recorded"}.get(step, "sending")]
    successor = start(outbox_engine, smtp_server.port, "never", lease_seconds=60)
    try:
        wait_until(lambda: states_of(outbox_engine) == ["delivered"], "delivery by the successor", 60)
    finally:
        successor.kill()
        successor.wait(20)
    assert len(smtp_server.mails) == times_sent
    assert len({mail.message["Message-ID"] for mail in smtp_server.mails}) == 1
    assert history(outbox_engine)[0].attempts == (1 if step == "while routing" else 2)
