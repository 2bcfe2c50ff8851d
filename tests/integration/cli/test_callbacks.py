from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from click.testing import Result

from engine.metastore.store import Store
from tests.integration.cli.conftest import insert

Command = Callable[..., Result]
MOMENT = datetime(2026, 11, 23, 14, tzinfo=UTC)


@pytest.fixture
def dead_callback(store: Store) -> int:
    row = {
        "id": 7,
        "dedup_key": "k",
        "kind": "on_failure",
        "scope": "task",
        "dag_id": "daily",
        "fileloc": "/dags/daily.py",
        "payload": {"run_pk": 1, "task_id": "load", "try_number": 2},
        "state": "dead",
        "due_at": MOMENT,
        "attempts": 2,
        "failures": 2,
        "error": "page: RuntimeError: the pager is off",
        "output": "calling\nRuntimeError: the pager is off",
        "log_path": "dag_id=daily/x.on_failure.log",
        "created_at": MOMENT,
        "done_at": MOMENT,
    }
    insert(store, "callback_request", row)
    return 7


def test_list_tells_what_became_of_each(windsock: Command, dead_callback: int) -> None:
    result = windsock("callbacks", "list")
    assert result.exit_code == 0, result.output
    for words in ("on_failure", "daily.load", "dead", "the pager is off"):
        assert words in result.output
    assert json.loads(windsock("callbacks", "list", "--output", "json").output)[0]["failures"] == 2
    assert "No callbacks" in windsock("callbacks", "list", "--state", "done").output


def test_show_tells_the_outcome_and_the_end_of_the_output(windsock: Command, dead_callback: int) -> None:
    shown = windsock("callbacks", "show", "7").output
    assert shown.splitlines() == [
        "on_failure_callback of task daily.load, run (gone): dead",
        "ended:  2026-11-23 14:00:00 UTC",
        "tries:  2, of which 2 failed",
        "error:  page: RuntimeError: the pager is off",
        "log:    dag_id=daily/x.on_failure.log",
        "output, its end:",
        "calling",
        "RuntimeError: the pager is off",
    ]
    assert json.loads(windsock("callbacks", "show", "7", "--output", "json").output)[0]["id"] == 7


def test_one_that_is_not_there_says_where_to_look(windsock: Command, store: Store) -> None:
    result = windsock("callbacks", "show", "8")
    assert result.exit_code == 1
    assert "there is no callback 8; see: windsock callbacks list" in result.output
