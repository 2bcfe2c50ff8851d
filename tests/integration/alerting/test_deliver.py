"""The whole way from a recorded event to a message that a real server accepted."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, update

from alerting import deliver, lanes, outbox, overtaken, pace
from alerting.channels import Channel, Delivered, Failure, Message, Outcome, Permanent, Retry
from alerting.channels.chat import receivers
from alerting.channels.email import Email, SmtpConfig
from alerting.clock import database_now
from alerting.config import read
from alerting.database import connect
from alerting.deliver import Deliverer
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.lanes import Worker
from alerting.render import Renderer
from alerting.routes import Plan
from alerting.tables import TABLES, alert_delivery, metadata
from tests.integration.alerting.mailbox import Mailbox
from tests.integration.alerting.running import (
    Meter,
    NoMail,
    Running,
    at_work,
    deliverer,
    history,
    record,
    running,
    states_of,
)
from tests.servers.databases import PostgreSQL
from tests.servers.mail import MailServer
from tests.servers.processes import wait_until
from tests.servers.webhook import Answer, WebhookServer

Failing = Callable[..., AlertEvent]


def mail(port: int, timeout: float = 5) -> Email:
    return Email(SmtpConfig(host="127.0.0.1", port=port, mail_from="alerts@example.org", timeout=timeout))


def chat(server: WebhookServer) -> list[Channel]:
    return [*receivers([f"json://127.0.0.1:{server.port}/hook"])]


def chat_name(server: WebhookServer) -> str:
    return chat(server)[0].name


class Scripted:
    """A receiver that answers as it is told, then accepts."""

    concurrency = 2

    def __init__(self, *answers: Outcome | Callable[[], Outcome], name: str = "scripted-1") -> None:
        self.name = name
        self.answers = list(answers)
        self.sent: list[tuple[str, float]] = []

    def send(self, message: Message) -> Outcome:
        self.sent.append((message.key, time.monotonic()))
        answer = self.answers.pop(0) if self.answers else Delivered()
        return answer() if callable(answer) else answer


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off and probes in tenths of seconds instead of seconds."""
    monkeypatch.setattr(pace, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(pace, "LONGEST_PROBE_SECONDS", 0.3)


def test_a_failure_is_mailed_once_and_told_in_chat_once(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, webhook_server: WebhookServer
) -> None:
    with running(outbox_engine, mail(smtp_server.port), *chat(webhook_server)) as world:
        told = failure()
        world.record(told)
        world.until(delivered=2)
    assert [mail.recipients for mail in smtp_server.mails] == [("alice@example.org",)]
    assert [request.headers["idempotency-key"] for request in webhook_server.requests] == [told.dedup_key]


def test_twenty_failures_are_each_told_when_they_are_recorded_not_when_somebody_looks(
    outbox_engine: Engine,
    failure: Failing,
    smtp_server: MailServer,
    webhook_server: WebhookServer,
    record_property: Callable[[str, object], None],
) -> None:
    with running(outbox_engine, mail(smtp_server.port), *chat(webhook_server), poll_seconds=3600) as world:
        for n in range(20):
            world.record(failure(n))
            world.until(delivered=2 * (n + 1))
    for channel in ("email", chat_name(webhook_server)):
        delays = world.meter.timings[f"alerts.delivery_delay,channel={channel},outcome=delivered"]
        assert len(delays) == 20
        record_property(f"{channel} p50 seconds", statistics.median(delays))
        record_property(f"{channel} p95 seconds", statistics.quantiles(delays, n=20)[-1])


def test_a_burst_is_told_completely(outbox_engine: Engine, failure: Failing, smtp_server: MailServer) -> None:
    with running(outbox_engine, mail(smtp_server.port)) as world:
        world.record(*(failure(n) for n in range(100)))
        world.until(delivered=100)
    assert len({mail.message["Message-ID"] for mail in smtp_server.mails}) == len(smtp_server.mails) == 100


def test_what_was_recorded_while_nobody_ran_is_told_at_the_start(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer
) -> None:
    record(outbox_engine, failure(1), failure(2))
    with running(outbox_engine, mail(smtp_server.port)) as world:
        world.until(delivered=2)


@pytest.mark.usefixtures("impatient")
def test_a_mail_server_that_is_down_holds_up_nobody_and_loses_nothing(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer, webhook_server: WebhookServer
) -> None:
    smtp_server.stop()
    with running(outbox_engine, mail(smtp_server.port), *chat(webhook_server)) as world:
        world.record(*(failure(n) for n in range(30)))
        world.until(delivered=30, pending=30)
        failed = world.meter.counts["alerts.attempt_failures,channel=email,reason=unreachable"]
        wait_until(
            lambda: world.meter.counts["alerts.attempt_failures,channel=email,reason=unreachable"] > failed + 2,
            "probes",
        )
        smtp_server.start()
        world.until(delivered=60)
    assert sorted(len(mail.recipients) for mail in smtp_server.mails) == [1] * 30
    assert max(entry.attempts for entry in history(outbox_engine)) < 5


def test_a_mail_server_that_stalls_does_not_hold_up_chat(
    outbox_engine: Engine, failure: Failing, webhook_server: WebhookServer
) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    email = mail(silent.getsockname()[1], timeout=600)
    with running(outbox_engine, email, *chat(webhook_server)) as world, silent:  # open until all has been looked at
        world.record(*(failure(n) for n in range(10)))
        world.until(delivered=10, sending=email.concurrency, pending=10 - email.concurrency)
    assert len(webhook_server.requests) == 10


class Meeting:
    """A receiver that is told nothing before the other deliverer has a message for it in hand, too."""

    concurrency = 1

    def __init__(self, receiver: Channel, both: threading.Barrier) -> None:
        self.name = receiver.name
        self._receiver = receiver
        self._both: threading.Barrier | None = both

    def send(self, message: Message) -> Outcome:
        both, self._both = self._both, None
        if both is not None:
            both.wait(60)
        return self._receiver.send(message)


def test_several_deliverers_at_once_tell_everything_once(
    outbox_engine: Engine, failure: Failing, webhook_server: WebhookServer
) -> None:
    (receiver,), both = chat(webhook_server), threading.Barrier(2)
    with (
        running(outbox_engine, Meeting(receiver, both)) as first,
        running(outbox_engine, Meeting(receiver, both)) as second,
    ):
        for n in range(0, 100, 10):
            first.record(*(failure(n + i, emails=()) for i in range(10)))
            second.woken.set()
        first.until(delivered=100)
    keys = [request.headers["idempotency-key"] for request in webhook_server.requests]
    assert len(keys) == len(set(keys)) == 100
    assert all(
        world.meter.counts[f"alerts.delivered,channel={chat_name(webhook_server)}"] > 0 for world in (first, second)
    )


@pytest.mark.usefixtures("impatient")
def test_a_receiver_that_asks_for_time_gets_it(outbox_engine: Engine, failure: Failing) -> None:
    receiver = Scripted(Retry(Failure.BUSY, "429", after_seconds=0.6))
    with running(outbox_engine, receiver) as world:
        world.record(failure(emails=()))
        world.until(delivered=1)
    (_, first), (_, second) = receiver.sent
    assert second - first >= 0.6


@pytest.mark.usefixtures("impatient")
def test_after_an_outage_a_retry_whose_attempt_has_ended_is_not_told(
    outbox_engine: Engine, failure: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overtaken, "STALE_AFTER", timedelta(0))  # a short outage will do
    back = threading.Event()
    away = Retry(Failure.UNREACHABLE, "no route", channel_down=True)
    receiver = Scripted(*[lambda: Delivered() if back.is_set() else away] * 1_000, name="email")
    with running(outbox_engine, receiver) as world:
        world.record(failure(1, kind=EventKind.TASK_RETRY, try_number=1, max_tries=2))
        wait_until(lambda: receiver.sent != [], "the first try, which fails")
        told = failure(1, try_number=2, max_tries=2)
        world.record(told)
        wait_until(lambda: "suppressed" in states_of(outbox_engine), "the retry to be set aside")
        back.set()
        world.until(suppressed=1, delivered=1)
    assert receiver.sent[-1][0] == told.dedup_key
    (retry,) = [entry for entry in history(outbox_engine) if entry.state == "suppressed"]
    assert retry.error == "overtaken: attempt 2 failed before this was sent"
    assert world.meter.counts["alerts.suppressed,reason=overtaken"] == 1


def test_a_message_that_is_refused_for_now_does_not_hold_up_the_next(outbox_engine: Engine, failure: Failing) -> None:
    receiver = Scripted(Retry(Failure.BUSY, "451 greylisted", after_seconds=3600))
    with running(outbox_engine, receiver) as world:
        world.record(failure(1, emails=()))
        wait_until(lambda: receiver.sent, "the first attempt")
        world.record(failure(2, emails=()))
        world.until(pending=1, delivered=1)


def test_what_is_refused_for_good_is_dead_with_its_reason(
    outbox_engine: Engine, failure: Failing, webhook_server: WebhookServer
) -> None:
    webhook_server.answers.append(Answer(404))
    with running(outbox_engine, *chat(webhook_server)) as world:
        world.record(failure(emails=()))
        world.until(dead=1)
    assert "404" in (history(outbox_engine)[0].error or "")
    assert world.meter.counts[f"alerts.dead,channel={chat_name(webhook_server)}"] == 1


@pytest.mark.usefixtures("impatient")
def test_what_cannot_be_told_in_time_is_given_up_visibly(outbox_engine: Engine, failure: Failing) -> None:
    receiver = Scripted(Retry(Failure.BUSY, "503 busy"), Retry(Failure.BUSY, "503 busy", after_seconds=3600))
    with running(outbox_engine, receiver, give_up_after=timedelta(minutes=30)) as world:
        world.record(failure(emails=()))
        world.until(dead=1)
    assert history(outbox_engine)[0].error == "given up after 2 attempts; the last: 503 busy"


@pytest.mark.usefixtures("impatient")
def test_a_retry_that_comes_too_late_is_given_up_and_not_sent(outbox_engine: Engine, failure: Failing) -> None:
    def answer_while_its_time_runs_out() -> Outcome:
        with outbox_engine.begin() as connection:
            connection.execute(update(alert_delivery).values(give_up_at=datetime.now(UTC) - timedelta(seconds=1)))
        return Retry(Failure.BUSY, "503 busy")

    receiver = Scripted(answer_while_its_time_runs_out)
    with running(outbox_engine, receiver) as world:
        world.record(failure(emails=()))
        world.until(dead=1)
    assert len(receiver.sent) == 1
    assert (history(outbox_engine)[0].error or "").startswith("given up after 1 attempt;")


def test_mail_waits_with_the_remedy_while_it_is_off_and_is_sent_once_it_is_on(
    outbox_engine: Engine, failure: Failing, smtp_server: MailServer
) -> None:
    def error() -> str:
        return "".join(entry.error or "" for entry in history(outbox_engine))

    without_mail = Deliverer(outbox_engine, [], Renderer(lambda *_: [], str), Plan())
    record(outbox_engine, failure())
    with at_work(without_mail):
        wait_until(lambda: "WINDSOCK__SMTP__SMTP_HOST" in error(), "the remedy")
    assert states_of(outbox_engine) == ["pending"]
    with running(outbox_engine, mail(smtp_server.port)) as world:
        world.until(delivered=1)


def test_mail_that_was_off_for_too_long_is_given_up_and_counted(outbox_engine: Engine, failure: Failing) -> None:
    meter = Meter()
    without_mail = Deliverer(outbox_engine, [], Renderer(lambda *_: [], str), Plan((), timedelta(0)), meter=meter)
    record(outbox_engine, failure())
    with at_work(without_mail):
        wait_until(lambda: states_of(outbox_engine) == ["dead"], "the end")
    assert "then windsock alerts replay" in (history(outbox_engine)[0].error or "")
    wait_until(lambda: meter.counts["alerts.dead,channel=email"] == 1, "the count")


@pytest.mark.usefixtures("impatient")
def test_a_receiver_is_not_said_to_be_back_after_a_message_that_never_left(
    outbox_engine: Engine, failure: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    told_back: list[bool] = []

    def refuse_here() -> Outcome:
        told_back.append("scripted-1 is back" in caplog.text)
        return Permanent(Failure.CONFIG, "no valid address")

    def answer() -> Outcome:
        told_back.append("scripted-1 is back" in caplog.text)
        return Delivered()

    down = Retry(Failure.UNREACHABLE, "refused", channel_down=True)
    receiver = Scripted(down, down, down, down, refuse_here, answer)
    receiver.concurrency = 1
    with running(outbox_engine, receiver) as world:
        world.record(failure(1, emails=()), failure(2, emails=()))
        world.until(dead=1, delivered=1)
        wait_until(lambda: "scripted-1 is back" in caplog.text, "the end of the outage")
    assert told_back == [False, False]


@pytest.mark.usefixtures("impatient")
def test_recipients_who_accepted_are_not_written_to_again(
    outbox_engine: Engine, failure: Failing, serve: Callable[..., int]
) -> None:
    mailbox = Mailbox(rcpt={"bob@example.org": "451 greylisted", "carol@example.org": "550 unknown"})
    everybody = ("alice@example.org", "bob@example.org", "carol@example.org")
    with running(outbox_engine, mail(serve(mailbox))) as world:
        world.record(failure(emails=everybody))
        wait_until(lambda: mailbox.mails, "alice's mail")
        mailbox.rcpt.pop("bob@example.org")
        world.until(delivered=2, dead=1)
    assert [recipients for recipients, _ in mailbox.mails] == [["alice@example.org"], ["bob@example.org"]]


@pytest.mark.usefixtures("impatient")
def test_a_channel_that_raises_is_retried_and_its_message_kept_out_of_the_records(
    outbox_engine: Engine, failure: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    def explode() -> Outcome:
        raise RuntimeError("https://hooks.example/s3cr3t")

    receiver = Scripted(explode)
    with running(outbox_engine, receiver) as world:
        world.record(failure(emails=()))
        world.until(delivered=1)
    assert world.meter.counts["alerts.attempt_failures,channel=scripted-1,reason=internal"] == 1
    assert "s3cr3t" not in caplog.text


def test_a_receiver_that_never_answers_is_written_off_and_its_message_taken_again(
    outbox_engine: Engine, failure: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    def hang() -> Outcome:
        let_go.wait(120)
        return Permanent(Failure.REJECTED, "too late to matter")

    receiver = Scripted(hang, hang)
    with running(outbox_engine, receiver, lease_for=timedelta(seconds=3), poll_seconds=0.05) as world:
        world.record(failure(1, emails=()), failure(2, emails=()))
        world.until(delivered=2)
        let_go.set()
    assert sorted(states_of(outbox_engine)) == ["delivered", "delivered"]
    assert world.meter.counts["alerts.possible_duplicates,channel=scripted-1"] == 2


def test_what_is_accepted_late_still_counts_while_nobody_took_it_over(
    outbox_engine: Engine, failure: Failing, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "HARD_LIMIT", 0.001)  # written off long before its lease ends

    def answer_when_written_off() -> Outcome:
        wait_until(lambda: "gave no answer" in caplog.text, "being written off")
        return Delivered()

    receiver = Scripted(answer_when_written_off)
    with running(outbox_engine, receiver, lease_for=timedelta(minutes=10), poll_seconds=0.05) as world:
        world.record(failure(emails=()))
        world.until(delivered=1)
    assert len(receiver.sent) == 1


def test_what_was_leased_for_a_thread_that_comes_too_late_is_not_sent_by_it(
    outbox_engine: Engine, failure: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease may have run out meanwhile, and somebody else has told it."""
    receiver = Scripted()
    plan = Plan((receiver.name,))
    subject = Deliverer(outbox_engine, [receiver, NoMail()], Renderer(lambda *_: [], str), plan)
    record(outbox_engine, failure(1, emails=()), failure(2, emails=()))
    with outbox_engine.begin() as connection:
        now = database_now(connection)
        outbox.route(connection, now, plan)
        first, second = outbox.lease(connection, now, timedelta(minutes=1), 2, [receiver.name])
    lane = subject._lanes[receiver.name]
    for lease in (first, second):
        lane.offer(lease, now)
    with outbox_engine.begin() as connection:
        outbox.confirm(connection, first, now)
    began = time.monotonic()
    monkeypatch.setattr(lanes.time, "monotonic", lambda: began + lanes.OFFER_SECONDS + 1)
    subject._sender.deliver_next(lane, Worker())
    assert receiver.sent == []  # the lease of the other one lasts
    subject._sender.deliver_next(lane, Worker())
    assert [entry.attempts for entry in history(outbox_engine)] == [1, 1]
    assert (len(receiver.sent), states_of(outbox_engine)) == (1, ["delivered"] * 2)


def test_a_receiver_that_takes_longer_than_the_lease_is_not_told_for_ever(
    outbox_engine: Engine, failure: Failing
) -> None:
    """Its first acceptance settles it, though somebody else holds the lease by then."""
    taken_again, over = threading.Event(), threading.Event()

    def accept_once_it_was_taken_again() -> Outcome:
        taken_again.wait(120)
        return Delivered()

    def never_answer() -> Outcome:
        taken_again.set()
        over.wait(120)
        return Retry(Failure.BUSY, "503 busy")

    receiver = Scripted(accept_once_it_was_taken_again, never_answer)
    with running(outbox_engine, receiver, lease_for=timedelta(seconds=3), poll_seconds=0.05) as world:
        world.record(failure(emails=()))
        world.until(delivered=1)
        over.set()
    assert states_of(outbox_engine) == ["delivered"]
    assert len(receiver.sent) == 2


def test_what_waited_for_a_receiver_that_was_away_until_its_age_says_why(
    outbox_engine: Engine, failure: Failing
) -> None:
    receiver = Scripted(*[Retry(Failure.UNREACHABLE, "nobody listens", channel_down=True)] * 1000)
    receiver.concurrency = 1
    with running(outbox_engine, receiver, give_up_after=timedelta(seconds=3)) as world:
        world.record(*(failure(index, emails=()) for index in range(6)))
        world.until(dead=6)
    assert all((entry.error or "").endswith("nobody listens") for entry in history(outbox_engine))


def test_a_database_that_goes_away_while_sending_costs_no_duplicate(
    postgresql_server: PostgreSQL, failure: Failing
) -> None:
    url = postgresql_server.create()
    engine = connect(url.replace("postgresql://", "postgresql+psycopg://"))
    metadata.create_all(engine, tables=TABLES)

    sending, gone = threading.Event(), threading.Event()

    def send_while_it_goes_away() -> Outcome:
        sending.set()
        gone.wait(120)
        return Delivered()

    receiver = Scripted(send_while_it_goes_away)
    with running(engine, receiver) as world:
        world.record(failure(1, emails=()))
        assert sending.wait(60)
        postgresql_server.stop_process()
        gone.set()
        postgresql_server.start()
        wait_until(lambda: world.meter.counts["alerts.delivered,channel=scripted-1"], "the confirmation")
        world.record(failure(2, emails=()))
        world.until(delivered=2)
    assert len(receiver.sent) == 2
    engine.dispose()
    postgresql_server.drop(url)


def test_a_test_alert_reaches_mail_and_chat(
    outbox_engine: Engine, smtp_server: MailServer, webhook_server: WebhookServer
) -> None:
    test = AlertEvent(kind=EventKind.TEST, occurred_at=datetime.now(UTC), emails=("alice@example.org",))
    with running(outbox_engine, mail(smtp_server.port), *chat(webhook_server)) as world:
        world.record(test)
        world.until(delivered=2)
    assert smtp_server.mails[0].message["Subject"] == "Test alert: Windsock"
    assert webhook_server.requests[0].json()["type"] == "info"


def test_it_measures_what_it_does(outbox_engine: Engine, failure: Failing) -> None:
    receiver = Scripted(Permanent(Failure.REJECTED, "no"))
    record(outbox_engine, failure(1, emails=()), failure(2, emails=()))
    with running(outbox_engine, receiver) as world:
        world.until(delivered=1, dead=1)
    counts = world.meter.counts
    assert counts["alerts.recorded,event=task_failed"] == 2
    assert counts["alerts.delivered,channel=scripted-1"] == 1
    assert counts["alerts.dead,channel=scripted-1"] == 1
    assert counts["alerts.attempt_failures,channel=scripted-1,reason=rejected"] == 1
    assert counts["alerts.possible_duplicates,channel=scripted-1"] == 0
    for outcome in ("delivered", "dead"):
        assert len(world.meter.timings[f"alerts.delivery_delay,channel=scripted-1,outcome={outcome}"]) == 1


def test_it_gauges_what_waits(outbox_engine: Engine, failure: Failing) -> None:
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    record(outbox_engine, failure(1, emails=()), failure(2, emails=(), occurred_at=an_hour_ago))
    meter = Meter()
    deliverer(outbox_engine, [Scripted()], meter)._route()
    assert meter.gauges["alerts.backlog"] == 2
    assert 3600 <= meter.gauges["alerts.oldest_pending_seconds"] < 3660


@pytest.mark.parametrize(("is_woken", "asked"), [(True, 2), (False, 1)])
def test_an_idle_turn_is_two_statements_and_one_where_nobody_woke_it(
    outbox_engine: Engine, is_woken: bool, asked: int
) -> None:
    subject = deliverer(outbox_engine, [Scripted()])
    subject._route()
    subject._is_woken = is_woken
    statements: list[str] = []
    event.listen(outbox_engine, "before_cursor_execute", lambda c, k, statement, *_: statements.append(statement))
    assert subject._route() == 2.0
    assert len([statement for statement in statements if not statement.startswith("BEGIN")]) == asked


@pytest.mark.usefixtures("impatient")
def test_what_nobody_woke_it_for_is_told_all_the_same(outbox_engine: Engine, failure: Failing) -> None:
    """As on another machine: what is new and what is due again are each seen by a look."""
    receiver = Scripted(Retry(Failure.BUSY, "429", after_seconds=0.1))
    subject = deliverer(outbox_engine, [receiver], poll_seconds=0.05)
    turned, stop = threading.Event(), threading.Event()

    def wait(seconds: float) -> bool:
        turned.set()
        stop.wait(min(seconds, 0.05))
        return False

    thread = threading.Thread(target=subject.run, args=(wait, stop))
    thread.start()
    try:
        assert turned.wait(60)
        record(outbox_engine, failure(emails=()))
        wait_until(lambda: states_of(outbox_engine) == ["delivered"], "the alert to be told")
    finally:
        stop.set()
        thread.join(60)
    assert len(receiver.sent) == 2


@pytest.mark.parametrize("step", ["follow_ups.follow_up", "groups.flush", "failing.look"])
def test_what_one_step_cannot_do_holds_up_no_other(
    outbox_engine: Engine,
    failure: Failing,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
) -> None:
    text = "receivers: {ops: {email: ops@example.org, repeat_interval: 1h}}\n"
    text += "route: {receiver: ops, routes: [{matchers: task=t2, group_by: [task], group_wait: 0s}]}"
    plan = Plan(routing=read(text, Path("alerting.yml"), {}), failing_after=timedelta(minutes=15))
    tried = threading.Event()

    def fail(*_: object) -> None:
        tried.set()
        raise LookupError("CANARY")

    monkeypatch.setattr(f"alerting.deliver.{step}", fail)
    monkeypatch.setattr(deliver, "DATABASE_PAUSE_SECONDS", 0.05)
    mail, world = Scripted(name="email"), Running(outbox_engine, Meter())
    with at_work(Deliverer(outbox_engine, [mail], Renderer(lambda *_: [], str), plan), world):
        world.record(failure(2))
        assert tried.wait(60)
        world.record(failure(1))
        told = ("t1", "delivered")
        wait_until(lambda: told in [(entry.task_id, entry.state) for entry in history(outbox_engine)], "t1 to be told")
    (said, *_) = [record.getMessage() for record in caplog.records if "fails, trying again" in record.getMessage()]
    assert "unexpected" not in said
    assert "LookupError in test_deliver.py, line " in said or "LookupError in deliver.py, line " in said
    assert "CANARY" not in caplog.text


def test_it_leaves_no_thread_behind(outbox_engine: Engine, failure: Failing) -> None:
    with running(outbox_engine, Scripted()) as world:
        world.record(failure(emails=()))
        world.until(delivered=1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("alerts-scripted")]


def test_a_plan_that_names_an_unknown_channel_is_refused(outbox_engine: Engine) -> None:
    with pytest.raises(AlertingError, match="slack-1"):
        Deliverer(outbox_engine, [Email(SmtpConfig())], Renderer(lambda *_: [], str), Plan(("slack-1",)))
