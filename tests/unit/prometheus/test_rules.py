from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import prometheus
from exporters.errors import UnknownSignalError
from prometheus.case import Kind
from prometheus.cases_by_area import CASES_BY_AREA
from prometheus.generate import documents, rule_files
from prometheus.promql import series
from prometheus.rules_by_area import ALERTS, AREAS, RECORDINGS
from prometheus.rules_by_area.monitoring import OPTIONAL_JOBS
from prometheus.rules_by_area.slo import PAGE, TICKET
from prometheus.spec import Alert, Recording, Severity
from tests.servers.families import EVERYWHERE, FOREIGN, asked, known_families, statsd_families

ROOT = Path(prometheus.__file__).parents[1]
CASES = [case for cases in CASES_BY_AREA.values() for case in cases]
RECORDED = {recording.record: recording.expr for recording in RECORDINGS}


def ident(rule: Alert | Recording) -> str:
    return rule.name if isinstance(rule, Alert) else rule.record


def at_the_root(expression: str) -> set[str]:
    """The families that a query asks for, with recordings taken apart."""
    found: set[str] = set()
    left = asked(expression)
    while left:
        name = left.pop()
        if name in RECORDED:
            left |= asked(RECORDED[name]) - found
        else:
            found.add(name)
    return found


def test_the_committed_files_are_what_the_specs_give() -> None:
    for path, text in documents().items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, "run `windsock generate`"


@pytest.mark.parametrize("folder", ["prometheus/rules", "prometheus/tests"])
def test_no_generated_file_is_left_over(folder: str) -> None:
    generated = {path.rpartition("/")[2] for path in documents() if path.startswith(f"{folder}/")}
    assert {path.name for path in (ROOT / folder).iterdir()} == generated


def test_alerts_have_names_of_their_own_and_begin_with_the_product() -> None:
    names = [alert.name for alert in ALERTS]
    assert len(names) == len(set(names))
    assert all(name.startswith("Windsock") for name in names)


def test_groups_have_names_of_their_own() -> None:
    names = [group.name for groups in AREAS.values() for group in groups]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("alert", ALERTS, ids=ident)
def test_every_alert_has_a_case_of_every_kind(alert: Alert) -> None:
    kinds = {case.kind for case in CASES if case.alert == alert.name}
    always = alert.name == "WindsockWatchdog"
    assert kinds == ({Kind.FIRING} if always else set(Kind))


@pytest.mark.parametrize("alert", ALERTS, ids=ident)
def test_only_cases_that_say_so_fire(alert: Alert) -> None:
    for case in (case for case in CASES if case.alert == alert.name):
        told_of_absence = case.kind is Kind.MISSING and "absent(" in alert.expr
        assert bool(case.firing) == (case.kind is Kind.FIRING) or told_of_absence, case


def test_every_area_with_alerts_has_its_cases() -> None:
    areas = {alert.name: area for area, groups in AREAS.items() for group in groups for alert in group.alerts}
    assert {(areas[case.alert], area) for area, cases in CASES_BY_AREA.items() for case in cases} == {
        (area, area) for area in CASES_BY_AREA
    }


@pytest.mark.parametrize("alert", ALERTS, ids=ident)
def test_an_alert_says_what_and_where_in_whole_sentences(alert: Alert) -> None:
    assert alert.summary.endswith(".")
    assert alert.description.endswith(".")
    assert "{{" not in alert.summary, "a summary is the same for every alert of its name"


@pytest.mark.parametrize("rule", [*ALERTS, *RECORDINGS], ids=ident)
def test_a_rule_asks_only_for_what_somebody_gives(rule: Alert | Recording) -> None:
    assert asked(rule.expr) <= known_families()


@pytest.mark.parametrize("alert", [each for each in ALERTS if each.severity is Severity.CRITICAL], ids=ident)
def test_no_critical_alert_hangs_on_udp_alone(alert: Alert) -> None:
    assert at_the_root(alert.expr) - statsd_families() - {"process_start_time_seconds"}


def test_families_are_found_in_a_query() -> None:
    query = 'sum by (job) (rate(a_total{le="x_y"}[5m])) / on (b) (c:d:e offset 1h) > seconds(5m) and on () up == 1'
    assert asked(query) == {"a_total", "c:d:e", "up"}


@pytest.mark.parametrize("alert", ALERTS, ids=ident)
def test_no_alert_fires_because_an_optional_exporter_is_absent(alert: Alert) -> None:
    foreign = {family for job in OPTIONAL_JOBS for family in FOREIGN[job]}
    if at_the_root(alert.expr) & foreign:
        assert "absent" not in alert.expr


def test_a_rule_about_an_unknown_signal_cannot_be_written() -> None:
    with pytest.raises(UnknownSignalError, match="did you mean"):
        series("scheduler_hearbeat")


def test_the_table_of_foreign_families_has_no_family_that_nobody_asks_for() -> None:
    pages = "\n".join(page.read_text() for page in (ROOT / "docs" / "runbooks").iterdir())
    rules = " ".join(rule.expr for rule in (*ALERTS, *RECORDINGS))
    for families in FOREIGN.values():
        assert {family for family in families if family not in pages and family not in rules} == set()
    assert not EVERYWHERE & statsd_families()


def test_the_addresses_of_runbooks_and_boards_can_be_chosen() -> None:
    rules = yaml.safe_load(rule_files("https://example.org/runbooks", "https://grafana.example.org")["monitoring.yml"])
    told = [rule["annotations"] for rule in rules["groups"][0]["rules"]]
    assert "https://example.org/runbooks/WindsockExporterDown.md" in {each["runbook_url"] for each in told}
    assert {each["dashboard_url"].rpartition("/")[0] for each in told} == {"https://grafana.example.org/d"}


def test_windows_and_factors_are_the_workbooks() -> None:
    """Of 30 days: what a factor uses up in its long window is the share of the budget that the pair is named for."""
    hours = {"1h": 1, "6h": 6, "1d": 24, "3d": 72, "5m": 1 / 12, "30m": 0.5, "2h": 2}
    for pair in (*PAGE, *TICKET):
        assert pair.factor * hours[pair.long] / (30 * 24) == pytest.approx(pair.budget)
        assert hours[pair.short] == pytest.approx(hours[pair.long] / 12)
    assert [(pair.long, pair.short, pair.factor) for pair in (*PAGE, *TICKET)] == [
        ("1h", "5m", 14.4),
        ("6h", "30m", 6),
        ("1d", "2h", 3),
        ("3d", "6h", 1),
    ]


def test_the_recordings_that_boards_ask_for_are_there() -> None:
    windows = ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")
    assert {f"windsock:slo_errors:ratio_rate{window}" for window in windows} <= RECORDED.keys()
    assert {
        "windsock:slo_objective:ratio",
        "windsock:slo_error_budget_remaining:ratio30d",
        "windsock:slo_burn_rate:ratio1h",
        "windsock:slo_burn_rate:ratio6h",
    } <= RECORDED.keys()
