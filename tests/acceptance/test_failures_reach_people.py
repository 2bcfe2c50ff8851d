"""A task fails, and people hear of it: once each, soon, readable, and also when the mail server was away."""

# ruff: noqa: T201 - the delays are measured here, printed with pytest -s, and kept in the report as properties
from __future__ import annotations

import html
import os
import re
import signal
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from urllib.parse import urlsplit

import pytest

from tests.servers.machine import Machine
from tests.servers.mail import Mail, MailServer
from tests.servers.processes import wait_until
from tests.servers.webhook import WebhookServer

RecordProperty = Callable[[str, object], None]
OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "3"))  # 120 for the whole story
FAILURES = 20

# Several tasks that fail at once; the last in its second attempt.
CRASHES = f"""
from datetime import timedelta
from engine import DAG, BashOperator

with DAG("crashes", schedule=None, max_active_tasks={FAILURES}, default_args={{"email": "oncall@example.com"}}):
    for number in range({FAILURES}):
        BashOperator(task_id=f"crash_{{number}}", bash_command=f"echo 'about to crash {{number}}'; exit {{number + 1}}")

with DAG("stubborn", schedule=None, default_args={{"email": ["oncall@example.com"], "email_on_retry": False}}):
    BashOperator(task_id="t", bash_command="exit 7", retries=1, retry_delay=timedelta(seconds=0))
"""


@pytest.fixture(scope="module")
def post() -> Iterator[MailServer]:
    """The mail server of the people on call."""
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def chat() -> Iterator[WebhookServer]:
    """Their chat."""
    server = WebhookServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, post: MailServer, chat: WebhookServer) -> Iterator[Machine]:
    made = Machine(
        tmp_path_factory.mktemp("home"),
        WINDSOCK__SMTP__SMTP_HOST="127.0.0.1",
        WINDSOCK__SMTP__SMTP_PORT=str(post.port),
        WINDSOCK__SMTP__SMTP_MAIL_FROM="windsock@example.com",
        WINDSOCK__ALERTING__APPRISE_URLS=f"json://127.0.0.1:{chat.port}/",
    )
    made.write_dag("crashes.py", CRASHES)
    made.call("up", "--detach")
    yield made
    made.call("down")


@pytest.fixture(autouse=True)
def _empty_boxes(machine: Machine, post: MailServer, chat: WebhookServer) -> None:
    """Nothing of an earlier test is under way any more."""
    wait_until(lambda: unsettled(machine) == 0, "every alert to be settled", timeout=60)
    post.mails.clear()
    chat.requests.clear()


def fail(machine: Machine, dag_id: str = "example_failure_email") -> None:
    """Trigger a DAG that fails, and wait until it has."""
    assert "run failed" in machine.call("dags", "trigger", dag_id, "--wait", "--timeout", "60", status=1).stdout


def restart_notifier(machine: Machine, how: signal.Signals) -> None:
    pid = machine.status()["notifier"]["pid"]
    os.kill(pid, how)

    def is_back() -> bool:
        row = machine.status()["notifier"]
        return bool(row["pid"] not in (None, pid) and row["state"] == "healthy")

    wait_until(is_back, "another notifier", timeout=60)


def unsettled(machine: Machine) -> int:
    """How many alerts have not got to their end."""
    events = machine.query("SELECT count(*) AS n FROM alert_event WHERE routed_at IS NULL")[0]["n"]
    deliveries = machine.query("SELECT count(*) AS n FROM alert_delivery WHERE state IN ('pending', 'sending')")
    return int(events + deliveries[0]["n"])


def parts(message: EmailMessage) -> tuple[str, str]:
    """The text and the HTML of a mail; the HTML as a person reads it."""
    plain, rich = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert rich is not None
    shown = re.sub(r"<(style|head)\b.*?</\1>", " ", rich.get_content(), flags=re.DOTALL)
    return plain.get_content(), html.unescape(re.sub(r"<[^>]+>", " ", shown))


def test_one_failure_is_one_mail_and_one_chat_message(machine: Machine, post: MailServer, chat: WebhookServer) -> None:
    fail(machine)
    post.wait_for(1)
    chat.wait_for(1)
    wait_until(lambda: unsettled(machine) == 0, "every alert to be settled")
    for how in (signal.SIGTERM, signal.SIGKILL):
        restart_notifier(machine, how)
    machine.call("alerts", "test")  # when it has arrived, the new notifier has looked at the whole outbox
    assert len(post.mails) == 1
    titles = [request.json()["title"] for request in chat.wait_for(2)]
    assert ["example_failure_email" in title for title in titles] == [True, False]


def test_the_mail_says_what_a_person_needs(machine: Machine, post: MailServer) -> None:
    fail(machine)
    (mail,) = post.wait_for(1)
    assert mail.recipients == ("oncall@example.com",)
    assert mail.sender == "windsock@example.com"
    assert "example_failure_email" in mail.message["Subject"]
    assert "fail" in mail.message["Subject"]
    for part in parts(mail.message):
        assert "example_failure_email" in part
        assert re.search(r"\bfail\b", part)
        assert "attempt 1 of 1" in part.lower()
        assert "ZeroDivisionError: division by zero" in part
        assert "Dividing 1 by 0." in part


def test_the_link_of_the_mail_leads_to_the_attempt_and_its_log(machine: Machine, post: MailServer) -> None:
    fail(machine)
    (mail,) = post.wait_for(1)
    text = parts(mail.message)[0]
    rich = mail.message.get_body(("html",))
    assert rich is not None
    link = re.findall(r"http://\S+", text)[0]  # the run and the runbook come after it
    assert f'href="{html.escape(link)}"' in rich.get_content()
    with closing(machine.signed_in()) as browser:
        page = browser.get(urlsplit(link)._replace(scheme="", netloc="").geturl())
    assert page.status_code == 200
    assert "ZeroDivisionError" in page.text


def test_the_chat_message_says_what_a_person_needs(machine: Machine, chat: WebhookServer) -> None:
    fail(machine)
    (request,) = chat.wait_for(1)
    told = f"{request.json()['title']}\n{request.json()['message']}"
    for words in ("example_failure_email", "fail", "attempt 1 of 1", "ZeroDivisionError: division by zero"):
        assert words.lower() in told.lower()


def test_a_task_with_retries_is_told_after_the_last_attempt_only(
    machine: Machine, post: MailServer, chat: WebhookServer
) -> None:
    fail(machine, "stubborn")
    (mail,) = post.wait_for(1)
    chat.wait_for(1)
    wait_until(lambda: unsettled(machine) == 0, "every alert to be settled")
    assert (len(post.mails), len(chat.requests)) == (1, 1)
    assert all("attempt 2 of 2" in part.lower() for part in parts(mail.message))


def delays(machine: Machine, mails: list[Mail], dag_id: str) -> list[timedelta]:
    """From the end of each attempt, as the metastore has it, to the arrival of its mail; shortest first."""
    rows = machine.query(
        "SELECT i.run_id, i.task_id, a.end_date FROM task_attempt a JOIN task_instance i ON i.id = a.ti_id "
        "WHERE i.dag_id = ? ORDER BY a.end_date", dag_id,
    )  # fmt: skip
    ended = {(row["run_id"], row["task_id"]): datetime.fromisoformat(row["end_date"]) for row in rows}
    found = []
    for mail in mails:
        text = parts(mail.message)[0]
        (end,) = (end for (run, task), end in ended.items() if run in text and re.search(rf"\b{task}\b", text))
        found.append(mail.received_at - end.replace(tzinfo=end.tzinfo or UTC))
    return sorted(found)


def tell(found: list[timedelta], record_property: RecordProperty) -> None:
    """Print and keep the delays. They depend on what else the machine does, so no test fails by them."""
    seconds = [delay.total_seconds() for delay in found]
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    told = {"p50": statistics.median(seconds), "p95": cuts[-1], "longest": seconds[-1]}
    for name, value in told.items():
        record_property(f"{name} seconds to the mail", round(value, 3))
    print(f"\n{len(seconds)} failures, seconds to the mail:", *(f"{name} {value:.3f}" for name, value in told.items()))


def test_twenty_failures_one_after_the_other_are_each_told(
    machine: Machine, post: MailServer, record_property: RecordProperty
) -> None:
    for _ in range(FAILURES):
        machine.trigger("example_failure_email")
    found = delays(machine, post.wait_for(FAILURES, 60), "example_failure_email")
    assert len(found) == FAILURES
    tell(found, record_property)


def test_twenty_failures_at_once_are_each_told(
    machine: Machine, post: MailServer, record_property: RecordProperty
) -> None:
    fail(machine, "crashes")
    found = delays(machine, post.wait_for(FAILURES, 60), "crashes")
    assert len(found) == FAILURES
    tell(found, record_property)


def test_nothing_is_lost_while_the_mail_server_is_away(machine: Machine, post: MailServer, chat: WebhookServer) -> None:
    post.stop()
    away_until = datetime.now(UTC) + timedelta(seconds=OUTAGE_SECONDS)
    fail(machine, "crashes")
    fail(machine)
    chat.wait_for(FAILURES + 1)  # is not held up by the mail server
    restart_notifier(machine, signal.SIGKILL)
    wait_until(lambda: datetime.now(UTC) >= away_until, "the end of the outage", OUTAGE_SECONDS + 1)
    fail(machine)
    chat.wait_for(FAILURES + 2)
    back = datetime.now(UTC)
    post.start()
    mails = post.wait_for(FAILURES + 2, 90)
    print(f"\nall mails {max(mail.received_at for mail in mails) - back} after the mail server was back")
    wait_until(lambda: unsettled(machine) == 0, "every alert to be settled")
    told = Counter(str(mail.message["Subject"]).partition(" (")[0] for mail in post.mails)
    crashes = {f"Failed: crashes.crash_{number}": 1 for number in range(FAILURES)}
    assert told == crashes | {"Failed: example_failure_email.fail": 2}
    assert len({mail.message["Message-ID"] for mail in post.mails}) == len(post.mails) == FAILURES + 2
    assert len(chat.requests) == FAILURES + 2
