from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import select, update

from engine.authoring.serialized import CronSchedule, NoSchedule, SerializedDag, SerializedTask
from engine.logs.paths import attempt_log_path
from engine.metastore.processes import identify, register
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store
from engine.metastore.tables import DagRun, DagSchedule, DagVersion
from tests.integration.cli.conftest import START, add_dag, insert, make_dag
from tests.servers.processes import wait_until

Command = Callable[..., Result]


@pytest.fixture
def scheduler(store: Store) -> None:
    """A scheduler that lives, by its heartbeat."""
    store.run(lambda tx: register(tx, identify(ProcessKind.SCHEDULER)))


@pytest.fixture
def import_error(store: Store) -> None:
    row = {
        "path_hash": "1" * 64,
        "path": "/dags/broken.py",
        "dag_count": 0,
        "error": "Traceback\nSyntaxError: invalid syntax",
        "error_summary": "SyntaxError: invalid syntax",
        "error_remedy": "Correct line 3.",
        "error_line": 3,
        "error_since": START,
    }
    insert(store, "dag_file", row)


def end_run(store: Store, state: str) -> None:
    """What a scheduler does, in one stroke."""

    def work(tx: Any) -> None:
        tx.connection.execute(update(DagRun).values(state=state, end_date=tx.now))

    store.run(work)


def queued_runs(store: Store) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(select(DagRun.__table__)).mappings())


def test_list_shows_each_dag_and_its_last_run(windsock: Command, failed_run: str) -> None:
    rows = {row["dag_id"]: row for row in json.loads(windsock("dags", "list", "-o", "json").stdout)}
    assert rows["hello_world"]["last_state"] == "failed"
    assert rows["nightly"]["last_state"] is None
    assert rows["nightly"]["is_paused"] is False
    table = windsock("dags", "list").stdout
    assert "hello_world" in table
    assert "failed" in table


def test_a_paused_dag_has_no_next_run(windsock: Command, dags: Store) -> None:
    row = {"dag_id": "nightly", "is_paused": False, "next_run_after": START}
    insert(dags, "dag_schedule", row)

    def next_run() -> Any:
        rows = json.loads(windsock("dags", "list", "-o", "json").stdout)
        return next(row["next_run"] for row in rows if row["dag_id"] == "nightly")

    assert next_run() == START.isoformat()
    windsock("dags", "pause", "nightly")
    assert next_run() is None


def test_no_dags_yet_says_where_to_put_them(windsock: Command, store: Store, home: Path) -> None:
    assert str(home / "dags") in windsock("dags", "list").stderr


def test_list_points_to_import_errors(windsock: Command, dags: Store, import_error: None) -> None:
    assert "1 file cannot be imported: windsock dags errors" in windsock("dags", "list").stderr


@pytest.fixture
def unfit_dag(dags: Store) -> str:
    """A DAG that is allowed, and hardly meant as it is."""
    task = SerializedTask(task_id="load", operator="BashOperator", kind="bash", email=("ops@",), pool="nope")
    add_dag(dags, SerializedDag(dag_id="unfit", fileloc="/dags/unfit.py", schedule=NoSchedule(), tasks=(task,)))
    return "unfit"


def test_list_and_show_tell_what_is_hardly_meant(windsock: Command, unfit_dag: str) -> None:
    address = "task load: email has 'ops@', which is no mail address: nobody is told there"
    pool = "a task needs a slot of the pool 'nope', which is not there, and waits until: windsock pools set nope 1"
    listed = windsock("dags", "list")
    assert listed.exit_code == 0
    assert [line for line in listed.stderr.splitlines() if line] == [f"unfit: {pool}.", f"unfit: {address}."]
    rows = {row["dag_id"]: row for row in json.loads(windsock("dags", "list", "-o", "json").stdout)}
    assert {name: row["warnings"] for name, row in rows.items() if row["warnings"]} == {unfit_dag: [pool, address]}
    lines = [line.strip() for line in windsock("dags", "show", unfit_dag).stdout.splitlines()]
    assert [line for line in lines if line.startswith("warning:")] == [
        f"warning:      {pool}",
        f"warning:      {address}",
    ]
    assert "warning" not in windsock("dags", "show", "nightly").stdout


def test_a_warning_tells_no_secret(windsock: Command, dags: Store) -> None:
    task = SerializedTask(task_id="load", operator="BashOperator", kind="bash", email=("canary-of-smtp",))
    add_dag(dags, SerializedDag(dag_id="leaky", fileloc="/dags/d.py", schedule=NoSchedule(), tasks=(task,)))
    for words in (("dags", "list"), ("dags", "list", "-o", "json"), ("dags", "show", "leaky")):
        told = windsock(*words, WINDSOCK__SMTP__SMTP_PASSWORD="canary-of-smtp").output
        assert "canary-of-smtp" not in told
        assert "no mail address" in told


def test_list_tells_the_warnings_of_a_few_dags_and_counts_the_others(windsock: Command, dags: Store) -> None:
    task = SerializedTask(task_id="load", operator="BashOperator", kind="bash", email=("ops@",))
    for number in range(7):
        add_dag(dags, SerializedDag(dag_id=f"d{number}", fileloc="/dags/d.py", schedule=NoSchedule(), tasks=(task,)))
    told = windsock("dags", "list").stderr.splitlines()
    assert told[-1] == "2 more DAGs have warnings: windsock dags show d5"
    assert len([line for line in told if "'ops@'" in line]) == 5


def test_list_shows_a_dag_of_a_newer_version_without_its_warnings(
    windsock: Command, unfit_dag: str, dags: Store
) -> None:
    newer = '{"email":["ops@"],"tasks":3}'
    dags.run(
        lambda tx: tx.connection.execute(update(DagVersion).where(DagVersion.dag_id == unfit_dag).values(data=newer))
    )
    listed = windsock("dags", "list")
    assert unfit_dag in listed.stdout
    assert "ops@" not in listed.stderr


def test_errors_tell_file_line_and_remedy_and_exit_with_one(windsock: Command, import_error: None) -> None:
    result = windsock("dags", "errors")
    assert result.exit_code == 1
    assert "/dags/broken.py:3" in result.stdout
    assert "SyntaxError: invalid syntax" in result.stdout
    assert "Correct line 3." in result.stdout


def test_no_errors_exit_with_zero(windsock: Command, store: Store) -> None:
    result = windsock("dags", "errors")
    assert (result.exit_code, result.stderr) == (0, "No import errors.\n")


def test_trigger_queues_a_run_with_its_conf(windsock: Command, dags: Store, scheduler: None) -> None:
    result = windsock("dags", "trigger", "hello_world", "--run-id", "mine", "--conf", '{"a": 1}')
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "http://localhost:8080/dags/hello_world/runs/mine" in result.stdout
    (run,) = queued_runs(dags)
    assert (run["run_id"], run["state"], run["conf"]) == ("mine", "queued", {"a": 1})
    assert run["triggered_by"].startswith("cli:")


def test_trigger_takes_a_logical_date_in_the_default_time_zone(windsock: Command, dags: Store) -> None:
    words = ("dags", "trigger", "nightly", "--logical-date", "2026-11-23T12:00:00")
    assert windsock(*words, WINDSOCK__CORE__DEFAULT_TIMEZONE="Europe/Berlin").exit_code == 0
    (run,) = queued_runs(dags)
    assert run["logical_date"].isoformat() == "2026-11-23T11:00:00+00:00"
    assert run["data_interval_end"].isoformat() == "2026-11-23T03:00:00+00:00"


def test_trigger_as_json_is_one_document(windsock: Command, dags: Store, scheduler: None) -> None:
    (row,) = json.loads(windsock("dags", "trigger", "hello_world", "--run-id", "mine", "-o", "json").stdout)
    assert (row["dag_id"], row["run_id"], row["state"]) == ("hello_world", "mine", "queued")


@pytest.mark.parametrize("run_id", ["", "../x", "a b"])
def test_a_run_id_that_cannot_be_one_is_refused(windsock: Command, dags: Store, run_id: str) -> None:
    result = windsock("dags", "trigger", "hello_world", "--run-id", run_id)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"windsock: {run_id!r} is no run id")
    assert queued_runs(dags) == []


def test_a_run_id_that_is_taken_is_refused(windsock: Command, dags: Store) -> None:
    windsock("dags", "trigger", "hello_world", "--run-id", "mine")
    result = windsock("dags", "trigger", "hello_world", "--run-id", "mine")
    assert result.exit_code == 1
    assert "already has a run 'mine'" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--conf", "{a: 1}", "--conf is not JSON"),
        ("--conf", "[1]", "must be a JSON object"),
        ("--logical-date", "tomorrow", "--logical-date must look like"),
    ],
)
def test_what_cannot_be_read_is_misuse(windsock: Command, dags: Store, option: str, value: str, words: str) -> None:
    result = windsock("dags", "trigger", "hello_world", option, value)
    assert result.exit_code == 2
    assert words in result.stderr
    assert queued_runs(dags) == []


def test_an_unknown_dag_is_answered_with_the_closest(windsock: Command, dags: Store) -> None:
    result = windsock("dags", "trigger", "hello_wrld")
    assert result.exit_code == 1
    assert result.stderr == "windsock: there is no DAG hello_wrld; did you mean hello_world?\n"


def test_an_unknown_dag_hints_at_import_errors(windsock: Command, dags: Store, import_error: None) -> None:
    result = windsock("dags", "trigger", "broken")
    assert result.stderr == "windsock: there is no DAG broken. 1 DAG file cannot be imported: windsock dags errors\n"


def test_a_dag_that_is_not_parsed_yet_is_waited_for_right_after_start(windsock: Command, store: Store) -> None:
    store.run(lambda tx: register(tx, identify(ProcessKind.DAG_PROCESSOR)))
    results: list[Result] = []
    thread = Thread(target=lambda: results.append(windsock("dags", "trigger", "hello_world", "--run-id", "mine")))
    thread.start()
    add_dag(store, make_dag("hello_world"))
    thread.join(60)
    assert results[0].exit_code == 0, results[0].output
    assert [run["run_id"] for run in queued_runs(store)] == ["mine"]


def test_without_a_scheduler_it_says_so_at_once(windsock: Command, dags: Store) -> None:
    assert "no scheduler is running" in windsock("dags", "trigger", "hello_world").stderr


def test_a_paused_dag_says_that_the_run_waits(windsock: Command, dags: Store, scheduler: None) -> None:
    windsock("dags", "pause", "hello_world")
    result = windsock("dags", "trigger", "hello_world")
    assert result.exit_code == 0
    assert "windsock dags unpause hello_world" in result.stderr


@pytest.mark.parametrize(("state", "status"), [("success", 0), ("failed", 1)])
def test_wait_ends_with_the_run_and_as_it_did(
    windsock: Command, dags: Store, scheduler: None, state: str, status: int
) -> None:
    results: list[Result] = []
    thread = Thread(target=lambda: results.append(windsock("dags", "trigger", "hello_world", "--wait")))
    thread.start()
    wait_until(lambda: queued_runs(dags), "the run")
    end_run(dags, state)
    thread.join(60)
    assert results[0].exit_code == status, results[0].output
    assert f"run {state}" in results[0].stdout
    assert ("windsock tasks states" in results[0].stderr) is (state == "failed")


def test_wait_gives_up_after_its_timeout(windsock: Command, dags: Store, scheduler: None) -> None:
    result = windsock("dags", "trigger", "hello_world", "--run-id", "mine", "--wait", "--timeout", "0.2")
    assert result.exit_code == 1
    assert "mine is still queued after 0.2 s" in result.stderr


def test_pause_and_unpause_turn_the_switch_and_say_when_it_was_turned(windsock: Command, dags: Store) -> None:
    def paused() -> list[bool]:
        with dags.read() as connection:
            return list(connection.execute(select(DagSchedule.is_paused)).scalars())

    assert windsock("dags", "unpause", "nightly").stdout == "nightly was unpaused already.\n"
    assert windsock("dags", "pause", "nightly").stdout == "nightly is paused.\n"
    assert paused() == [True]
    assert windsock("dags", "pause", "nightly").stdout == "nightly was paused already.\n"
    assert windsock("dags", "unpause", "nightly").stdout == "nightly is unpaused.\n"
    assert paused() == [False]
    assert "did you mean nightly?" in windsock("dags", "pause", "nightl").stderr


def test_show_tells_the_zone_of_the_start_date_also_beside_a_schedule_of_another(
    windsock: Command, dags: Store
) -> None:
    midnight = datetime(2026, 3, 26, 23, tzinfo=UTC)
    schedule = CronSchedule("0 3 * * *", "Europe/Berlin")
    add_dag(
        dags, SerializedDag(dag_id="berlin", fileloc="/dags/d.py", schedule=schedule, tasks=(), start_date=midnight)
    )
    lines = windsock("dags", "show", "berlin").stdout.splitlines()
    assert "  schedule:     0 3 * * * (Europe/Berlin)" in lines
    assert "  start date:   2026-03-26 23:00:00 UTC" in lines


def test_show_tells_schedule_and_tasks(windsock: Command, dags: Store) -> None:
    result = windsock("dags", "show", "nightly")
    assert "0 3 * * * (UTC)" in result.stdout
    assert "EmptyOperator" in result.stdout
    assert json.loads(windsock("dags", "show", "nightly", "-o", "json").stdout)["dag_id"] == "nightly"


def test_runs_are_listed(windsock: Command, failed_run: str) -> None:
    (run,) = json.loads(windsock("dags", "runs", "hello_world", "-o", "json").stdout)
    assert (run["run_id"], run["state"]) == (failed_run, "failed")
    assert "windsock dags trigger nightly" in windsock("dags", "runs", "nightly").stderr
    assert windsock("dags", "runs", "nope").exit_code == 1


def test_a_table_calls_an_operator_as_a_dag_file_does_and_json_as_the_metrics_do(
    windsock: Command, dags: Store
) -> None:
    tasks = (SerializedTask(task_id="load", operator="_PythonDecoratedOperator", kind="python"),)
    add_dag(dags, SerializedDag(dag_id="written", fileloc="/dags/d.py", schedule=NoSchedule(), tasks=tasks))
    for words in (("tasks", "list", "written"), ("dags", "show", "written")):
        assert "@task" in windsock(*words).stdout
        assert "_PythonDecoratedOperator" not in windsock(*words).stdout
        assert '"_PythonDecoratedOperator"' in windsock(*words, "-o", "json").stdout


def test_tasks_are_listed_upstream_first(windsock: Command, dags: Store) -> None:
    rows = json.loads(windsock("tasks", "list", "hello_world", "-o", "json").stdout)
    assert [(row["task_id"], row["upstream"], row["retries"]) for row in rows] == [
        ("hello", [], 0),
        ("world", ["hello"], 2),
    ]


def test_states_tell_attempt_and_error(windsock: Command, failed_run: str) -> None:
    for words in ((failed_run,), ("latest",), ()):
        result = windsock("tasks", "states", "hello_world", *words)
        assert result.exit_code == 0
        assert "2 of 2" in result.stdout
        assert "exited with code 3" in result.stdout
        assert "upstream_failed" in result.stdout


def test_states_of_an_unknown_run_are_refused_with_the_closest(windsock: Command, failed_run: str) -> None:
    result = windsock("tasks", "states", "hello_world", "manual__2")
    assert result.stderr == "windsock: hello_world has no run manual__2; did you mean manual__1?\n"


def test_logs_print_the_last_attempt_or_the_one_asked_for(windsock: Command, failed_run: str, home: Path) -> None:
    for number in (1, 2):
        path = home / "logs" / attempt_log_path("hello_world", failed_run, "hello", number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"attempt {number}\n")
    assert windsock("tasks", "logs", "hello_world", failed_run, "hello").stdout == "attempt 2\n"
    assert windsock("tasks", "logs", "hello_world", "latest", "hello", "--try", "1").stdout == "attempt 1\n"


def test_logs_that_cannot_be_are_explained(windsock: Command, failed_run: str) -> None:
    def told(*words: str) -> str:
        result = windsock("tasks", "logs", "hello_world", failed_run, *words)
        assert result.exit_code == 1
        return result.stderr

    assert "there is no log at" in told("hello")
    assert "has had 2 attempts so far" in told("hello", "--try", "3")
    assert "has had no attempts so far; it is upstream_failed" in told("world")
    assert "did you mean hello?" in told("helo")


def test_why_of_a_run_that_is_over_says_so(windsock: Command, failed_run: str) -> None:
    told = windsock("dags", "why", "hello_world")
    assert told.stdout == f"Nothing of {failed_run} waits or runs: windsock tasks states hello_world {failed_run}\n"


@pytest.mark.usefixtures("failed_run")
def test_why_says_in_one_sentence_why_a_task_waits(windsock: Command) -> None:
    dag_id = json.loads(windsock("dags", "list", "-o", "json").stdout)[0]["dag_id"]
    made = windsock("dags", "trigger", dag_id, "--run-id", "waits")
    assert made.exit_code == 0, made.output
    task_id = json.loads(windsock("tasks", "list", dag_id, "-o", "json").stdout)[0]["task_id"]
    told = windsock("dags", "why", dag_id, "latest", task_id)
    assert told.stdout == f"{task_id}: no scheduler is running. Start one: windsock up --detach\n"
    for words in (["--json"], ["--output", "json"]):
        (answer,) = json.loads(windsock("dags", "why", dag_id, "waits", task_id, *words).stdout)
        assert (answer["reason"], answer["run_id"], answer["state"]) == ("no_scheduler", "waits", None)
    all_tasks = [row["task_id"] for row in json.loads(windsock("tasks", "list", dag_id, "-o", "json").stdout)]
    for words in ((), ("latest",)):
        told = windsock("dags", "why", dag_id, *words)
        assert told.stdout == f"{', '.join(all_tasks)}: no scheduler is running. Start one: windsock up --detach\n"
    wrong = windsock("dags", "why", dag_id, "waits", f"{task_id}x")
    assert wrong.exit_code == 1
    assert f"waits has no task {task_id}x; did you mean {task_id}?" in wrong.stderr
