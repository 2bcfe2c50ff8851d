from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from click.testing import Result

from engine.metastore.store import Store
from tests.integration.cli.conftest import START, insert

Command = Callable[..., Result]


@pytest.fixture
def promised(failed_run: str, store: Store) -> str:
    """Deadlines of that run: one of each state, an hour apart."""
    for number, (task_id, state) in enumerate(
        (("hello", "met"), ("world", "missed"), ("", "open"), ("gone", "cancelled"))
    ):
        due = {"due_at": START + timedelta(hours=number), "at_risk_at": START}
        row = {"run_pk": 1, "dag_id": "hello_world", "task_id": task_id, "position": 0, "state": state, **due}
        insert(store, "sla_deadline", row)
    return failed_run


def test_deadlines_are_listed_with_the_latest_first(windsock: Command, promised: str) -> None:
    rows = json.loads(windsock("sla", "list", "-o", "json").stdout)
    assert [(row["task"], row["state"]) for row in rows] == [
        ("gone", "cancelled"),
        ("the run", "open"),
        ("world", "missed"),
        ("hello", "met"),
    ]
    assert {(row["dag_id"], row["run_id"]) for row in rows} == {("hello_world", "manual__1")}
    assert "missed" in windsock("sla", "list").stdout


def test_they_are_chosen_by_dag_and_state(windsock: Command, promised: str) -> None:
    told = windsock("sla", "list", "--dag", "hello_world", "--state", "missed", "-o", "json").stdout
    assert [row["task_id"] for row in json.loads(told)] == ["world"]
    assert windsock("sla", "list", "--dag", "nightly").stderr == "No deadlines here.\n"
    assert "did you mean nightly?" in windsock("sla", "list", "--dag", "nightli").stderr


def test_why_tells_the_deadline_of_a_task(windsock: Command, promised: str) -> None:
    assert windsock("dags", "why", "hello_world", promised, "world").stdout.splitlines()[1:] == [
        "SLA: due 2026-11-20 01:00:00 UTC, missed"
    ]
    (told,) = json.loads(windsock("dags", "why", "hello_world", promised, "world", "--json").stdout)
    assert told["sla"] == "missed"
