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


def test_an_alert_of_prometheus_leads_to_our_pages_about_it(tmp_path: Path) -> None:
    assert links(tmp_path, EventKind.PROMETHEUS_FIRING) == {
        "Open Windsock": "http://localhost:8080/alerts?kind=prometheus_firing"
    }


@pytest.mark.parametrize("there", ["url", "board_base", "token", "started here", "not installed", "nothing"])
def test_a_board_is_linked_to_only_where_there_is_a_grafana(tmp_path: Path, there: str) -> None:
    if there in ("started here", "not installed"):  # `windsock up` makes the folder either way
        (tmp_path / "data" / "grafana").mkdir(parents=True)
    if there == "started here":
        (tmp_path / "data" / "grafana" / "grafana.db").touch()
    grafana = {"url": Grafana(url="https://g.example.com"), "token": Grafana(token="t")}.get(there, Grafana())
    base = Prometheus(board_base="https://b.example.com" if there == "board_base" else "")
    found = links(tmp_path, grafana=grafana, prometheus=base)
    assert ("Board" in found) == (there not in ("nothing", "not installed"))


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


@pytest.mark.parametrize(
    ("subject", "dag_id", "expected"),
    [
        ("WindsockSlaAtRisk", "etl", "http://localhost:8080/dags/etl"),
        ("WindsockSlaMissed", "etl", "http://localhost:8080/dags/etl"),
        ("WindsockSlaMissed", None, None),
        ("WindsockRunFailed", "etl", None),  # it may be a DAG of an Airflow
    ],
)
def test_an_alert_about_slas_leads_to_the_page_of_the_dag_that_marks_them(
    tmp_path: Path, subject: str, dag_id: str | None, expected: str | None
) -> None:
    fires = structs.replace(samples.event(EventKind.PROMETHEUS_FIRING), subject=subject, dag_id=dag_id)
    found = {link.label: link.url for link in rendering.further_links(load({}, tmp_path), fires)}
    assert found.get("Open the DAG") == expected
