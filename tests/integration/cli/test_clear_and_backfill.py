"""Clearing, marking and backfilling on the command line, without a scheduler: words, choices, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from engine.authoring.serialized import CronSchedule, SerializedDag, SerializedTask
from engine.cli.main import cli
from engine.metastore.store import Store
from engine.metastore.tables import DagRun, TaskInstance
from tests.integration.cli.conftest import START, add_dag

Command = Callable[..., Result]


def states(store: Store) -> dict[str, Any]:
    with store.read() as connection:
        return {row.task_id: row.state for row in connection.execute(select(TaskInstance.task_id, TaskInstance.state))}


def run_state(store: Store) -> str:
    with store.read() as connection:
        return str(connection.execute(select(DagRun.state)).scalar_one())


@pytest.fixture
def nightly(dags: Store) -> Store:
    task = SerializedTask(task_id="t", operator="BashOperator", kind="bash")
    schedule = CronSchedule("@daily")
    add_dag(dags, SerializedDag(dag_id="etl", fileloc="/dags/e.py", schedule=schedule, tasks=(task,), start_date=START))
    return dags


def test_clear_counts_and_queues_the_run(windsock: Command, failed_run: str, store: Store) -> None:
    result = windsock("tasks", "clear", "hello_world", "--run", "latest", "-y")
    assert (result.stdout, result.exit_code) == ("Cleared 2 tasks of 1 run.\n", 0)
    assert "no scheduler is running" in result.stderr
    assert states(store) == {"hello": None, "world": None}
    assert run_state(store) == "queued"


def test_clear_asks_first_and_no_changes_nothing(sqlite_url: str, home: Any, failed_run: str, store: Store) -> None:
    environment = {"WINDSOCK_HOME": str(home), "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN": sqlite_url}
    result = CliRunner(env=environment).invoke(cli, ["tasks", "clear", "hello_world"], input="n\n")
    assert f"{failed_run}  hello  failed" in result.stdout
    assert "Clear 2 tasks of 1 run?" in result.stdout
    assert states(store) == {"hello": "failed", "world": "upstream_failed"}


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (("-t", "hel"), {"world"}),
        (("-t", "hel", "--downstream"), set()),
        (("-t", "world$", "--upstream"), set()),
        (("--only-running",), {"hello", "world"}),
        (("--only-failed", "-t", "hello"), {"world"}),
        (("--start-date", "2026-11-21"), {"hello", "world"}),
        (("--end-date", "2026-11-20"), set()),
    ],
)
def test_clear_takes_what_is_chosen(
    windsock: Command, failed_run: str, store: Store, words: tuple[str, ...], left: set[str]
) -> None:
    assert windsock("tasks", "clear", "hello_world", "-y", *words).exit_code == 0
    assert {task_id for task_id, state in states(store).items() if state} == left


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-t", "helo"), "no task of hello_world matches helo; did you mean hello?"),
        (("-t", "("), "is not a regular expression"),
        (("-s", "yesterday"), "--start-date must look like"),
        (("--run", "manual__2"), "did you mean manual__1?"),
    ],
)
def test_clear_says_what_is_wrong(windsock: Command, failed_run: str, words: tuple[str, ...], sentence: str) -> None:
    result = windsock("tasks", "clear", "hello_world", "-y", *words)
    assert result.exit_code in (1, 2)
    assert sentence in result.stderr


def test_a_task_is_marked(windsock: Command, failed_run: str, store: Store) -> None:
    result = windsock("tasks", "set-state", "hello_world", "latest", "hello", "success")
    assert result.stdout == "hello of manual__1 is marked as success.\n"
    assert states(store) == {"hello": "success", "world": None}
    assert run_state(store) == "queued"
    assert "has no task helo; did you mean hello?" in windsock(
        "tasks", "set-state", "hello_world", "latest", "helo", "success"
    ).stderr  # fmt: skip


def test_a_run_is_marked_as_success_and_only_a_running_one_as_failed(
    windsock: Command, failed_run: str, store: Store
) -> None:
    assert "manual__1 is failed; only a running run can be failed" in windsock(
        "dags", "set-state", "hello_world", "latest", "failed"
    ).stderr  # fmt: skip
    assert windsock("dags", "set-state", "hello_world", "latest", "success").exit_code == 0
    assert states(store) == {"hello": "success", "world": "success"}


def test_a_backfill_tells_its_plan_before_it_begins(windsock: Command, nightly: Store) -> None:
    result = windsock("dags", "backfill", "etl", "-s", "2026-11-20", "-e", "2026-11-22", "--dry-run")
    assert result.stdout.count("new run") == 3
    assert "2026-11-20 00:00:00" in result.stdout
    begun = windsock("dags", "backfill", "etl", "-s", "2026-11-20", "-e", "2026-11-22", "--no-wait")
    assert "Backfill 1 of etl: 3 runs, 0 left out." in begun.stdout
    assert "no scheduler is running" in begun.stderr
    runs = windsock("dags", "runs", "etl").stdout
    assert runs.count("backfill__2026-11-2") == 3


def test_a_backfill_is_cancelled_with_a_word(windsock: Command, nightly: Store) -> None:
    range_ = ("-s", "2026-11-20", "-e", "2026-11-22", "--no-wait")
    windsock("dags", "backfill", "etl", *range_)
    assert "is under way" in windsock("dags", "backfill", "etl", *range_).stderr
    assert windsock("dags", "backfill", "etl", "--cancel").stdout == (
        "Backfill 1 of etl is cancelled: 3 of its runs will not start; what runs goes on.\n"
    )
    assert "no backfill of etl is under way" in windsock("dags", "backfill", "etl", "--cancel").stderr
    assert windsock("dags", "backfill", "etl", *range_).exit_code == 0


def test_a_backfill_says_what_it_needs(windsock: Command, nightly: Store) -> None:
    assert "needs --start-date and --end-date" in windsock("dags", "backfill", "etl").stderr
    assert "no periodic schedule" in windsock(
        "dags", "backfill", "hello_world", "-s", "2026-11-20", "-e", "2026-11-21"
    ).stderr  # fmt: skip
