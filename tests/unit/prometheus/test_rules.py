from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import prometheus
from exporters.catalogue import CATALOGUE, SignalType
from exporters.errors import UnknownSignalError
from prometheus.cases import CASES, Kind
from prometheus.generate import alertmanager_config, documents, scrape_config
from prometheus.promql import series
from prometheus.rules_spec import ALERTS, RECORDINGS
from prometheus.spec import Alert, Severity

ROOT = Path(prometheus.__file__).parents[1]
RUNBOOKS = ROOT / "docs" / "runbooks"


def ident(alert: Alert) -> str:
    return alert.name


def test_the_committed_files_are_what_the_specs_give() -> None:
    for path, text in documents().items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, "run `windsock generate`"


def test_no_rule_file_is_left_over() -> None:
    generated = {path.rpartition("/")[2] for path in documents() if path.startswith("prometheus/rules/")}
    assert {path.name for path in prometheus.RULES_DIR.iterdir()} == generated


@pytest.mark.parametrize("alert", ALERTS, ids=ident)
def test_every_alert_has_a_runbook_with_the_four_sections(alert: Alert) -> None:
    text = (RUNBOOKS / f"{alert.name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {alert.name}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]


def test_every_runbook_has_its_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {alert.name for alert in ALERTS}


def test_alerts_have_names_of_their_own_and_begin_with_the_product() -> None:
    names = [alert.name for alert in ALERTS]
    assert len(names) == len(set(names))
    assert all(name.startswith("Windsock") for name in names)


@pytest.mark.parametrize("alert", ALERTS, ids=ident)
def test_every_alert_has_a_case_of_every_kind(alert: Alert) -> None:
    kinds = {case.kind for case in CASES if case.alert == alert.name}
    always = alert.name == "WindsockWatchdog"
    assert kinds == ({Kind.FIRING} if always else set(Kind))


@pytest.mark.parametrize("alert", ALERTS, ids=ident)
def test_an_alert_that_wakes_people_says_what_to_do(alert: Alert) -> None:
    assert alert.summary.endswith(".")
    assert alert.description.endswith(".")
    assert alert.severity in Severity


def test_every_family_in_a_rule_is_one_that_the_mapping_can_make() -> None:
    families = {"up", "process_start_time_seconds"} | {recording.record for recording in RECORDINGS}
    for row in CATALOGUE.values():
        parts = ("_bucket", "_sum", "_count") if row.type is SignalType.TIMER else ("",)
        families |= {row.series_name() + part for part in parts}
    for rule in (*ALERTS, *RECORDINGS):
        asked = set(re.findall(r"\bairflow_\w+|\b\w+:\w+:\w+\b", rule.expr))
        assert asked <= families, rule


def test_a_rule_about_an_unknown_signal_cannot_be_written() -> None:
    with pytest.raises(UnknownSignalError, match="did you mean"):
        series("scheduler_hearbeat")


def test_the_scrape_configuration_takes_other_addresses_and_folders() -> None:
    config = yaml.safe_load(
        scrape_config(
            exporter_address="127.0.0.1:19102",
            prometheus_address="127.0.0.1:19090",
            alertmanager_address="127.0.0.1:19093",
            rules_dir=prometheus.RULES_DIR,
        )
    )
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert targets == {
        "windsock": ["127.0.0.1:19102"],
        "prometheus": ["127.0.0.1:19090"],
        "alertmanager": ["127.0.0.1:19093"],
    }
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["127.0.0.1:19093"]
    assert config["rule_files"] == [f"{prometheus.RULES_DIR}/*.yml"]


def test_inhibitions_name_alerts_that_exist() -> None:
    names = {alert.name for alert in ALERTS}
    config = yaml.safe_load(alertmanager_config())
    for rule in config["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            assert set(matcher.split('"')[1].split("|")) <= names


def test_the_address_of_the_runbooks_can_be_chosen() -> None:
    rules = yaml.safe_load(documents("https://example.org/runbooks")["prometheus/rules/alerts.yml"])
    urls = {rule["annotations"]["runbook_url"] for rule in rules["groups"][0]["rules"]}
    assert "https://example.org/runbooks/WindsockExporterDown.md" in urls
