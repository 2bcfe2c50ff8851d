"""The example DAGs do what they say."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.authoring.attempt_context import AttemptContext, NoXCom, bash_facts
from engine.authoring.context import build_context
from engine.authoring.execution import execute
from engine.authoring.loader import load_file
from engine.authoring.serialize import serialize
from engine.authoring.serialized import CronSchedule, DeltaSchedule, NoSchedule, SerializedDag
from engine.authoring.templating import render_bash
from engine.parsing.processor import examples_folder

DAY = datetime(2026, 3, 1, tzinfo=UTC)
FOLDER = examples_folder() or Path()


def record(dag_id: str, task_id: str, **changes: Any) -> AttemptContext:
    values: dict[str, Any] = {
        "dag_id": dag_id,
        "task_id": task_id,
        "run_id": "manual__1",
        "map_index": -1,
        "try_number": 1,
        "max_tries": 1,
        "run_type": "manual",
        "params": {},
        "conf": {},
        "log_url": "http://localhost/log",
        "hostname": "host",
    }
    dates = ("logical_date", "data_interval_start", "data_interval_end", "run_after", "run_start_date", "queued_at")
    return AttemptContext(**(values | dict.fromkeys((*dates, "start_date"), DAY) | changes))


def example(name: str) -> SerializedDag:
    return serialize(load_file(FOLDER / f"{name}.py").dag(name))


def run_bash(dag: SerializedDag, task_id: str, params: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    task = dag.task(task_id)
    assert task.bash is not None
    facts = bash_facts(dag, task)
    attempt = record(dag.dag_id, task_id, params=params, dag=facts[0], task=facts[1])
    rendered = render_bash(task.bash, attempt, NoXCom())
    return subprocess.run(["bash", "-c", rendered.command], env=rendered.env, capture_output=True, text=True)


def test_hello_world_runs_by_hand_and_greets() -> None:
    dag = load_file(FOLDER / "hello_world.py").dag("hello_world")
    assert isinstance(dag.schedule, NoSchedule)
    assert run_bash(serialize(dag), "hello", {}).stdout == "Hello from run manual__1\n"
    task = dag.get_task("world")
    context = build_context(record("hello_world", "world", params=dag.params), dag, task, NoXCom())
    assert execute(task, context) == "Hello world, this is the run of 2026-03-01."


def test_the_failing_examples_fail_and_ask_for_what_they_promise(capsys: pytest.CaptureFixture[str]) -> None:
    callback = example("example_failure_callback")
    assert (callback.callbacks, callback.task("fail").callbacks) == (("on_failure",), ("on_failure",))
    assert run_bash(callback, "fail", {}).returncode == 1
    dag = load_file(FOLDER / "example_failure_callback.py").dag("example_failure_callback")
    task = dag.get_task("fail")
    context = build_context(record(dag.dag_id, "fail"), dag, task, NoXCom())
    task.callbacks("on_failure")[0](context)
    dag.callbacks("on_failure")[0](context)
    assert "Its log: http://localhost/log" in capsys.readouterr().out

    email = example("example_failure_email").task("fail")
    assert (email.email, email.email_on_failure) == (("oncall@example.com",), True)
    mail_dag = load_file(FOLDER / "example_failure_email.py").dag("example_failure_email")
    mail_task = mail_dag.get_task("fail")
    with pytest.raises(ZeroDivisionError):
        execute(mail_task, build_context(record(mail_dag.dag_id, "fail"), mail_dag, mail_task, NoXCom()))


def test_the_sla_example_is_due_every_half_hour_with_two_minutes_allowed() -> None:
    dag = example("example_sla")
    assert dag.schedule == CronSchedule("*/30 * * * *", "UTC")
    assert (dag.task("sleep").sla_seconds, dag.callbacks) == (120.0, ("sla_miss",))


def git(folder: Path, *command: str) -> str:
    identity = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    names = {f"GIT_{who}_{what}": "t@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", "-C", str(folder), *command],
        env={**os.environ, **identity, **names},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_git_pull_moves_the_folder_to_the_newest_commit_of_the_branch(tmp_path: Path) -> None:
    dag = example("example_git_pull")
    assert (dag.schedule, dag.is_paused_upon_creation) == (DeltaSchedule(300.0), True)
    upstream, clone = tmp_path / "upstream", tmp_path / "clone"
    upstream.mkdir()
    git(upstream, "init", "--quiet", "--initial-branch", "release")
    (upstream / "a.py").write_text("one")
    git(upstream, "add", ".")
    git(upstream, "commit", "--quiet", "-m", "one")
    git(tmp_path, "clone", "--quiet", str(upstream), str(clone))
    (upstream / "a.py").write_text("two")
    git(upstream, "commit", "--quiet", "-am", "two")
    (clone / "a.py").write_text("local change")
    params = {"repository": str(clone), "branch": "release"}
    done = run_bash(dag, "pull", params)
    assert done.returncode == 0, done.stderr
    assert "two" in done.stdout
    assert (clone / "a.py").read_text() == "two"
    assert "Already at" in run_bash(dag, "pull", params).stdout


def test_git_pull_says_what_to_do_where_there_is_no_clone_and_runs_no_text_of_its_params(tmp_path: Path) -> None:
    dag = example("example_git_pull")
    done = run_bash(dag, "pull", {"repository": str(tmp_path), "branch": "main"})
    assert done.returncode == 1
    assert "is not a git clone" in done.stderr
    run_bash(dag, "pull", {"repository": f"{tmp_path}; touch {tmp_path}/pwned", "branch": f"$(touch {tmp_path}/pwned)"})
    assert list(tmp_path.iterdir()) == []
