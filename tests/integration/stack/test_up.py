"""``windsock up``, ``status`` and ``down`` as a person calls them, with everything real, on free ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import case, update

from alerting import outbox, silences
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.matchers import parse_matcher
from alerting.routes import Plan
from alerting.tables import alert_delivery
from engine.metastore.store import Store
from tests.servers.binaries import ROOT
from tests.servers.machine import Machine
from tests.servers.processes import wait_until

CORE = {"scheduler", "dag-processor", "notifier", "webserver", "exporter", "metastore-exporter"}


GREETING = """
from engine import DAG, BashOperator

with DAG("greeting", schedule=None):
    BashOperator(task_id="hello", bash_command="echo hello") >> BashOperator(task_id="world", bash_command="echo world")
"""


def states_of(machine: Machine, *components: str) -> set[str]:
    rows = machine.status()
    return {rows[name]["state"] for name in components}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which the stack runs, with its monitoring, for which ``up`` waits a little only."""
    made = Machine(tmp_path_factory.mktemp("home"))
    (made.home / "dags").mkdir()
    (made.home / "dags" / "greeting.py").write_text(GREETING)
    made.call("up", "--detach")
    wait_until(lambda: states_of(made, "prometheus", "alertmanager") == {"healthy"}, "the monitoring", 60)
    yield made
    made.call("down")


def test_up_prints_component_address_state_and_what_to_try_next(machine: Machine) -> None:
    again = machine.call("up", "--detach")
    assert "running already" in again.stdout
    for name in (*CORE, "prometheus", "alertmanager", "grafana"):
        assert name in again.stdout
    assert f"http://localhost:{machine.ports['WINDSOCK__WEBSERVER__WEB_SERVER_PORT']}" in again.stdout
    assert "windsock dags trigger hello_world --wait" in again.stdout
    assert f"The password of admin is in {machine.home / 'admin-password'}" in again.stdout


def test_a_second_up_and_status_say_that_the_settings_changed(machine: Machine) -> None:
    for words in (("up", "--detach"), ("status",)):
        assert "other settings" not in machine.run(*words).stderr
        changed = machine.run(*words, WINDSOCK__SMTP__SMTP_PASSWORD="quite-new")
        assert changed.returncode == 0
        assert "started with other settings than these" in changed.stderr
    assert "quite-new" not in (machine.home / "run" / "stack.json").read_text()


@pytest.fixture
def mistake(machine: Machine) -> Iterator[str]:
    """A slip in windsock.toml, made while the stack runs; gives what is said of it."""
    file = machine.home / "windsock.toml"
    before = file.read_text() if file.exists() else None
    file.write_text("[core]\nparalelism = 3\n")
    yield f"windsock: There is no setting core.paralelism ({file}); did you mean core.parallelism?\n"
    file.unlink() if before is None else file.write_text(before)


def test_status_shows_the_running_stack_also_while_the_settings_have_a_mistake(machine: Machine, mistake: str) -> None:
    told = machine.call("status", status=1)
    assert mistake in told.stderr
    assert "The stack runs on with the settings that it was started with" in told.stderr
    assert f"http://localhost:{machine.ports['WINDSOCK__WEBSERVER__WEB_SERVER_PORT']}" in told.stdout
    states = {name: row["state"] for name, row in machine.status().items()}
    by_heartbeat = {"scheduler", "dag-processor", "notifier"}
    assert {name for name in CORE if states[name] == "alive"} == by_heartbeat
    assert {name for name in CORE if states[name] == "healthy"} == CORE - by_heartbeat


def test_alerts_test_says_that_the_running_notifier_has_other_settings(machine: Machine) -> None:
    changed = machine.run("alerts", "test", WINDSOCK__ALERTING__APPRISE_URLS="json://127.0.0.1:1")
    assert changed.returncode == 1
    assert "the running notifier was started with other" in changed.stderr


def test_every_core_component_and_the_monitoring_are_healthy(machine: Machine) -> None:
    machine.call("status")
    assert states_of(machine, *CORE, "prometheus", "alertmanager") == {"healthy"}


def test_a_second_scheduler_is_told_below_the_table_and_its_own_one_is_not(machine: Machine) -> None:
    command = [sys.executable, "-m", "engine.cli", "scheduler"]
    with subprocess.Popen(command, env=machine.environment, cwd=ROOT, stderr=subprocess.DEVNULL) as second:
        try:
            wait_until(lambda: f"pid {second.pid}" in machine.run("status").stdout, "its heartbeat", 60)
            told = [line for line in machine.call("status").stdout.splitlines() if ", pid " in line]
            foreign = [row["pid"] for row in machine.ask("status") if not row["of_this_stack"]]
        finally:
            second.terminate()
    assert len(told) == 1
    assert told[0].startswith("  scheduler on ")
    assert foreign == [second.pid]


def test_prometheus_scrapes_the_exporter(machine: Machine) -> None:
    base = f"http://127.0.0.1:{machine.ports['WINDSOCK__PROMETHEUS__PORT']}"

    def exporter_is_up() -> bool:
        with urllib.request.urlopen(f"{base}/api/v1/targets?state=active", timeout=30) as answer:
            targets = json.load(answer)["data"]["activeTargets"]
        port = f":{machine.ports['WINDSOCK__EXPORTER__PORT']}/"
        return any(port in target["scrapeUrl"] and target["health"] == "up" for target in targets)

    wait_until(exporter_is_up, "the first scrape", timeout=30)


def test_a_dag_runs_to_success_and_its_log_can_be_read(machine: Machine) -> None:
    done = machine.call("dags", "trigger", "greeting", "--wait", "--timeout", "60")
    assert "run success" in done.stdout
    assert "world\n" in machine.call("tasks", "logs", "greeting", "latest", "world").stdout


def test_the_password_and_the_state_are_for_their_owner_only(machine: Machine) -> None:
    for path in (machine.home / "admin-password", machine.home / "run" / "stack.json"):
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["scheduler", "notifier", "exporter", "metastore-exporter"])
def test_a_killed_component_is_healthy_again_soon(machine: Machine, name: str) -> None:
    pid = machine.status()[name]["pid"]
    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        row = machine.status()[name]
        return bool(row["pid"] not in (None, pid) and row["state"] == "healthy")

    wait_until(is_back, f"{name} after its death", timeout=40)
    assert machine.status()[name]["restarts"] >= 1
    assert f"{name} was restarted; before, it ended with: killed by SIGKILL" in machine.call("status").stdout


def test_status_tells_of_alerts_that_reached_nobody_and_of_metrics_that_go_nowhere(machine: Machine) -> None:
    assert "given up" not in machine.call("status").stdout
    with closing(Store(f"sqlite:///{machine.home / 'windsock.db'}")) as store, store.begin() as tx:
        event = AlertEvent(kind=EventKind.TEST, occurred_at=tx.now - timedelta(minutes=20))
        outbox.record(tx.connection, [event])
        outbox.route(tx.connection, tx.now, Plan(receivers=("json-1", "json-2")))
        states = case((alert_delivery.c.channel == "json-1", "dead"), else_="pending")
        due_at = case((alert_delivery.c.channel == "json-1", None), else_=alert_delivery.c.due_at)
        tx.connection.execute(update(alert_delivery).values(state=states, due_at=due_at))
        ends_at = tx.now + timedelta(hours=2)
        silences.add(
            tx.connection, tx.now, [parse_matcher("dag=x")], author="a", comment="", starts_at=tx.now, ends_at=ends_at
        )
    told = machine.run("status", WINDSOCK__METRICS__STATSD_HOST="no-such-host.invalid")
    assert "Alerts pending: 1, the oldest for 12" in told.stdout
    assert "Alerts dead, given up undelivered: 1: windsock alerts list --state dead" in told.stdout
    assert f"1 silence in force until {ends_at:%Y-%m-%d %H:%M} UTC: windsock alerts silence list" in told.stdout
    assert "does not resolve" in told.stderr


def pids_of(machine: Machine) -> set[int]:
    return {row["pid"] for row in machine.status().values() if row["pid"]}


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("windsock.toml", "[scheduler]\nparse_procesess = 2", "parse_procesess"),
        ("windsock.toml", "broken =", "windsock.toml"),
        ("alerting.yml", "route:\n  receiver: setings", "line 2: route.receiver: there is no receiver 'setings'"),
        ("alerting.yml", "channels: {r: env:NOT_SET}\nroute: {receiver: settings}", "NOT_SET is not set"),
    ],
)
def test_restart_leaves_the_running_house_alone_where_it_finds_a_mistake(
    machine: Machine, file: str, text: str, told: str
) -> None:
    before = pids_of(machine)
    path = machine.home / file
    kept = path.read_text() if path.exists() else None
    path.write_text(text)
    try:
        for words in (("restart",), ("restart", "--check")):
            refused = machine.run(*words)
            assert refused.returncode == 1
            assert told in refused.stderr
            assert "Nothing was stopped. Correct this first" in refused.stderr
    finally:
        path.unlink() if kept is None else path.write_text(kept)
    assert pids_of(machine) == before


def test_restart_starts_anew_with_the_present_settings(machine: Machine) -> None:
    assert machine.call("restart", "--check").stdout == ""
    before = pids_of(machine)
    again = machine.call("restart")
    assert "Stop it with: windsock down" in again.stdout
    after = pids_of(machine)
    assert after
    assert not after & before


def test_down_leaves_no_process_whatever_became_of_the_settings(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.call("up", "--detach")
    pids = [row["pid"] for row in machine.status().values() if row["pid"]]
    (machine.home / "windsock.toml").write_text("broken =")
    assert machine.call("down").stdout == "Windsock is stopped.\n"
    (machine.home / "windsock.toml").unlink()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    machine.call("status", status=1)


def test_ctrl_c_stops_what_runs_in_the_foreground(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    words = [sys.executable, "-m", "engine.cli", "standalone"]
    foreground = subprocess.Popen(words, env=machine.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert foreground.stdout is not None
    for line in foreground.stdout:
        if "Ctrl-C stops everything" in line:
            break
    assert set(machine.status()) == CORE
    foreground.send_signal(signal.SIGINT)
    rest, _ = foreground.communicate(timeout=60)
    assert foreground.returncode == 0
    assert "Windsock is stopped." in rest
    machine.call("status", status=1)


def test_a_core_component_that_cannot_live_is_told_with_its_last_words(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.call("db", "init")
    broken = {**machine.environment, "WINDSOCK__WEBSERVER__WEB_SERVER_HOST": "no.such.host.invalid"}
    words = [sys.executable, "-m", "engine.cli", "up", "--detach"]
    done = subprocess.run(words, env=broken, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "no.such.host.invalid" in done.stdout + done.stderr
    machine.call("status", status=1)
