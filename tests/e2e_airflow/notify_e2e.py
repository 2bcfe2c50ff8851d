"""A real Airflow 3.3 whose DAG tells people by ``alerting.notify``: a real mail server and a webhook take it.

Run by `make e2e-airflow E2E_ARGS="-k notify"`, not by `make test`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e_airflow.installation import HERE, RELEASES, install_notify
from tests.e2e_airflow.running import RunningAirflow
from tests.servers.binaries import ROOT
from tests.servers.databases import PostgreSQL
from tests.servers.mail import Mail, MailServer
from tests.servers.processes import free_port
from tests.servers.webhook import Request, WebhookServer

PATIENCE_SECONDS = 300.0
MAILS = 4  # the retry, the failure, the one that is kept, the run
REQUESTS = 6  # these, the one by the routes, and the one by its URL

ALERTING = """
channels:
  hook: json://127.0.0.1:{port}/hook
receivers:
  ops:
    email: oncall@example.com
    channels: [hook]
  team:
    channels: [hook]
  rest:
    email: rest@example.com
route:
  receiver: rest
  group_by: [dag]
  routes:
    - matchers: ['tag="nightly"', 'event="notified"']
      receiver: team
    - matchers: dag="another"
      receiver: ops
"""


@dataclass
class Told:
    """What people have got."""

    mails: list[Mail]
    requests: list[Request]
    outbox: Path

    def request(self, task_id: str, word: str = "") -> Request:
        """The one about a task."""
        about = [one for one in self.requests if f".{task_id}" in one.json()["title"]]
        found = [one for one in about if word in one.json()["message"]]
        assert len(found) == 1, [one.json()["message"] for one in about]
        return found[0]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    release = RELEASES["3.3"]
    release.install()
    home = tmp_path_factory.mktemp("airflow-notify")
    (home / "airflow").mkdir()
    post, hook, postgresql = MailServer(), WebhookServer(), PostgreSQL()
    post.start()
    hook.start()
    config = home / "alerting.yml"
    config.write_text(ALERTING.format(port=hook.port))
    more = {
        "PYTHONPATH": f"{_package(home)}:{install_notify()}",
        "WINDSOCK__ALERTING__CONFIG_FILE": str(config),
        "WINDSOCK__SMTP__SMTP_HOST": "127.0.0.1",
        "WINDSOCK__SMTP__SMTP_PORT": str(post.port),
        "WINDSOCK__SMTP__SMTP_MAIL_FROM": "airflow@example.com",
        # A busy machine: a task whose API does not answer in time is lost, and then Airflow does not know how it ended.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "120",
        "E2E_NOTIFY_OUTBOX": str(home / "outbox.db"),
        "E2E_NOTIFY_URL": f"json://127.0.0.1:{hook.port}/direct",
    }
    dags = HERE / "dags_notify"
    try:
        with RunningAirflow(release, "plain", home / "airflow", postgresql.create(), free_port(), dags, more):
            hook.wait_for(REQUESTS, PATIENCE_SECONDS)
            post.wait_for(MAILS, PATIENCE_SECONDS)
        yield Told(post.mails, hook.requests, home / "outbox.db")
    finally:
        postgresql.stop()
        hook.stop()
        post.stop()


def _package(home: Path) -> Path:
    """The package alone: what an Airflow must not need is not there."""
    folder = home / "package"
    folder.mkdir()
    (folder / "alerting").symlink_to(ROOT / "alerting")
    return folder


def test_each_callback_is_told_once(told: Told) -> None:
    assert (len(told.mails), len(told.requests)) == (MAILS, REQUESTS)
    assert len({mail.message["Message-ID"] for mail in told.mails}) == MAILS


def test_the_template_says_what_happened_in_mail_and_webhook(told: Told) -> None:
    said = "by_receiver of e2e_notify gave up at try 2 of 2:\nValueError: the table is gone"
    assert said in told.request("by_receiver", "gave up").json()["message"]
    (mail,) = [mail for mail in told.mails if "gave up" in _text(mail)]
    assert said in _text(mail)
    assert mail.recipients == ("oncall@example.com",)
    assert "e2e_notify.by_receiver" in mail.message["Subject"]


def test_without_a_template_one_sentence_says_it(told: Told) -> None:
    said = "Attempt 1 of 2 of task by_receiver failed"
    assert said in told.request("by_receiver", said).json()["message"]


def test_without_a_receiver_the_routes_of_alerting_yml_decide_and_nothing_is_grouped(told: Told) -> None:
    assert told.request("by_routes").json()["message"].startswith("by the routes")
    assert not [mail for mail in told.mails if "rest@example.com" in mail.recipients]


def test_an_url_is_told_directly(told: Told) -> None:
    request = told.request("by_url")
    assert request.path == "/direct"
    assert request.json()["message"].startswith("by_url: success")


def test_the_callback_of_the_run_is_told_too(told: Told) -> None:
    (request,) = [one for one in told.requests if "The run ended: task_failure" in one.json()["message"]]
    assert request.json()["title"].startswith("Notice: e2e_notify")


def test_with_an_outbox_the_event_and_its_deliveries_are_rows(told: Told) -> None:
    assert "kept first" in told.request("by_outbox").json()["message"]
    with closing(sqlite3.connect(told.outbox)) as connection:
        rows = connection.execute("SELECT channel, state FROM alert_delivery ORDER BY channel").fetchall()
    assert rows == [("email", "delivered"), ("hook", "delivered")]


def _text(mail: Mail) -> str:
    part = mail.message.get_body(("plain",))
    return str(part.get_content()).replace("\r\n", "\n") if part else ""
