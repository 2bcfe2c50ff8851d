"""``windsock generate --alertmanager``, and what amtool says of the file."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from alerting.alertmanager import event_of, read
from alerting.config import load as load_routing
from engine.cli.main import cli
from tests.contract.alerting.conftest import NOW
from tests.contract.alerting.test_alertmanager import a_body, an_alert
from tests.servers.binaries import require

ALERTING = """
channels:
  ops-room: env:OPS_ROOM_URL
  pager: pagerduty://integrationkey123@apikey456
receivers:
  ops: {channels: ops-room, email: ops@example.org}
  on-call: {channels: pager}
  data-team: {email: [data@example.org, lead@example.org], task_email: true}
mute_windows:
  nights:
    time_zone: Europe/Zurich
    windows: [{days: [mon-fri], times: [22:00-06:00]}, {dates: [2026-12-24..2027-01-02]}]
route:
  receiver: ops
  group_by: [dag]
  mute: nights
  routes:
    - {matchers: event="task_retry", receiver: task-email, group_by: off}
    - {matchers: severity="critical", receiver: on-call, group_by: off, mute: [], continue: true}
    - matchers: dag=~"etl_.*"
      receiver: data-team
      routes: [{matchers: ['task!~"load_.*"', 'severity=~"info|warning"'], receiver: nobody}]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WINDSOCK_HOME", str(tmp_path))
    monkeypatch.setenv("WINDSOCK__SMTP__SMTP_HOST", "mail.example")
    monkeypatch.setenv("OPS_ROOM_URL", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops")
    (tmp_path / "alerting.yml").write_text(ALERTING)
    return tmp_path


def generate(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["generate", *map(str, words)])


def amtool(*words: str | Path) -> str:
    done = subprocess.run([require("amtool"), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_amtool_accepts_the_file_which_only_its_owner_can_read(home: Path) -> None:
    path = home / "alertmanager.yml"
    done = generate("--alertmanager", path)
    assert done.exit_code == 0, done.output
    assert "inhibit rules" in amtool("check-config", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    missing = "receiver data-team: task_email, since no alert of Prometheus names a task's email"
    assert f"not mapped: {missing}\n" in done.output
    assert f"# Not mapped: {missing}\n" in path.read_text()


@pytest.mark.parametrize(
    "labels",
    [
        {"severity": "warning"},
        {"severity": "critical"},
        {"severity": "critical", "dag_id": "etl_daily"},
        {"severity": "warning", "dag_id": "etl_daily", "task_id": "check"},
        {"severity": "warning", "dag_id": "etl_daily", "task_id": "load_x"},
        {"severity": "error", "dag_id": "my_etl_daily"},
    ],
    ids=str,
)
def test_an_alert_takes_the_same_way_there_as_here(home: Path, labels: dict[str, str]) -> None:
    path = home / "alertmanager.yml"
    generate("--alertmanager", path)
    told = amtool("config", "routes", "test", f"--config.file={path}", *(f"{k}={v}" for k, v in labels.items()))
    routing = load_routing(home / "alerting.yml")
    assert routing
    alert = an_alert(labels={"alertname": "A", **labels})
    event = event_of(read(a_body(alert)).alerts[0], NOW)
    here = [route.receiver for route in routing.routes_of(routing.labels(event))]
    assert told.strip().split(",") == here


def test_a_forwarding_one_posts_everything_to_windsock(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDSOCK__WEBSERVER__BASE_URL", "https://windsock.example")
    path = home / "alertmanager.yml"
    assert generate("--alertmanager", path, "--forward").exit_code == 0
    amtool("check-config", path)
    for receiver in yaml.safe_load(path.read_text())["receivers"]:
        (webhook,) = receiver["webhook_configs"]
        assert webhook["url"] == "https://windsock.example/api/v1/alertmanager"
        assert webhook["http_config"]["authorization"]["credentials_file"] == str(home / "webhook-token")


def test_it_goes_to_stdout_and_the_notes_to_stderr(home: Path) -> None:
    done = generate("--alertmanager", "-")
    assert yaml.safe_load(done.stdout)["route"]["receiver"] == "ops"
    assert done.stderr.startswith("not mapped: ")


def test_without_an_alerting_yml_there_is_nothing_to_map(home: Path) -> None:
    (home / "alerting.yml").unlink()
    done = generate("--alertmanager", "-")
    assert done.exit_code == 1
    assert "with --forward everything goes to Windsock" in done.output


@pytest.mark.parametrize("words", [("--forward",), ("--check", "--alertmanager", "-")], ids=" ".join)
def test_options_that_do_not_go_together_are_refused(home: Path, words: tuple[str, ...]) -> None:
    assert generate(*words).exit_code == 2
