"""The generated files before the tools that will read them: promtool and amtool of the distribution."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

import prometheus
from prometheus.cases_by_area import CASES_BY_AREA
from prometheus.generate import rule_files
from prometheus.pace import Pace
from prometheus.rules_by_area import AREAS
from prometheus.scrape import OptionalTargets, scrape_config
from tests.servers import binaries

FOLDER = Path(prometheus.__file__).parent
TARGETS = OptionalTargets(
    node=["a:9100"],
    postgres=["db:9187"],
    mysql=["my:9104"],
    redis=["broker:9121"],
    celery=["flower:5555"],
    blackbox=["https://windsock.example.org"],
)


def run(tool: str, *arguments: object) -> None:
    """Run a tool that must succeed; its absence fails the run in CI and skips it elsewhere."""
    command = [str(each) for each in (binaries.require(tool), *arguments)]
    result = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_accepts_the_rules() -> None:
    run("promtool", "check", "rules", *(f"rules/{area}.yml" for area in AREAS))


def test_prometheus_accepts_hurried_rules(tmp_path: Path) -> None:
    for name, text in rule_files(pace=Pace(faster=37)).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    run("promtool", "check", "rules", *sorted(tmp_path.iterdir()))


def test_prometheus_accepts_the_configuration() -> None:
    run("promtool", "check", "config", "prometheus.yml")


@pytest.mark.parametrize("targets", [OptionalTargets(), TARGETS], ids=["the core", "everything"])
def test_prometheus_accepts_a_configuration_for_another_place(tmp_path: Path, targets: OptionalTargets) -> None:
    path = tmp_path / "prometheus.yml"
    text = scrape_config(exporter_address="127.0.0.1:1", rules_dir=prometheus.RULES_DIR, targets=targets)
    path.write_text(text, encoding="utf-8")
    run("promtool", "check", "config", path)


@pytest.mark.parametrize("area", CASES_BY_AREA)
def test_every_alert_fires_and_stays_silent_as_its_cases_say(area: str) -> None:
    run("promtool", "test", "rules", f"tests/{area}.yml")


def test_every_query_of_a_runbook_can_be_parsed(tmp_path: Path) -> None:
    blocks = {
        page.stem: re.findall(r"^```promql\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for page in prometheus.RUNBOOKS_DIR.iterdir()
    }
    rules = [
        {"record": f"query:{name}:{number}", "expr": query}
        for name, texts in blocks.items()
        for number, query in enumerate("".join(texts).splitlines())
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    run("promtool", "check", "rules", path)


def test_alertmanager_accepts_its_configuration() -> None:
    run("amtool", "check-config", "alertmanager.yml")
