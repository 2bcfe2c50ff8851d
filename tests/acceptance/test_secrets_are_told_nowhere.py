"""Secrets that tasks, DAG files, templates and channels let slip are in no message, log, page, table or answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from email.message import EmailMessage

import pytest

from tests.servers.machine import Machine
from tests.servers.mail import MailServer
from tests.servers.processes import free_port, wait_until
from tests.servers.webhook import Answer, WebhookServer

CANARIES = {
    "connection": "c0nn-canary-7f31",
    "variable": "vari-canary-8a42",
    "environment": "envi-canary-9b53",
    "URL": "urlp-canary-ac64",
    "bearer": "bear-canary-bd75",
    "mail": "mail-canary-ce86",
    "channel": "chan-canary-df97",
    "file": "file-canary-e0a8",
    "HMAC": "hmac-canary-f1b9",
    "unusable": "unus-canary-02ca",
    "path": "path-canary-13db",
    "key in the file": "keyf-canary-24ec",
    "variable of the file": "room-canary-35fd",
    "heartbeat": "beat-canary-460e",
}
OF_THE_FILE = ("file", "HMAC", "path", "key in the file", "variable of the file", "heartbeat")
# What a real program would print: settings whole, and parts of them put together.
LEAKS = """
import os
from engine import DAG, BashOperator, PythonOperator

def told():
    url = "https://robot:" + os.environ["CANARY_HALF"] + "@warehouse.example.com/orders"
    bearer = "Authorization: Bearer " + os.environ["CANARY_OTHER_HALF"]
    known = [os.environ[name] for name in ("AIRFLOW_CONN_WAREHOUSE", "AIRFLOW_VAR_API_TOKEN", "SERVICE_PASSWORD")]
    return " ".join([url, bearer, *known, *os.environ["COPIES"].split()])

def fail():
    for number in range(3):
        print("reading with", told())
    raise RuntimeError("cannot read with " + told())

def callback(context):
    print("calling with", told())
    raise RuntimeError("cannot call with " + told())

with DAG("leaks", schedule=None, default_args={"email": "oncall@example.com", "on_failure_callback": callback}):
    PythonOperator(task_id="python", python_callable=fail)
    BashOperator(task_id="bash", bash_command="env | grep -v CANARY; echo cannot sign with $COPIES; exit 3")
"""
BROKEN = """
import os
from engine import DAG
raise RuntimeError("cannot load with " + os.environ["AIRFLOW_CONN_WAREHOUSE"] + os.environ["SERVICE_PASSWORD"])
"""
ALERTING = """
channels:
  room: {{url: "env:ROOM_URL", hmac_secret: "env:ROOM_HMAC"}}
  closed: {{url: "json://robot:{file}@127.0.0.1:{closed}/hooks", hmac_secret: "{key}"}}
  away: "json://127.0.0.1:{away}/hooks/{path}"
  lost: env:LOST_URL
receivers:
  everybody:
    channels: [room, closed, away, lost]
    task_email: true
route:
  receiver: everybody
  routes:
    - receiver: settings
      continue: true
    - receiver: everybody
"""


@pytest.fixture(scope="module")
def closed() -> Iterator[WebhookServer]:
    """A receiver that refuses, and repeats what it was sent."""
    server = WebhookServer()
    server.start()
    server.answers.extend([Answer(403, body=f"no {CANARIES['channel']} {CANARIES['file']}".encode())] * 100)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def room() -> Iterator[WebhookServer]:
    """A receiver that takes everything."""
    server = WebhookServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def post() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def machine(
    tmp_path_factory: pytest.TempPathFactory, post: MailServer, room: WebhookServer, closed: WebhookServer
) -> Iterator[Machine]:
    home = tmp_path_factory.mktemp("home")
    away = free_port()
    urls = (f"json://robot:{CANARIES['channel']}@127.0.0.1:{closed.port}/hooks", f"slak://{CANARIES['unusable']}/x")
    made = Machine(
        home,
        WINDSOCK__SMTP__SMTP_HOST="127.0.0.1",
        WINDSOCK__SMTP__SMTP_PORT=str(post.port),
        WINDSOCK__SMTP__SMTP_PASSWORD=CANARIES["mail"],
        WINDSOCK__ALERTING__APPRISE_URLS=",".join(urls),
        AIRFLOW_CONN_WAREHOUSE=f"postgresql://loader:{CANARIES['connection']}@warehouse.example.com/orders",
        AIRFLOW_VAR_API_TOKEN=CANARIES["variable"],
        SERVICE_PASSWORD=CANARIES["environment"],
        CANARY_HALF=CANARIES["URL"],
        CANARY_OTHER_HALF=CANARIES["bearer"],
        ROOM_URL=f"json://robot:{CANARIES['channel']}@127.0.0.1:{room.port}/hooks",
        ROOM_HMAC=CANARIES["HMAC"],
        LOST_URL=f"json://127.0.0.1:{away}/hooks/{CANARIES['variable of the file']}",
        WINDSOCK__ALERTING__HEARTBEAT_URL="env:BEAT_URL",
        WINDSOCK__ALERTING__HEARTBEAT_INTERVAL="1",
        BEAT_URL=f"http://127.0.0.1:{away}/{CANARIES['heartbeat']}",
        # Their own variables do not reach tasks, but somebody may have written the same elsewhere.
        COPIES=" ".join(CANARIES[name] for name in OF_THE_FILE),
    )
    (home / "alerting.yml").write_text(
        ALERTING.format(
            file=CANARIES["file"], key=CANARIES["key in the file"], path=CANARIES["path"], closed=closed.port, away=away
        ),
        encoding="utf-8",
    )
    templates = home / "alert_templates"
    templates.mkdir()
    (templates / "task_failed.text.j2").write_text(f"{{{{ error }}}} {CANARIES['variable']} {{{{ log | join }}}}")
    (templates / "task_failed.chat.j2").write_text(f"{{{{ nothing.of.the.kind }}}} {CANARIES['variable']}")
    made.write_dag("leaks.py", LEAKS)
    made.write_dag("broken.py", BROKEN)
    made.call("up", "--detach")
    yield made
    made.call("down")


@pytest.fixture(scope="module")
def told(machine: Machine, post: MailServer, room: WebhookServer, closed: WebhookServer) -> Machine:
    """Everything has failed, and everybody has been told who could be."""
    machine.run("dags", "trigger", "leaks", "--wait", "--timeout", "60")
    post.wait_for(2, 60)
    closed.wait_for(2, 60)
    # Of the broken file the room is told too, sooner or later than of what failed.
    wait_until(lambda: told_of(room, "cannot read with") and told_of(room, "cannot load with"), "the room", 60)
    wait_until(lambda: machine.query("SELECT 1 FROM dag_file WHERE error IS NOT NULL"), "the broken file", 60)
    ended = {"done", "dead"}
    wait_until(lambda: (found := states(machine, "callback_request")) and found <= ended, "the callbacks", 60)
    wait_until(lambda: tried(machine), "an attempt to tell the one that is away", 60)
    wait_until(lambda: "task_failed.chat.j2" in machine.log("notifier"), "the word of the broken template", 60)
    return machine


def told_of(receiver: WebhookServer, words: str) -> bool:
    return any(words in request.body.decode() for request in list(receiver.requests))


def states(machine: Machine, table: str) -> set[str]:
    return {str(row["state"]) for row in machine.query(f"SELECT DISTINCT state FROM {table}")}


def tried(machine: Machine) -> bool:
    rows = machine.query("SELECT channel FROM alert_delivery WHERE channel = 'away' AND error IS NOT NULL")
    return len(rows) > 0


def found(text: str) -> set[str]:
    """The canaries in it, also spelt as URLs and JSON spell them."""
    return {name for name, secret in CANARIES.items() if secret in text or secret[5:] in text}


def whole(mail: EmailMessage) -> str:
    parts = [part.get_content() for part in mail.walk() if part.get_content_maintype() == "text"]
    return "\n".join([str(mail.items()), *map(str, parts)])


def test_the_failures_were_told_at_all(told: Machine, post: MailServer, room: WebhookServer) -> None:
    mails = "\n".join(whole(mail.message) for mail in post.mails)
    assert "cannot read with" in mails
    assert "***" in mails
    assert told_of(room, "cannot read with")
    assert any("x-windsock-signature" in request.headers for request in room.requests)


def test_no_mail_has_a_secret_nor_has_its_attachment(told: Machine, post: MailServer) -> None:
    assert any(list(mail.message.iter_attachments()) for mail in post.mails)
    assert [found(whole(mail.message)) for mail in post.mails if found(whole(mail.message))] == []


def test_no_message_to_a_webhook_has_a_secret(told: Machine, room: WebhookServer, closed: WebhookServer) -> None:
    """The password that signs in is in the header made for it, and nowhere else."""
    for request in (*room.requests, *closed.requests):
        headers = {name: value for name, value in request.headers.items() if name != "authorization"}
        assert found(request.body.decode() + json.dumps(headers) + request.path) == set()


def test_no_log_has_a_secret(told: Machine) -> None:
    files = [path for path in (told.home / "logs").rglob("*") if path.is_file()]
    assert len(files) > 4
    for path in files:
        assert (path.name, found(path.read_text(errors="replace"))) == (path.name, set())


def test_what_only_the_notifier_needs_is_not_in_the_environment_of_a_task(told: Machine) -> None:
    (log,) = [path for path in (told.home / "logs").rglob("attempt=1.log") if "task_id=bash" in str(path)]
    printed = log.read_text()
    names = {line.partition("=")[0].split()[-1] for line in printed.splitlines() if "=" in line}
    assert {"COPIES", "SERVICE_PASSWORD"} <= names
    assert names.isdisjoint({"ROOM_URL", "ROOM_HMAC", "LOST_URL", "BEAT_URL"})
    assert not any(name.startswith("WINDSOCK__ALERTING__HEARTBEAT_URL") for name in names)
    assert f"cannot sign with {' '.join(['********'] * len(OF_THE_FILE))}" in printed


def test_no_column_of_a_table_has_a_secret(told: Machine) -> None:
    tables = [row["name"] for row in told.query("SELECT name FROM sqlite_master WHERE type = 'table'")]
    seen = 0
    for table in tables:
        for row in told.query(f"SELECT * FROM {table}"):
            text = " ".join(map(str, tuple(row)))
            seen += 1
            assert (table, found(text)) == (table, set())
    assert seen > 20


def test_no_page_has_a_secret(told: Machine) -> None:
    run = told.query("SELECT run_id FROM dag_run WHERE dag_id = 'leaks'")[0]["run_id"]
    attempt = f"/dags/leaks/runs/{run}/tasks/python/attempts/1"
    pages = [
        "/",
        "/dags",
        "/dags/leaks",
        f"/dags/leaks/runs/{run}",
        attempt,
        f"{attempt}/log",
        "/import-errors",
        "/alerts",
    ]
    with closing(told.signed_in()) as browser:
        for page in pages:
            answer = browser.get(page)
            assert answer.status_code == 200
            assert (page, found(answer.text)) == (page, set())
        assert "cannot load with" in browser.get("/import-errors").text


def test_no_answer_of_the_command_has_a_secret(told: Machine) -> None:
    number = told.query("SELECT min(event_id) AS number FROM alert_delivery")[0]["number"]
    commands = [
        ("status",),
        ("config", "list"),
        ("alerts", "check"),
        ("alerts", "list", "-o", "json"),
        ("alerts", "deliveries"),
        ("dags", "list", "-o", "json"),
        ("alerts", "list"),
        *(("alerts", "show", shown) for shown in (f"{number}", f"{number}.1")),
        *(("alerts", "render", f"{number}.1", "--format", form) for form in ("text", "html", "json")),
    ]
    for words in commands:
        done = told.run(*words)
        assert done.stdout + done.stderr
        assert (words, found(done.stdout + done.stderr)) == (words, set())


def test_no_series_has_a_secret(told: Machine) -> None:
    import urllib.request

    for port in ("WINDSOCK__EXPORTER__PORT", "WINDSOCK__EXPORTER__METASTORE_PORT"):
        with urllib.request.urlopen(f"http://127.0.0.1:{told.ports[port]}/metrics", timeout=10) as answer:
            assert found(answer.read().decode()) == set()


def test_a_broken_template_is_told_of_once_and_its_words_are_not(told: Machine) -> None:
    lines = [line for line in told.log("notifier").splitlines() if "task_failed.chat.j2" in line]
    assert len(lines) == 1
    assert re.search("task_failed.chat.j2 is not used, the built-in template is: .*undefined", lines[0])
