"""The notifier as a process: who wakes it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from alerting.clock import database_now
from engine.metastore.states import ProcessKind
from engine.web.queries import frame
from tests.integration.scheduling.engine_home import Home
from tests.servers.mail import MailServer
from tests.servers.processes import wait_until

# A notifier that looks by itself once an hour: what it does sooner, somebody has woken it for.
_WAITING = """
from alerting.deliver import Deliverer
from engine.config import load
from engine.running import callback_requests, notifier
Deliverer.__init__.__kwdefaults__['poll_seconds'] = callback_requests._POLL_SECONDS = 3600.0
notifier.run(load())
"""
_TELLING = "def cb(context):\n    open({told!r}, 'a').close()\n"


@pytest.fixture
def home(smtp_server: MailServer) -> Iterator[Home]:
    made = Home(WINDSOCK__SMTP__SMTP_HOST="127.0.0.1", WINDSOCK__SMTP__SMTP_PORT=str(smtp_server.port))
    yield made
    made.close()


def test_failures_are_told_and_their_callbacks_called_when_they_happen_not_when_somebody_looks(
    home: Home, smtp_server: MailServer
) -> None:
    called = home.folder / "called"
    home.add(
        "d",
        "BashOperator(task_id='t', bash_command='false', email='oncall@example.org', on_failure_callback=cb)",
        preamble=_TELLING.format(told=str(called)),
    )
    home.scheduler()
    home.run([sys.executable, "-c", _WAITING], "notifier")
    wait_until(lambda: home.alive(ProcessKind.NOTIFIER), "the notifier", 30)
    for count in (1, 2, 3):  # the first may be found by its first look
        home.finish("d")
        assert len(smtp_server.wait_for(count, 60)) == count
        wait_until(called.exists, "the callback", 60)
        called.unlink()


def test_a_signal_makes_it_read_alerting_yml_anew_and_a_bad_one_changes_nothing(
    home: Home, smtp_server: MailServer
) -> None:
    home.add("d", "BashOperator(task_id='t', bash_command='false', email='author@example.org')")
    path = home.folder / "alerting.yml"
    path.write_text("receivers: {ops: {email: ops@example.org}}\nroute: {receiver: ops}\n")
    home.scheduler()
    notifier = home.run([sys.executable, "-c", _WAITING], "notifier")
    wait_until(lambda: home.alive(ProcessKind.NOTIFIER), "the notifier", 30)
    home.finish("d")
    assert smtp_server.wait_for(1, 60)[0].recipients == ("ops@example.org",)
    path.write_text("receivers: {ops: {email: ops@example.org}}\nroute: {receiver: opps}\n")
    notifier.send_signal(signal.SIGHUP)
    complaint = "line 2: route.receiver: there is no receiver 'opps', did you mean ops?"
    wait_until(lambda: complaint in home.output("notifier"), "its complaint", 60)
    wait_until(lambda: "did you mean ops?" in refused(home), "the page of alerts to show it", 60)
    home.finish("d")
    assert smtp_server.wait_for(2, 60)[1].recipients == ("ops@example.org",)
    path.unlink()
    notifier.send_signal(signal.SIGHUP)
    wait_until(lambda: not refused(home), "the page of alerts to show it no more", 60)
    home.finish("d")
    assert smtp_server.wait_for(3, 60)[2].recipients == ("author@example.org",)


def refused(home: Home) -> str:
    """What the page shows of the notifier's alerting.yml."""
    with home.store.read() as connection:
        found = frame(connection, timedelta(seconds=30), database_now(connection)).refusal
    return "\n".join(found.lines) if found else ""
