"""An alerting.yml that comes, changes and goes while the stack runs: Alertmanager follows."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.config import Settings, load
from engine.stack.component import Plan
from engine.stack.control import (
    Ended,
    call_supervisor,
    end_leftovers,
    hand_over,
    take_stack,
    wait_until_healthy,
)
from engine.stack.inventory import watched_files
from engine.stack.monitoring import alertmanager, write_configurations
from tests.servers.binaries import find, missing
from tests.servers.processes import free_port, wait_until

GOOD = "receivers: {ops: {email: ops@example.org}}\nroute: {receiver: ops}\n"


class Running:
    """Alertmanager alone under a supervisor, with the configuration of these settings."""

    def __init__(self, settings: Settings, supervisor: subprocess.Popen[bytes]) -> None:
        self.settings = settings
        self.supervisor = supervisor
        self.file = settings.alerting.config_file

    def configuration(self) -> str:
        """What Alertmanager goes by."""
        url = f"http://127.0.0.1:{self.settings.prometheus.alertmanager_port}/api/v2/status"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return str(json.load(answer)["config"]["original"])

    def hands_over(self) -> bool:
        return "/api/v1/alertmanager" in self.configuration()

    def log(self) -> str:
        return (self.settings.logging.base_log_folder / "stack" / "stack.log").read_text()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    if not (find("prometheus-alertmanager") or find("alertmanager")):
        missing("alertmanager")
    environ = {"WINDSOCK_HOME": str(tmp_path), "WINDSOCK__PROMETHEUS__ALERTMANAGER_PORT": str(free_port())}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = load(environ, tmp_path)
    components = (alertmanager(settings),)
    watched = watched_files(settings, components)
    write_configurations(settings)
    lock = take_stack(tmp_path)
    assert lock is not None
    logs = settings.logging.base_log_folder
    supervisor = call_supervisor(tmp_path, logs, lock, foreground=False)
    try:
        hand_over(Plan(home=str(tmp_path), logs=str(logs), components=components, watched=watched), supervisor)
        assert wait_until_healthy(tmp_path, supervisor, dict).ended is Ended.HEALTHY
        made = Running(settings, supervisor)
        wait_until(lambda: answers(made), "Alertmanager")
        yield made
    finally:
        supervisor.terminate()
        supervisor.wait(30)
        end_leftovers(tmp_path)


def answers(running: Running) -> bool:
    try:
        return bool(running.configuration())
    except OSError:
        return False


def test_alertmanager_hands_over_as_soon_as_there_is_an_alerting_yml_that_is_right(running: Running) -> None:
    assert not running.hands_over()
    running.file.write_text(GOOD.replace("receiver: ops", "receiver: opps"))
    wait_until(lambda: "goes on with the configuration before" in running.log(), "the bad file to be refused", 30)
    assert "did you mean ops" in running.log()
    assert not running.hands_over()
    running.file.write_text(GOOD)
    wait_until(running.hands_over, "Alertmanager to hand over", 30)
    told = f"Windsock, which tells them by {running.file}"
    wait_until(lambda: told in running.log(), "the word of it, which comes after the signal")
    running.file.unlink()
    wait_until(lambda: not running.hands_over(), "Alertmanager to tell nobody again", 30)


def test_nothing_is_watched_where_no_alertmanager_is_started(tmp_path: Path) -> None:
    settings = load({}, tmp_path)
    installed = msgspec.structs.replace(alertmanager(settings), argv=("/usr/bin/alertmanager",))
    (watched,) = watched_files(settings, (installed,))
    assert (watched.path, watched.component, watched.seen) == (str(tmp_path / "alerting.yml"), "alertmanager", "")
    assert watched_files(settings, (msgspec.structs.replace(installed, argv=()),)) == ()
    assert watched_files(settings, ()) == ()
