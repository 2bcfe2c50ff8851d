"""The generated files before the tools that will read them: promtool and amtool of the distribution."""

from __future__ import annotations

import subprocess
from pathlib import Path

import prometheus
from prometheus.generate import scrape_config
from tests.servers import binaries

FOLDER = Path(prometheus.__file__).parent


def run(tool: str, *arguments: str) -> None:
    result = subprocess.run(
        [binaries.require(tool), *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_accepts_the_rules() -> None:
    run("promtool", "check", "rules", "rules/alerts.yml", "rules/recordings.yml")


def test_prometheus_accepts_the_configuration() -> None:
    run("promtool", "check", "config", "prometheus.yml")


def test_prometheus_accepts_a_configuration_for_another_place(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    path.write_text(scrape_config(exporter_address="127.0.0.1:1", rules_dir=prometheus.RULES_DIR), encoding="utf-8")
    run("promtool", "check", "config", str(path))


def test_every_alert_fires_and_stays_silent_as_its_cases_say() -> None:
    run("promtool", "test", "rules", "tests/alerts.yml")


def test_alertmanager_accepts_its_configuration() -> None:
    run("amtool", "check-config", "alertmanager.yml")
