"""A scheduler dies while nobody restarts it, and a DAG file breaks: people hear of both, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from engine.metastore.states import ProcessKind
from engine.metastore.tables import Dag
from tests.contract.metastore.told import told
from tests.integration.scheduling.engine_home import Home
from tests.servers.mail import MailServer
from tests.servers.processes import wait_until
from tests.servers.webhook import WebhookServer

DAG = """
from datetime import datetime, timezone
from engine import DAG, BashOperator

with DAG("daily", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    BashOperator(task_id="t", bash_command="true", email="ann@example.org")
"""


@pytest.fixture
def down_after() -> int:
    """Seconds of silence: by default more than any process says nothing for on a busy machine."""
    return 100


@pytest.fixture
def home(smtp_server: MailServer, webhook_server: WebhookServer, down_after: int) -> Iterator[Home]:
    made = Home(
        WINDSOCK__SMTP__SMTP_HOST="127.0.0.1",
        WINDSOCK__SMTP__SMTP_PORT=str(smtp_server.port),
        WINDSOCK__ALERTING__APPRISE_URLS=f"json://127.0.0.1:{webhook_server.port}/",
        WINDSOCK__ALERTING__COMPONENT_DOWN_AFTER=str(down_after),
        WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="0.5",
        WINDSOCK__SCHEDULER__JOB_HEARTBEAT_SEC="0.5",
        WINDSOCK__SCHEDULER__DAG_DIR_LIST_INTERVAL="0.5",
    )
    made.start("notifier")
    yield made
    made.close()


def titles(webhook: WebhookServer) -> list[str]:
    return [json.loads(request.body)["title"] for request in webhook.requests]


def dag_ids(home: Home) -> list[str]:
    with home.store.read() as connection:
        return list(connection.execute(select(Dag.dag_id)).scalars())


def events(home: Home) -> list[tuple[str, Any]]:
    return [(event.kind.value, event.subject) for event in told(home.store)]


@pytest.mark.parametrize("down_after", [8], ids=["soon"])
def test_a_dead_scheduler_is_told_although_no_scheduler_lives(home: Home, webhook_server: WebhookServer) -> None:
    home.scheduler().kill()
    webhook_server.wait_for(1, 60)
    (title,) = titles(webhook_server)
    assert title.startswith("Component down: scheduler on ")
    home.scheduler()
    wait_until(lambda: len(events(home)) == 2, "the scheduler to be told as up", 60)
    (_, name), (kind, subject) = events(home)
    assert (kind, subject) == ("component_up", name)
    webhook_server.wait_for(2, 60)
    assert titles(webhook_server) == [title, title.replace("down", "up again", 1)]


def test_a_dag_file_that_breaks_is_told_in_chat_and_to_those_who_hear_of_its_failures(
    home: Home, webhook_server: WebhookServer, smtp_server: MailServer
) -> None:
    folder: Path = home.settings.core.dags_folder
    path = folder / "etl" / "daily.py"
    path.parent.mkdir(parents=True)
    path.write_text(DAG)
    home.start("dag-processor")
    wait_until(lambda: home.alive(ProcessKind.DAG_PROCESSOR), "the DAG processor", 60)
    wait_until(lambda: dag_ids(home) == ["daily"], "the DAG", 60)
    path.write_text(f"import no_such_module\n{DAG}")
    (request,) = webhook_server.wait_for(1, 60)
    (mail,) = smtp_server.wait_for(1, 60)
    assert request.json()["title"] == "DAG file broken: etl/daily.py"
    assert mail.recipients == ("ann@example.org",)
    body = mail.message.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert "no_such_module" in text
    assert "these go on as they were: daily." in text
    path.write_text(DAG)
    wait_until(lambda: ("dag_repaired", "etl/daily.py") in events(home), "the file to be mended", 60)
    (_, request) = webhook_server.wait_for(2, 60)
    (_, mail) = smtp_server.wait_for(2, 60)
    assert request.json()["title"] == "DAG file repaired: etl/daily.py"
    assert mail.recipients == ("ann@example.org",)
