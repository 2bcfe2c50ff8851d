"""From a rule of Prometheus by Alertmanager's webhook to a mail: the same history, routes and silences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from sqlalchemy import select

from alerting import outbox, silences
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.matchers import parse_matcher
from alerting.tables import alert_event, alert_watchdog
from engine.links import WEBHOOK_PATH
from prometheus.alertmanager import Webhook, alertmanager_config
from tests.integration.scheduling.engine_home import Home
from tests.servers.alertmanager import Alertmanager
from tests.servers.mail import Mail, MailServer
from tests.servers.pages import answers
from tests.servers.processes import free_port, wait_until
from tests.servers.prometheus import Prometheus

TOKEN = "a-token-of-24-characters"
ALERTING = """
receivers:
  ops: {email: ops@example.org}
  watch: {email: watch@example.org}
route:
  receiver: nobody
  routes:
    - {matchers: 'event=~"component_.+"', receiver: watch}
    - {matchers: 'event="task_failed"', receiver: ops, group_by: off}
    - {matchers: ['event=~"prometheus_.+"', 'severity=~"critical|info"'], receiver: ops}
"""
# By the last value that was scraped: one scrape that is late on a busy machine does not end an alert.
RULES = {
    "groups": [
        {
            "name": "tests",
            "rules": [
                {
                    "alert": "LevelHigh",
                    "expr": "last_over_time(level[20s]) > 0",
                    "labels": {"severity": "critical"},
                    "annotations": {
                        "summary": "The level of {{ $labels.dag_id }} is high.",
                        "description": "Lower it.",
                    },
                },
                {
                    "alert": "WindsockTaskFailures",
                    "expr": "last_over_time(level[20s]) > 1",
                    "labels": {"severity": "critical"},
                    "annotations": {"runbook_url": "https://windsock.example/runbooks/WindsockTaskFailures.md"},
                },
                {"alert": "WindsockWatchdog", "expr": "vector(1)", "labels": {"severity": "info"}},
            ],
        }
    ]
}


class Levels:
    """A target of Prometheus with one gauge, which the test sets."""

    def __init__(self) -> None:
        self.port = free_port()
        registry = CollectorRegistry()
        self._gauge = Gauge("level", "What the rule looks at", ["dag_id"], registry=registry)
        self._server, self._thread = start_http_server(self.port, "127.0.0.1", registry)

    def set(self, dag_id: str, value: float) -> None:
        self._gauge.labels(dag_id).set(value)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def levels() -> Iterator[Levels]:
    levels = Levels()
    yield levels
    levels.stop()


@pytest.fixture
def home(smtp_server: MailServer) -> Iterator[Home]:
    port = free_port()
    made = Home(
        WINDSOCK__SMTP__SMTP_HOST="127.0.0.1",
        WINDSOCK__SMTP__SMTP_PORT=str(smtp_server.port),
        WINDSOCK__WEBSERVER__WEB_SERVER_PORT=str(port),
        WINDSOCK__ALERTING__WEBHOOK_TOKEN=TOKEN,
        WINDSOCK__ALERTING__WATCHDOG_TIMEOUT="6",
    )
    (made.folder / "alerting.yml").write_text(ALERTING)
    made.start("webserver")
    made.start("notifier")
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), "the web server", 60)
    yield made
    made.close()


@pytest.fixture
def alertmanager(home: Home) -> Iterator[Alertmanager]:
    """With the generated configuration, told to let time pass faster."""
    token = home.folder / "token"
    token.write_text(TOKEN)
    url = f"http://127.0.0.1:{home.settings.webserver.web_server_port}{WEBHOOK_PATH}"
    config: dict[str, Any] = yaml.safe_load(alertmanager_config(Webhook(url, str(token))))
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "2s"}
    server = Alertmanager(config)
    server.start()
    yield server
    server.stop()
    server.remove()


@pytest.fixture
def prometheus(levels: Levels, alertmanager: Alertmanager) -> Iterator[Prometheus]:
    targets = {"levels": [f"127.0.0.1:{levels.port}"], "alertmanager": [f"127.0.0.1:{alertmanager.port}"]}
    # By default what fires is sent once a minute, and what was sent before Alertmanager was found is lost until then.
    server = Prometheus(
        targets, {"tests.yml": yaml.safe_dump(RULES)}, "--rules.alert.resend-delay=3s", seen_at="localhost"
    )
    server.start()
    yield server
    server.stop()


def mails_to(smtp_server: MailServer, address: str) -> list[Mail]:
    return [mail for mail in list(smtp_server.mails) if mail.recipients == (address,)]


def the_mail(smtp_server: MailServer, dag_id: str) -> list[Mail]:
    """Those about WindsockTaskFailures of this DAG."""
    subject = f"Alert: WindsockTaskFailures ({dag_id})"
    return [mail for mail in mails_to(smtp_server, "ops@example.org") if str(mail.message["Subject"]) == subject]


def resolved(smtp_server: MailServer) -> list[Mail]:
    mails = mails_to(smtp_server, "ops@example.org")
    return [mail for mail in mails if str(mail.message["Subject"]) == "Resolved: LevelHigh (sales)"]


def told_last(smtp_server: MailServer) -> str | None:
    """The subject of the last mail about the Watchdog; how many there are depends on how busy the machine is."""
    mails = mails_to(smtp_server, "watch@example.org")
    return str(mails[-1].message["Subject"]) if mails else None


def history(home: Home, dag_id: str) -> list[tuple[str, str, str | None]]:
    with home.store.read() as connection:
        found = outbox.listing(connection, also=[alert_event.c.dag_id == dag_id])
    return [(entry.kind, entry.state, entry.error) for entry in reversed(found)]


def heard_at(home: Home) -> Any:
    with home.store.read() as connection:
        return connection.execute(select(alert_watchdog.c.heard_at)).scalar()


def test_an_alert_reaches_people_once_and_so_does_its_end_and_a_silence_holds_it_back(
    home: Home, levels: Levels, alertmanager: Alertmanager, prometheus: Prometheus, smtp_server: MailServer
) -> None:
    # It fires, and is told once, though Alertmanager repeats it.
    levels.set("sales", 1)
    wait_until(lambda: mails_to(smtp_server, "ops@example.org"), "the alert's mail", 60)
    (mail,) = mails_to(smtp_server, "ops@example.org")
    text = mail.message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert str(mail.message["Subject"]).startswith("Alert: ")
    assert "The level of sales is high." in text
    assert "Lower it." in text
    wait_until(lambda: heard_at(home), "the Watchdog", 60)
    first = heard_at(home)
    wait_until(lambda: heard_at(home) > first + timedelta(seconds=3), "the Watchdog to be repeated", 60)
    # A mail has arrived before it is written down as delivered.
    wait_until(lambda: "sending" not in {state for _, state, _ in history(home, "sales")}, "the note of it", 60)
    assert history(home, "sales") == [("prometheus_firing", "delivered", None)]

    # What a silence accepts is recorded and not told.
    def silence(tx: Any) -> int:
        ends = tx.now + timedelta(hours=1)
        matchers = [parse_matcher("dag=stock")]
        return silences.add(
            tx.connection, tx.now, matchers, author="ops", comment="known", starts_at=tx.now, ends_at=ends
        )

    number = home.store.run(silence)
    levels.set("stock", 1)
    wait_until(lambda: history(home, "stock"), "the alert that is silenced", 60)
    wait_until(lambda: history(home, "stock")[0][1] != "recorded", "its route", 30)
    ((kind, state, reason),) = history(home, "stock")
    assert (kind, state) == ("prometheus_firing", "suppressed")
    assert reason is not None
    assert reason.startswith(f"silence {number} of ops until")

    # What Windsock has told by itself is recorded and not told once more; of another DAG it has told nothing.
    def fail(tx: Any) -> int:
        known = {"dag_id": "orders", "run_id": "r", "task_id": "load", "try_number": 1}
        return outbox.record(tx.connection, [AlertEvent(kind=EventKind.TASK_FAILED, occurred_at=tx.now, **known)])

    home.store.run(fail)
    home.store.wake("notifier")
    wait_until(lambda: [state for _, state, _ in history(home, "orders")] == ["delivered"], "Windsock's own mail", 60)
    levels.set("orders", 2)
    levels.set("returns", 2)
    wait_until(lambda: "suppressed" in {state for _, state, _ in history(home, "orders")}, "the alert left out", 60)
    reason = next(reason for _, state, reason in history(home, "orders") if state == "suppressed")
    assert (reason or "").startswith("Windsock itself told of this: failed (orders.load), alert ")
    wait_until(lambda: the_mail(smtp_server, "returns"), "the alert of which Windsock knows nothing", 60)
    page = the_mail(smtp_server, "returns")[-1].message.get_body(("html",)).get_content()  # type: ignore[union-attr]
    first = page[page.index("<a href=") :]
    assert first.startswith('<a href="https://windsock.example/runbooks/WindsockTaskFailures.md"')
    assert f'href="http://localhost:{prometheus.port}/graph?' in first

    # It is over.
    levels.set("sales", 0)
    wait_until(lambda: resolved(smtp_server), "the mail of its end", 60)
    assert [kind for kind, _, _ in history(home, "sales")] == ["prometheus_firing", "prometheus_resolved"]

    # Alertmanager dies: its silence is told.
    alertmanager.stop()
    down, up = (f"Component {how}: Prometheus/Alertmanager (Watchdog)" for how in ("down", "up again"))
    wait_until(lambda: told_last(smtp_server) == down, "the Watchdog to be missed", 60)
    alertmanager.start()
    wait_until(lambda: told_last(smtp_server) == up, "the Watchdog to come again", 60)
