"""Who watches the watchman: the heartbeat that goes out while all is well, and the Watchdog that must come in."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest

from alerting import alertmanager, outbox
from alerting.events import AlertEvent
from alerting.heartbeat import Heartbeat
from alerting.kinds import EventKind
from alerting.meters import NoMeter
from engine.metastore import processes
from engine.metastore.processes import identify
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store
from engine.running.watchman import DeadMansSwitch, Limits
from tests.contract.alerting.test_alertmanager import a_body, an_alert
from tests.integration.scheduling.engine_home import Home
from tests.servers.mail import MailServer
from tests.servers.processes import wait_until
from tests.servers.webhook import Answer, WebhookServer

SECRET = "4f1c2d7e-the-secret-part-of-the-url"
MINUTE = timedelta(minutes=1)


# --- One heartbeat ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_heartbeat_is_one_call(webhook_server: WebhookServer, method: str) -> None:
    assert Heartbeat(f"{webhook_server.url}/{SECRET}", method).send() is None  # type: ignore[arg-type]
    (request,) = webhook_server.requests
    assert (request.method, request.path, request.body) == (method, f"/{SECRET}", b"")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(500), "it was answered with 500"),
        (Answer(404), "it was answered with 404"),
        (
            Answer(301, {"Location": "/elsewhere"}),
            "it was answered with 301: redirects are not followed, so set the URL that it leads to",
        ),
    ],
    ids=["500", "404", "301"],
)
def test_what_is_not_accepted_says_why_without_the_url(
    webhook_server: WebhookServer, answer: Answer, reason: str
) -> None:
    webhook_server.answers.append(answer)
    assert Heartbeat(f"{webhook_server.url}/{SECRET}").send() == reason


@pytest.mark.parametrize("url", [f"http://127.0.0.1:1/{SECRET}", f"https://no-such-host.invalid/{SECRET}"])
def test_nobody_there_is_a_reason_without_the_url(url: str) -> None:
    reason = Heartbeat(url).send()
    assert reason
    assert SECRET not in reason


def test_a_url_is_not_shown() -> None:
    assert SECRET not in repr(Heartbeat(f"http://h/{SECRET}"))


# --- When it is sent --------------------------------------------------------------------------------------------------


class CountingMeter(NoMeter):
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def incr(self, name: str, n: int = 1, /, **tags: str) -> None:
        self.counts[f"{name}:{tags['outcome']}"] += n


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    store = Store(sqlite_url)
    yield store
    store.close()


@pytest.fixture
def scheduler(store: Store) -> str:
    """The row of a scheduler that lives."""
    identity = identify(ProcessKind.SCHEDULER)
    store.run(lambda tx: processes.register(tx, identity))
    return identity.id


def a_switch(store: Store, webhook: WebhookServer, meter: NoMeter | None = None, **limits: float) -> DeadMansSwitch:
    lengths = {name: timedelta(seconds=seconds) for name, seconds in limits.items() if name != "turn_seconds"}
    made = Limits(**{"scheduler": MINUTE, "outbox": MINUTE} | lengths, turn_seconds=limits.get("turn_seconds", 60.0))
    return DeadMansSwitch(store, meter or NoMeter(), Heartbeat(webhook.url), made)


def test_it_is_sent_while_a_scheduler_lives(store: Store, scheduler: str, webhook_server: WebhookServer) -> None:
    switch = a_switch(store, webhook_server)
    assert switch.beat() == "sent"
    store.run(lambda tx: processes.end(tx, [scheduler]))
    assert switch.beat() == "withheld"
    assert len(webhook_server.requests) == 1


def test_a_scheduler_that_shows_no_heartbeat_is_none(
    store: Store, scheduler: str, webhook_server: WebhookServer
) -> None:
    assert a_switch(store, webhook_server, scheduler=-1).beat() == "withheld"


def test_it_is_withheld_while_the_deliverer_hangs(store: Store, scheduler: str, webhook_server: WebhookServer) -> None:
    switch = a_switch(store, webhook_server, turn_seconds=-1)
    switch.turned()
    assert switch.beat() == "withheld"


def test_it_is_withheld_while_somebody_waits_for_an_alert(
    store: Store, scheduler: str, webhook_server: WebhookServer
) -> None:
    switch = a_switch(store, webhook_server)
    assert switch.beat() == "sent"

    def record(age: timedelta) -> None:
        with store.begin() as tx:
            event = AlertEvent(kind=EventKind.TEST, occurred_at=tx.now - age)
            outbox.record(tx.connection, [event])

    record(timedelta(0))
    assert switch.beat() == "sent"
    record(2 * MINUTE)
    assert switch.beat() == "withheld"


def test_it_is_withheld_while_the_metastore_cannot_be_read(webhook_server: WebhookServer) -> None:
    store = Store("sqlite:////nowhere/at/all.db")
    assert a_switch(store, webhook_server).beat() == "withheld"
    store.close()


def test_what_became_of_it_is_counted_and_a_change_logged_once(
    store: Store, scheduler: str, webhook_server: WebhookServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "engine.running.watchman")
    meter = CountingMeter()
    switch = a_switch(store, webhook_server, meter)
    webhook_server.answers.extend([Answer(500), Answer(500)])
    assert [switch.beat() for _ in range(4)] == ["failed", "failed", "sent", "sent"]
    assert meter.counts == {"alerts.heartbeats:failed": 2, "alerts.heartbeats:sent": 2}
    assert [record.getMessage() for record in caplog.records] == [
        "the heartbeat to the dead-man's switch could not be sent: it was answered with 500",
        "the heartbeat to the dead-man's switch is sent again",
    ]


# --- In the notifier --------------------------------------------------------------------------------------------------


@pytest.fixture
def home(smtp_server: MailServer, webhook_server: WebhookServer) -> Iterator[Home]:
    made = Home(
        WINDSOCK__SMTP__SMTP_HOST="127.0.0.1",
        WINDSOCK__SMTP__SMTP_PORT=str(smtp_server.port),
        WINDSOCK__ALERTING__HEARTBEAT_URL="env:SWITCH",
        WINDSOCK__ALERTING__HEARTBEAT_INTERVAL="0.1",
        WINDSOCK__ALERTING__HEARTBEAT_OUTBOX_AGE="2",
        WINDSOCK__ALERTING__WATCHDOG_TIMEOUT="2",
        WINDSOCK__ALERTING__WATCHDOG_REQUIRED="true",
        SWITCH=f"{webhook_server.url}/{SECRET}",
    )
    yield made
    made.close()


def told(home: Home, outcome: str) -> float:
    return home.statsd.total("alerts.heartbeats", outcome=outcome)


def stops(home: Home, webhook: WebhookServer) -> None:
    """Wait until beats are withheld one after the other, and none arrives any more.

    Counts arrive late: the first may be of beats that were withheld before the ones that were sent last.
    """

    def is_silent() -> bool:
        sent, withheld = len(webhook.requests), told(home, "withheld")
        wait_until(lambda: told(home, "withheld") >= withheld + 5, "more beats to be withheld", 60)
        return len(webhook.requests) == sent

    wait_until(is_silent, "the heartbeat to stop", 60)


def test_the_heartbeat_stops_with_the_scheduler_and_with_the_outbox_and_comes_again(
    home: Home, smtp_server: MailServer, webhook_server: WebhookServer
) -> None:
    scheduler = home.start("scheduler")
    home.start("notifier")
    webhook_server.wait_for(3, 60)
    scheduler.send_signal(signal.SIGTERM)
    scheduler.wait(60)
    stops(home, webhook_server)
    home.start("scheduler")
    webhook_server.wait_for(len(webhook_server.requests) + 3, 60)

    smtp_server.stop()
    event = AlertEvent(kind=EventKind.TEST, occurred_at=home.store.run(lambda tx: tx.now), emails=("a@example.org",))
    home.store.run(lambda tx: outbox.record(tx.connection, [event]))
    home.store.wake("notifier")
    stops(home, webhook_server)
    smtp_server.start()
    smtp_server.wait_for(1, 60)
    webhook_server.wait_for(len(webhook_server.requests) + 3, 60)
    log = home.output("notifier")
    assert "is withheld: no scheduler is at work" in log
    assert "is withheld: somebody has waited for an alert since" in log
    assert SECRET not in log


def test_the_notifier_tells_that_the_watchdog_is_missed_and_that_it_comes_again(
    home: Home, smtp_server: MailServer
) -> None:
    (home.folder / "alerting.yml").write_text(
        "receivers: {ops: {email: ops@example.org}}\n"
        "route: {receiver: nobody, routes: [{matchers: 'event=~\"component_.+\"', receiver: ops}]}\n"
    )
    home.start("notifier")
    (mail,) = smtp_server.wait_for(1, 60)
    assert mail.message["Subject"] == "Component down: Prometheus/Alertmanager (Watchdog)"
    payload = alertmanager.read(a_body(an_alert("Watchdog")))
    home.store.run(lambda tx: alertmanager.receive(tx.connection, tx.now, payload))
    home.store.wake("notifier")
    subjects = [mail.message["Subject"] for mail in smtp_server.wait_for(2, 60)]
    assert subjects[1] == "Component up again: Prometheus/Alertmanager (Watchdog)"
