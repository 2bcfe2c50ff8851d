"""The links that messages have here: the run, its board at that time, and the runbook."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from alerting import samples
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from dashboards.links import Uid
from engine.config import load
from engine.config.sections import Grafana, Prometheus
from engine.links import board_url
from engine.running import rendering
from prometheus import RUNBOOKS_DIR

FAILED = samples.event(EventKind.TASK_FAILED)


def links(home: Path, kind: EventKind = EventKind.TASK_FAILED, **sections: Any) -> dict[str, str]:
    settings = structs.replace(load({}, home), **sections)
    return {link.label: link.url for link in rendering.further_links(settings, samples.event(kind))}


def test_a_task_leads_to_its_run_and_to_its_runbook(tmp_path: Path) -> None:
    found = links(tmp_path)
    assert found["Run"].endswith("/dags/daily_report/runs/scheduled__2026-11-22T00%3A00%3A00%2B00%3A00")
    assert found["Runbook"] == "http://localhost:8080/runbooks/WindsockTaskFailures.md"
    assert links(tmp_path, EventKind.RUN_FAILED).keys() == {"Runbook"}
    elsewhere = Prometheus(runbook_base="https://wiki.example.com/runbooks/")
    assert links(tmp_path, prometheus=elsewhere)["Runbook"].startswith("https://wiki.example.com/runbooks/Windsock")


@pytest.mark.parametrize("there", ["url", "board_base", "token"])
def test_a_board_is_linked_to_where_the_settings_name_a_grafana(tmp_path: Path, there: str) -> None:
    grafana = {"url": Grafana(url="https://g.example.com"), "token": Grafana(token="t")}.get(there, Grafana())
    base = Prometheus(board_base="https://b.example.com" if there == "board_base" else "")
    assert "Board" in links(tmp_path, grafana=grafana, prometheus=base)


@pytest.mark.parametrize(
    ("installed", "folder", "has_run"),
    [(True, True, True), (False, True, True), (True, True, False), (True, False, False)],
)
def test_a_board_is_linked_to_where_a_grafana_is_installed_and_has_run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, folder: bool, has_run: bool
) -> None:
    """`windsock up` makes the folder in any case."""
    programs, data = tmp_path / "bin", tmp_path / "data" / "grafana"
    programs.mkdir()
    if installed:
        (programs / "grafana-server").write_text("#!/bin/sh\n")
        (programs / "grafana-server").chmod(0o755)
    if folder:
        data.mkdir(parents=True)
    if has_run:
        (data / "grafana.db").touch()
    monkeypatch.setenv("PATH", str(programs))
    assert ("Board" in links(tmp_path)) == (installed and has_run)


def test_alerts_lead_to_where_they_are_acknowledged(tmp_path: Path) -> None:
    def page(*events: AlertEvent) -> str:
        return rendering.alert_page(load({}, tmp_path), events)

    first, second = (structs.replace(FAILED, number=number) for number in (7, 8))
    elsewhere = structs.replace(samples.event(EventKind.COMPONENT_DOWN), number=9)
    assert page(first) == "http://localhost:8080/alerts/7"
    assert page(first, second) == "http://localhost:8080/alerts?dag=daily_report"
    assert page(first, elsewhere) == "http://localhost:8080/alerts"
    assert page(FAILED) == ""  # it is in no history


def test_the_board_shows_the_time_from_before_the_attempt_to_after_it(tmp_path: Path) -> None:
    found = links(tmp_path, grafana=Grafana(url="https://g.example.com/"))["Board"]
    assert FAILED.started_at is not None
    begin, end = FAILED.started_at - timedelta(minutes=15), samples.MOMENT + timedelta(minutes=15)
    assert found == board_url("https://g.example.com", "windsock-dag", begin, end, "daily_report")
    asked = f"from={int(begin.timestamp() * 1000)}&to={int(end.timestamp() * 1000)}&var-dag=daily_report"
    assert found == f"https://g.example.com/d/windsock-dag?{asked}"
    component = links(tmp_path, EventKind.COMPONENT_DOWN, grafana=Grafana(url="https://g.example.com"))["Board"]
    assert component.startswith("https://g.example.com/d/windsock-overview?from=")


def test_boards_and_runbooks_that_are_named_are_there() -> None:
    assert {rendering.BOARD, rendering.OVERVIEW} <= {uid.value for uid in Uid}
    assert [name for name in rendering.RUNBOOKS.values() if not (RUNBOOKS_DIR / f"{name}.md").is_file()] == []
