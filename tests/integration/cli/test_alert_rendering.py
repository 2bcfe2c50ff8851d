"""windsock alerts render: what an alert looks like, without sending it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import select

from alerting import outbox, samples
from alerting.kinds import EventKind
from alerting.preview import FORMATS
from alerting.routes import Plan
from alerting.tables import alert_delivery
from engine.metastore.store import Store, Tx

Command = Callable[..., Result]


def delivered(store: Store, kind: EventKind) -> int:
    """The number of such an alert, which was told."""

    def work(tx: Tx) -> int:
        outbox.record(tx.connection, [samples.event(kind)])
        outbox.route(tx.connection, tx.now, Plan(("room",)), 10)
        return int(tx.connection.execute(select(alert_delivery.c.event_id)).scalar_one())

    return store.run(work)


@pytest.mark.parametrize("kind", list(EventKind))
def test_an_example_of_each_kind_can_be_seen_without_a_database(windsock: Command, home: Path, kind: EventKind) -> None:
    result = windsock("alerts", "render", "--kind", kind.value)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("Subject: ")


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_it_can_be_seen_as_every_service_gets_it(windsock: Command, home: Path, form: str) -> None:
    result = windsock("alerts", "render", "--kind", "task_failed", "--format", form)
    assert result.exit_code == 0, result.stderr
    assert "PartitionMissing" in result.stdout
    if form not in ("text", "html", "chat"):
        assert isinstance(json.loads(result.stdout), dict)


def test_a_real_delivery_is_shown_with_its_links(windsock: Command, store: Store) -> None:
    result = windsock("alerts", "render", str(delivered(store, EventKind.TASK_FAILED)))
    assert result.exit_code == 0, result.stderr
    assert "Failed: daily_report.load_orders" in result.stdout
    assert "Run: http://localhost:8080/dags/daily_report/runs/" in result.stdout
    assert "Runbook: http://localhost:8080/runbooks/WindsockTaskFailures.md" in result.stdout


def test_an_alert_has_the_severity_that_the_file_says(windsock: Command, home: Path, store: Store) -> None:
    (home / "alerting.yml").write_text("severity: {task_failed: critical}\nroute: {receiver: nobody}\n")
    number = str(delivered(store, EventKind.TASK_FAILED))
    for words in ((number,), ("--kind", "task_failed")):
        result = windsock("alerts", "render", *words, "--format", "json")
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["severity"] == "critical"


def test_templates_of_ones_own_are_shown_and_what_is_wrong_with_one_is_told(windsock: Command, home: Path) -> None:
    folder = home / "alert_templates"
    folder.mkdir(parents=True)
    (folder / "task_failed.text.j2").write_text("{{ where }} broke")
    assert "daily_report.load_orders broke" in windsock("alerts", "render", "--kind", "task_failed").stdout
    (folder / "task_failed.text.j2").write_text("{{ wher }} broke")
    result = windsock("alerts", "render", "--kind", "task_failed")
    assert result.exit_code == 1
    assert "Attempt 3 of 3 failed" in result.stdout
    assert result.stderr == (
        "windsock: task_failed.text.j2 is not used, the built-in template is: 'wher' is undefined\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name an alert (see windsock alerts list), or an example: --kind task_failed"),
        (("3", "--kind", "test"), "name an alert (see windsock alerts list), or an example: --kind task_failed"),
        (("--kind", "task_faild"), "there is no kind of event 'task_faild', did you mean task_failed?"),
        (("--kind", "test", "--format", "slak"), "there is no format 'slak', did you mean slack?"),
        (("99",), "there is no alert 99"),
    ],
)
def test_what_cannot_be_shown_is_told(windsock: Command, store: Store, words: tuple[str, ...], told: str) -> None:
    result = windsock("alerts", "render", *words)
    assert result.exit_code != 0
    assert told in result.stderr


def test_the_browser_is_given_a_page_that_needs_nothing_else(
    windsock: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", opened.append)
    assert windsock("alerts", "render", "--kind", "task_failed", "--open").exit_code == 0
    (path,) = map(Path, opened)
    page = path.read_text()
    path.unlink()
    assert path.suffix == ".html"
    assert "cid:" not in page
    assert "data:image/png;base64," in page
