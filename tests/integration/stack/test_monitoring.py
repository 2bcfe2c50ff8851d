"""The configurations that ``up`` writes, read by the programs they are for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from engine.config import Settings, load
from engine.stack.monitoring import configuration, grafana, write_configurations
from prometheus import RUNBOOKS_DIR
from tests.servers.binaries import require

ENVIRONMENT = {
    "WINDSOCK__EXPORTER__PORT": "19102",
    "WINDSOCK__PROMETHEUS__PORT": "19090",
    "WINDSOCK__WEBSERVER__WEB_SERVER_PORT": "18080",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = load(ENVIRONMENT, tmp_path)
    write_configurations(made)
    return made


def test_prometheus_accepts_its_configuration_and_rules(settings: Settings, promtool: Path) -> None:
    path = configuration(settings, "prometheus")
    done = subprocess.run([promtool, "check", "config", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "rules found" in done.stdout


def test_prometheus_scrapes_where_the_exporter_is(settings: Settings) -> None:
    document = yaml.safe_load(configuration(settings, "prometheus").read_text())
    targets = [
        target for job in document["scrape_configs"] for part in job["static_configs"] for target in part["targets"]
    ]
    assert "127.0.0.1:19102" in targets
    assert "127.0.0.1:19090" in targets


@pytest.mark.parametrize(
    ("base", "expected"),
    [("", "https://windsock.example/runbooks"), ("https://wiki.example/pages/", "https://wiki.example/pages")],
)
def test_alerts_link_to_a_runbook_that_can_be_followed(tmp_path: Path, base: str, expected: str) -> None:
    environment = {
        "WINDSOCK__WEBSERVER__BASE_URL": "https://windsock.example",
        "WINDSOCK__PROMETHEUS__RUNBOOK_BASE": base,
    }
    made = load(environment, tmp_path)
    write_configurations(made)
    (folder,) = yaml.safe_load(configuration(made, "prometheus").read_text())["rule_files"]
    documents = [yaml.safe_load(path.read_text()) for path in Path(folder).parent.glob("*.yml")]
    rules = [rule for document in documents for group in document["groups"] for rule in group["rules"]]
    links = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule}
    assert links["WindsockWatchdog"] == f"{expected}/WindsockWatchdog.md"
    assert {f"{name}.md" for name in links} <= {path.name for path in RUNBOOKS_DIR.iterdir()}


def jobs(settings: Settings) -> dict[str, list[str]]:
    document = yaml.safe_load(configuration(settings, "prometheus").read_text())
    return {
        job["job_name"]: [target for part in job["static_configs"] for target in part["targets"]]
        for job in document["scrape_configs"]
    }


def test_what_is_deployed_besides_is_scraped(tmp_path: Path, promtool: Path) -> None:
    environment = {
        "WINDSOCK__EXPORTER__METASTORE_PORT": "19103",
        "WINDSOCK__PROMETHEUS__NODE_TARGETS": "a:9100,b:9100",
        "WINDSOCK__PROMETHEUS__BLACKBOX_TARGETS": "https://windsock.example",
    }
    made = load(environment, tmp_path)
    write_configurations(made)
    found = jobs(made)
    assert found["windsock-metastore"] == ["127.0.0.1:19103"]
    assert found["node"] == ["a:9100", "b:9100"]
    assert found["blackbox"] == ["https://windsock.example"]
    assert "postgres" not in found
    done = subprocess.run([promtool, "check", "config", configuration(made, "prometheus")], capture_output=True)
    assert done.returncode == 0, done.stderr


def rules_of(tmp_path: Path, **named: str) -> str:
    made = load({"WINDSOCK__GRAFANA__PORT": "13000", **named}, tmp_path)
    write_configurations(made)
    return (configuration(made, "prometheus").with_name("rules") / "services.yml").read_text()


@pytest.mark.parametrize("setting", ["WINDSOCK__PROMETHEUS__BOARD_BASE", "WINDSOCK__GRAFANA__URL"])
def test_alerts_link_to_their_board_where_the_settings_name_a_grafana(tmp_path: Path, setting: str) -> None:
    rules = rules_of(tmp_path, **{setting: "https://grafana.example"})
    assert "dashboard_url: https://grafana.example/d/windsock-scheduler\n" in rules


@pytest.mark.parametrize("installed", [True, False])
def test_alerts_link_to_a_board_here_only_where_grafana_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    program = tmp_path / "grafana" / "bin" / "grafana-server"
    for path in (program, tmp_path / "grafana" / "conf" / "defaults.ini") if installed else ():
        path.parent.mkdir(parents=True)
        path.write_text("")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    rules = rules_of(tmp_path)
    assert ("dashboard_url: http://localhost:13000/d/windsock-scheduler\n" in rules) == installed
    assert ("dashboard_url" in rules) == installed


def test_grafana_gets_prometheus_as_its_data_source(settings: Settings) -> None:
    (path,) = (settings.home / "run" / "grafana" / "provisioning" / "datasources").iterdir()
    (source,) = yaml.safe_load(path.read_text())["datasources"]
    assert source["url"] == "http://127.0.0.1:19090"
    assert source["isDefault"] is True


def test_grafana_gets_the_boards_with_links_to_the_web_pages_of_these_settings(settings: Settings) -> None:
    (path,) = (settings.home / "run" / "grafana" / "provisioning" / "dashboards").iterdir()
    (provider,) = yaml.safe_load(path.read_text())["providers"]
    written = {board.stem: json.loads(board.read_text()) for board in Path(provider["options"]["path"]).iterdir()}
    assert len(written) == 10
    assert {name: board["uid"] for name, board in written.items()} == {name: name for name in written}
    assert {
        variable["query"]
        for board in written.values()
        for variable in board["templating"]["list"]
        if variable["name"] == "web"
    } == {settings.webserver.url}


def test_grafana_shows_the_overview_first(settings: Settings) -> None:
    home = Path(dict(grafana(settings).env)["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert json.loads(home.read_text())["uid"] == "windsock-overview"


def test_writing_again_changes_nothing(settings: Settings) -> None:
    before = configuration(settings, "prometheus").read_text()
    write_configurations(settings)
    assert configuration(settings, "prometheus").read_text() == before


def test_where_there_is_an_alerting_yml_alertmanager_hands_everything_to_windsock(tmp_path: Path) -> None:
    (tmp_path / "alerting.yml").write_text("route: {receiver: nobody}\n")
    made = load(ENVIRONMENT, tmp_path)
    write_configurations(made)
    path = configuration(made, "alertmanager")
    done = subprocess.run([require("amtool"), "check-config", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for receiver in yaml.safe_load(path.read_text())["receivers"]:
        (webhook,) = receiver["webhook_configs"]
        assert webhook["url"] == "http://127.0.0.1:18080/api/v1/alertmanager"
        token = Path(webhook["http_config"]["authorization"]["credentials_file"])
        assert token == tmp_path / "webhook-token"
        assert (len(token.read_text().strip()) >= 32, token.stat().st_mode & 0o777) == (True, 0o600)
    before = (tmp_path / "webhook-token").read_text()
    write_configurations(made)
    assert (tmp_path / "webhook-token").read_text() == before


def test_a_token_of_the_settings_is_the_one_that_alertmanager_gets(tmp_path: Path) -> None:
    (tmp_path / "alerting.yml").write_text("route: {receiver: nobody}\n")
    made = load({**ENVIRONMENT, "WINDSOCK__ALERTING__WEBHOOK_TOKEN": "a-token-of-24-characters"}, tmp_path)
    write_configurations(made)
    (first, *_) = yaml.safe_load(configuration(made, "alertmanager").read_text())["receivers"]
    token = Path(first["webhook_configs"][0]["http_config"]["authorization"]["credentials_file"])
    assert token.read_text().strip() == "a-token-of-24-characters"
    assert not (tmp_path / "webhook-token").exists()


def test_without_an_alerting_yml_alertmanager_tells_nobody(settings: Settings) -> None:
    receivers = yaml.safe_load(configuration(settings, "alertmanager").read_text())["receivers"]
    assert receivers == [{"name": "nobody"}, {"name": "watchdog"}]
