"""Specs → YAML. Pure: the same input gives the same text."""

from __future__ import annotations

from typing import Any, Final

from prometheus.alertmanager import alertmanager_config
from prometheus.cases_by_area import CASES_BY_AREA
from prometheus.document import text
from prometheus.pace import NORMAL, Pace
from prometheus.reference import alerts_page
from prometheus.rule_tests import rule_tests
from prometheus.rules_by_area import AREAS
from prometheus.scrape import scrape_config
from prometheus.spec import Alert, Group, Recording, duration

__all__ = ["BOARDS", "RUNBOOKS", "alertmanager_config", "documents", "rule_files", "scrape_config"]

RUNBOOKS: Final = "docs/runbooks"
"""Where the runbooks are, unless `documents` is given an address."""
BOARDS: Final = "http://localhost:3000"
"""Where Grafana is, unless `documents` is given an address."""


def documents(runbooks: str = RUNBOOKS, boards: str = BOARDS) -> dict[str, str]:
    """Path relative to the repository's root → content."""
    return {
        "prometheus/prometheus.yml": scrape_config(),
        "prometheus/alertmanager.yml": alertmanager_config(),
        **{f"prometheus/rules/{name}": content for name, content in rule_files(runbooks, boards).items()},
        **{
            f"prometheus/tests/{area}.yml": rule_tests(area, cases, lambda alert: _annotations(alert, runbooks, boards))
            for area, cases in CASES_BY_AREA.items()
        },
        "docs/alerts.md": alerts_page(),
    }


def rule_files(runbooks: str = RUNBOOKS, boards: str = BOARDS, pace: Pace = NORMAL) -> dict[str, str]:
    """Name → content of each rule file. Alerts link to pages below `runbooks` and to boards of the Grafana `boards`.

    Where `boards` is empty there is none to link to.
    """

    def rule(one: Recording | Alert) -> dict[str, Any]:
        if isinstance(one, Recording):
            return _recording(one, pace)
        return _alert(one, pace) | {"annotations": _annotations(one, runbooks, boards)}

    return {
        f"{area}.yml": text(
            {"groups": [_group(group, pace) | {"rules": [*map(rule, group.rules)]} for group in groups]}
        )
        for area, groups in AREAS.items()
    }


def _annotations(alert: Alert, runbooks: str, boards: str) -> dict[str, str]:
    """What an alert tells people."""
    told = {
        "summary": alert.summary,
        "description": alert.description,
        "runbook_url": f"{runbooks}/{alert.name}.md",
    }
    return told | ({"dashboard_url": f"{boards}/d/{alert.board}"} if boards else {})


def _group(group: Group, pace: Pace) -> dict[str, Any]:
    head: dict[str, Any] = {"name": group.name}
    return head | ({"interval": duration(pace.span(group.interval))} if group.interval else {})


def _recording(rule: Recording, pace: Pace) -> dict[str, Any]:
    written: dict[str, Any] = {"record": rule.record, "expr": pace.expression(rule.expr)}
    return written | ({"labels": dict(rule.labels)} if rule.labels else {})


def _alert(alert: Alert, pace: Pace) -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": alert.name, "expr": pace.expression(alert.expr)}
    if alert.hold:
        rule["for"] = duration(pace.span(alert.hold))
    return rule | {"labels": {"severity": alert.severity.value}}
