"""What a person gets wrong is answered by one clear sentence; what can go on goes on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.servers.databases import PostgreSQL
from tests.servers.machine import Machine
from tests.servers.processes import free_port, wait_until
from tests.servers.webhook import WebhookServer

SECRET = "hunter2-and-more"
STARTS = ["up --detach", "standalone", "scheduler", "dag-processor", "notifier", "webserver"]
OPENS = ["up --detach", "scheduler", "notifier", "webserver", "db init", "db check", "dags list", "dags trigger x"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "home")


def refusal(machine: Machine, command: str, **settings: str) -> str:
    """The one sentence on stderr with which a command refuses; nothing is left running."""
    done = machine.run(*command.split(), timeout=100, **settings)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    (sentence,) = done.stderr.splitlines()
    assert not (machine.home / "run" / "stack.json").exists()
    return sentence


def write_settings(machine: Machine, text: str) -> None:
    machine.home.mkdir()
    (machine.home / "windsock.toml").write_text(text)


# -- settings


@pytest.mark.parametrize("command", ["up --detach", "scheduler", "config list", "dags list"])
def test_a_wrong_key_in_the_environment(machine: Machine, command: str) -> None:
    sentence = refusal(machine, command, WINDSOCK__CORE__PARALELISM="3")
    assert "core.paralelism (WINDSOCK__CORE__PARALELISM)" in sentence
    assert "did you mean core.parallelism?" in sentence


def test_a_wrong_section_in_the_environment(machine: Machine) -> None:
    assert "did you mean smtp.smtp_host?" in refusal(machine, "up --detach", WINDSOCK__SMPT__SMTP_HOST="mail")


@pytest.mark.parametrize("command", ["up --detach", "scheduler", "config list"])
def test_a_wrong_key_in_the_file(machine: Machine, command: str) -> None:
    write_settings(machine, "[scheduler]\nparsing_proceses = 4\n")
    sentence = refusal(machine, command)
    assert f"scheduler.parsing_proceses ({machine.home}/windsock.toml)" in sentence
    assert "did you mean scheduler.parsing_processes?" in sentence


def test_a_file_that_is_no_toml(machine: Machine) -> None:
    write_settings(machine, "[core\nparallelism = 4\n")
    assert "not valid TOML: Expected ']'" in refusal(machine, "up --detach")


@pytest.mark.parametrize("command", ["up --detach", "scheduler"])
def test_a_wrong_executor(machine: Machine, command: str) -> None:
    sentence = refusal(machine, command, WINDSOCK__CORE__EXECUTOR="LocalExecuter")
    assert "core.executor must be LocalExecutor or SequentialExecutor, not 'LocalExecuter'" in sentence
    assert "did you mean LocalExecutor?" in sentence


def test_a_wrong_executor_in_the_file(machine: Machine) -> None:
    write_settings(machine, '[core]\nexecutor = "QuantumExecutor"\n')
    sentence = refusal(machine, "up --detach")
    assert "LocalExecutor or SequentialExecutor, not 'QuantumExecutor'" in sentence
    assert "windsock.toml" in sentence


# -- the database


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
@pytest.mark.parametrize("command", OPENS)
def test_a_database_that_does_not_answer(machine: Machine, scheme: str, command: str) -> None:
    url = f"{scheme}://windsock:{SECRET}@127.0.0.1:{free_port()}/windsock"
    sentence = refusal(machine, command, WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=url)
    assert "127.0.0.1" in sentence
    assert "cannot be reached" in sentence
    assert "Connection refused" in sentence
    assert "Start it, or correct WINDSOCK__DATABASE__SQL_ALCHEMY_CONN" in sentence


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_database_host_that_does_not_resolve(machine: Machine, scheme: str) -> None:
    url = f"{scheme}://windsock:{SECRET}@no-such-host.invalid/windsock"
    assert "no-such-host.invalid" in refusal(machine, "up --detach", WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=url)


def test_a_sqlite_file_in_a_folder_that_is_not_there(machine: Machine) -> None:
    sentence = refusal(machine, "up --detach", WINDSOCK__DATABASE__SQL_ALCHEMY_CONN="sqlite:////no/such/folder/w.db")
    assert "/no/such/folder/w.db cannot be reached: unable to open database file" in sentence
    assert "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN" in sentence


@pytest.fixture
def locked_postgresql(postgresql_server: PostgreSQL) -> str:
    """A database whose server asks this user for a password, and everybody else not."""
    rules = postgresql_server.folder.path / "data" / "pg_hba.conf"
    rule = "host all careful 127.0.0.1/32 scram-sha-256\n"
    if rule not in (text := rules.read_text()):
        rules.write_text(rule + text)
        postgresql_server.run("CREATE ROLE careful LOGIN SUPERUSER PASSWORD 'right'")
        postgresql_server.run("SELECT pg_reload_conf()")
    return make_url(postgresql_server.create()).set(username="careful", password="right").render_as_string(False)


def wrong_password(url: str) -> str:
    return make_url(url).set(password=SECRET).render_as_string(hide_password=False)


@pytest.mark.postgresql
def test_a_wrong_password_for_postgresql(machine: Machine, locked_postgresql: str) -> None:
    for command in ("up --detach", "scheduler", "dags list"):
        url = wrong_password(locked_postgresql)
        sentence = refusal(machine, command, WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=url)
        assert 'password authentication failed for user "careful"' in sentence
        assert "Correct user, password and database in WINDSOCK__DATABASE__SQL_ALCHEMY_CONN" in sentence
    done = machine.run("db", "init", WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=locked_postgresql)
    assert done.returncode == 0, done.stderr


@pytest.mark.mariadb
def test_a_wrong_password_for_mariadb(machine: Machine, mariadb_url: str) -> None:
    for command in ("up --detach", "scheduler", "dags list"):
        url = wrong_password(mariadb_url)
        sentence = refusal(machine, command, WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=url)
        assert "Access denied for user 'windsock'" in sentence
        assert "Correct user, password and database in WINDSOCK__DATABASE__SQL_ALCHEMY_CONN" in sentence
    done = machine.run("db", "check", WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=mariadb_url)
    assert done.returncode == 0, done.stderr


# -- the home


@pytest.mark.parametrize("command", STARTS)
def test_a_home_that_is_a_file(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("")
    sentence = refusal(Machine(tmp_path / "file"), command)
    assert sentence.startswith(f"windsock: {tmp_path}/file is not a folder; point WINDSOCK_HOME")


def test_a_home_that_cannot_be_made() -> None:
    sentence = refusal(Machine(Path("/proc/windsock")), "up --detach")
    assert "/proc/windsock cannot be created" in sentence
    assert "WINDSOCK_HOME" in sentence


# A root without capabilities is held up by permissions as everybody else is.
AS_ANYBODY = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []


@pytest.fixture
def closed_home(tmp_path: Path) -> Iterator[Path]:
    """A folder in which we may look around, and nothing more."""
    home = tmp_path / "closed"
    home.mkdir(mode=0o555)
    yield home
    home.chmod(0o755)


@pytest.mark.parametrize("command", ["up --detach", "db init", "dags list"])
def test_a_home_that_cannot_be_written(closed_home: Path, command: str) -> None:
    machine = Machine(closed_home)
    words = [*AS_ANYBODY, sys.executable, "-m", "engine.cli", *command.split()]
    done = subprocess.run(
        words, env=machine.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 1, done.stdout
    (sentence,) = done.stderr.splitlines()
    assert str(closed_home) in sentence
    assert "WINDSOCK_HOME" in sentence
    assert not list(closed_home.iterdir())


# -- what can go on


@pytest.fixture(scope="module")
def chat() -> Iterator[WebhookServer]:
    server = WebhookServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def hopeful(tmp_path_factory: pytest.TempPathFactory, chat: WebhookServer) -> Iterator[tuple[Machine, str]]:
    """A machine that runs although nobody takes its metrics and one of its receivers is a slip, and what `up` said."""
    machine = Machine(
        tmp_path_factory.mktemp("home"),
        WINDSOCK__METRICS__STATSD_HOST="no-such-host.invalid",
        WINDSOCK__ALERTING__APPRISE_URLS=f"jsn://{SECRET}/token,json://127.0.0.1:{chat.port}/",
    )
    done = machine.call("up", "--detach")
    yield machine, done.stderr
    machine.call("down")


def test_a_statsd_host_that_does_not_resolve_is_warned_of_and_everything_runs(hopeful: tuple[Machine, str]) -> None:
    machine, said = hopeful
    (sentence,) = (line for line in said.splitlines() if "no-such-host.invalid" in line)
    assert "metrics.statsd_host 'no-such-host.invalid' does not resolve" in sentence
    assert "Correct WINDSOCK__METRICS__STATSD_HOST" in sentence
    done = machine.call("dags", "trigger", "hello_world", "--wait", "--timeout", "60")
    assert "run success" in done.stdout


def test_a_receiver_with_a_typo_is_told_at_the_start_and_in_the_log(hopeful: tuple[Machine, str]) -> None:
    machine, said = hopeful
    wait_until(lambda: "jsn://" in machine.log("notifier"), "the notifier to read its receivers")
    for told in (said, machine.log("notifier")):
        (sentence,) = (line for line in told.splitlines() if "jsn://" in line and "delivery" not in line)
        assert "WINDSOCK__ALERTING__APPRISE_URLS: receiver 1 has the unknown scheme jsn://" in sentence
        assert "did you mean json://?" in sentence
        assert SECRET not in sentence


def test_the_other_receiver_gets_the_test_alert_and_the_command_tells_of_the_typo(
    hopeful: tuple[Machine, str], chat: WebhookServer
) -> None:
    machine, _ = hopeful
    done = machine.call("alerts", "test", status=1)
    assert re.search("^json-[0-9a-f]{6}: delivered", done.stdout, re.MULTILINE)
    assert re.search("^jsn-[0-9a-f]{6}: dead", done.stdout, re.MULTILINE)
    assert "did you mean json://?" in done.stdout
    assert done.stderr.splitlines() == [
        "windsock: the test alert was not delivered everywhere; see: windsock alerts list"
    ]
    assert len(chat.wait_for(1)) == 1


def test_a_failure_reaches_the_other_receiver_and_the_list_tells_of_the_typo(
    hopeful: tuple[Machine, str], chat: WebhookServer
) -> None:
    machine, _ = hopeful
    before = len(chat.requests)
    machine.call("dags", "trigger", "example_failure_callback", "--wait", "--timeout", "60", status=1)
    chat.wait_for(before + 1)
    wait_until(lambda: listed(machine) == {"jsn": "dead", "json": "delivered"}, "both deliveries to be noted")
    assert "did you mean json://?" in str(machine.ask("alerts", "list", "--state", "dead"))
    assert SECRET not in str(machine.ask("alerts", "list"))


def listed(machine: Machine) -> dict[str, str]:
    """The channel's scheme → state, of the failure of a task."""
    rows = machine.ask("alerts", "list", "--dag", "example_failure_callback")
    return {row["channel"].partition("-")[0]: row["state"] for row in rows if row["kind"] == "task_failed"}


def test_each_component_has_warned_of_the_statsd_host_once(hopeful: tuple[Machine, str]) -> None:
    """Asked last, when each has had much to send."""
    machine, _ = hopeful
    for component in ("scheduler", "dag-processor", "notifier"):
        wait_until(lambda name=component: "does not resolve" in machine.log(name), f"{component}'s warning")  # type: ignore[misc]
        assert machine.log(component).count("does not resolve") == 1
        assert "Traceback" not in machine.log(component)
