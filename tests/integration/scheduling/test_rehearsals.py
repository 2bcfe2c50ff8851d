"""``dags test`` and ``tasks test``: a run in one process, with the scheduler's transitions but not its metastore."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.binaries import ROOT

Command = Callable[..., subprocess.CompletedProcess[str]]

HEADER = """
import os, sys, time
from datetime import datetime, timedelta, timezone
from airflow.sdk import DAG, task
from airflow.exceptions import AirflowSkipException
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
"""


@pytest.fixture
def windsock(tmp_path: Path) -> Command:
    """Run a command on a DAG folder of its own, in a home that nobody has prepared."""
    (tmp_path / "dags").mkdir()
    environment = {
        **os.environ,
        "WINDSOCK_HOME": str(tmp_path / "home"),
        "WINDSOCK__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }

    def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "engine.cli", *words]
        return subprocess.run(
            command, env=environment, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def write(folder: Path, dag_id: str, body: str, preamble: str = "", arguments: str = "") -> None:
    inside = textwrap.indent(textwrap.dedent(body), "    ")
    opening = f"with DAG({dag_id!r}, start_date=datetime(2026, 1, 1), {arguments}) as dag:\n"
    (folder / "dags" / f"{dag_id}.py").write_text(HEADER + textwrap.dedent(preamble) + opening + inside)


def summary(output: str) -> dict[str, str]:
    """The states below the empty line."""
    lines = output.rpartition("\n\n")[2].splitlines()[:-1]
    return dict(line.split() for line in lines)


def test_a_run_is_played_with_branches_retries_sensors_and_values(windsock: Command, tmp_path: Path) -> None:
    write(
        tmp_path,
        "d",
        """
        @task.branch
        def choose():
            return "flaky"
        @task(retries=1, retry_delay=timedelta(0))
        def flaky(ti):
            print("on", sys.stdin.isatty(), ti.try_number)
            if ti.try_number == 1:
                raise ValueError("not yet")
            return {"n": 7}
        @task.sensor(mode="reschedule", poke_interval=0.2, timeout=30)
        def sense(ti):
            mark = os.environ["TMPDIR"] + "/mark"
            return os.path.exists(mark) or os.mkdir(mark)
        other = EmptyOperator(task_id="other")
        command = "echo {{ ti.xcom_pull('flaky')['n'] + dag_run.conf['x'] }} {{ ds }}"
        after = BashOperator(task_id="after", bash_command=command, trigger_rule="none_failed_min_one_success")
        made = flaky()
        choose() >> [made, other] >> after
        made >> sense() >> after
        """,
    )
    done = windsock("dags", "test", "d", "2026-02-03", "--conf", '{"x": 1}')
    assert done.returncode == 0, done.stdout + done.stderr
    expected = {"choose": "success", "flaky": "success", "sense": "success", "other": "skipped", "after": "success"}
    assert summary(done.stdout) == expected
    assert "\n8 2026-02-03\n" in done.stdout
    assert "flaky up_for_retry: ValueError: not yet" in done.stdout
    assert "sense up_for_reschedule" in done.stdout
    assert "sense attempt 2" not in done.stdout


def test_a_run_that_fails_ends_with_status_1_and_says_why(windsock: Command, tmp_path: Path) -> None:
    body = 'BashOperator(task_id="a", bash_command="exit 3") >> EmptyOperator(task_id="b")'
    write(tmp_path, "d", body)
    done = windsock("dags", "test", "d")
    assert done.returncode == 1
    assert "a failed: exited with code 3\n" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert summary(done.stdout) == {"a": "failed", "b": "upstream_failed"}
    assert done.stdout.endswith("d: failed\n")


def test_a_bash_task_ends_with_the_words_that_the_scheduler_has_for_it(windsock: Command, tmp_path: Path) -> None:
    body = """
        BashOperator(task_id="fails", bash_command="echo no rows; exit 3")
        BashOperator(task_id="skips", bash_command="echo no rows; exit 99")
        BashOperator(task_id="dies", bash_command="kill -9 $$")
        """
    write(tmp_path, "d", body)
    done = windsock("dags", "test", "d")
    assert "fails failed: exited with code 3: no rows\n" in done.stdout
    assert "skips skipped: exited with code 99, which means skip\n" in done.stdout
    assert "dies failed: killed by SIGKILL\n" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_an_operator_that_says_why_it_failed_is_quoted_without_a_traceback(windsock: Command, tmp_path: Path) -> None:
    write(tmp_path, "d", 'TriggerDagRunOperator(task_id="a", trigger_dag_id="nope")')
    done = windsock("dags", "test", "d")
    assert "a failed: AirflowException: nope could not be triggered" in done.stdout
    assert "engine.authoring" not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_what_an_operator_logs_is_on_the_terminal(windsock: Command, tmp_path: Path) -> None:
    preamble = """
        from airflow.models import BaseOperator
        class Loads(BaseOperator):
            def execute(self, context):
                self.log.info("%s rows", 7)
                context["ti"].log.info("from ti")
    """
    write(tmp_path, "d", 'Loads(task_id="a")', preamble)
    for words in (("tasks", "test", "d", "a"), ("dags", "test", "d")):
        done = windsock(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "INFO - 7 rows\nINFO - from ti\n" in done.stdout


def test_an_email_that_is_no_address_is_said_before_the_run(windsock: Command, tmp_path: Path) -> None:
    write(tmp_path, "d", 'EmptyOperator(task_id="a", email="ops@")')
    done = windsock("dags", "test", "d")
    assert done.returncode == 0
    assert "windsock: task a: email has 'ops@', which is no mail address: nobody is told there\n" in done.stderr


def test_nothing_is_left_behind_and_no_home_is_made(windsock: Command, tmp_path: Path) -> None:
    write(tmp_path, "d", 'EmptyOperator(task_id="a")', arguments="schedule='@daily', is_paused_upon_creation=True")
    assert windsock("dags", "test", "d").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dags"]


def test_tasks_have_the_terminal_of_the_command(windsock: Command, tmp_path: Path) -> None:
    write(tmp_path, "d", "@task\ndef ask():\n    print('got', input())\nask()")
    done = windsock("dags", "test", "d", stdin="an answer\n")
    assert "got an answer" in done.stdout
    assert done.returncode == 0


def test_a_task_that_is_killed_or_overruns_fails_with_the_reason(windsock: Command, tmp_path: Path) -> None:
    write(
        tmp_path,
        "d",
        """
        @task
        def dies():
            os.kill(os.getpid(), 9)
        @task(execution_timeout=timedelta(seconds=0.3))
        def hangs():
            while True:
                time.sleep(1)
        dies()
        hangs()
        """,
    )
    done = windsock("dags", "test", "d")
    assert "dies failed: killed by SIGKILL" in done.stdout
    assert "hangs failed: ran longer than its execution_timeout of 0.3 s" in done.stdout


def test_a_run_that_triggers_another_of_its_file_plays_both(windsock: Command, tmp_path: Path) -> None:
    preamble = """
    with DAG("other"):
        BashOperator(task_id="t", bash_command="echo other got {{ dag_run.conf['x'] }}")
    """
    body = """
    TriggerDagRunOperator(
        task_id="t", trigger_dag_id="other", conf={"x": 5}, wait_for_completion=True, poke_interval=0
    )
    """
    write(tmp_path, "d", body, preamble)
    done = windsock("dags", "test", "d")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "other got 5" in done.stdout
    assert "other.t success" in done.stdout


def test_one_task_runs_once_whatever_it_waits_for_and_however_often_it_may_be_retried(
    windsock: Command, tmp_path: Path
) -> None:
    body = """
    first = BashOperator(task_id="first", bash_command="exit 1")
    @task(retries=5)
    def second(ti, ds):
        print("attempt", ti.try_number, ds)
        raise ValueError("broken")
    first >> second()
    """
    write(tmp_path, "d", body)
    done = windsock("tasks", "test", "d", "second", "2026-02-03")
    assert done.returncode == 1
    assert "attempt 1 2026-02-03" in done.stdout
    assert done.stdout.count("second failed: ValueError: broken") == 1
    assert "first" not in done.stdout


def test_a_skipped_task_is_no_failure(windsock: Command, tmp_path: Path) -> None:
    write(tmp_path, "d", "@task\ndef t():\n    raise AirflowSkipException('nothing to do')\nt()")
    done = windsock("tasks", "test", "d", "t")
    assert (done.returncode, "t skipped: nothing to do" in done.stdout) == (0, True)


def test_names_that_are_not_there_are_told_with_the_nearest(windsock: Command, tmp_path: Path) -> None:
    write(tmp_path, "daily", 'EmptyOperator(task_id="load")')
    (tmp_path / "dags" / "broken.py").write_text("# a dag\nfrom airflow import nothing\n")
    dag = windsock("dags", "test", "dayly")
    assert dag.returncode == 1
    assert "there is no DAG dayly in" in dag.stderr
    assert "did you mean daily?" in dag.stderr
    assert "broken.py: Line 2: airflow has no 'nothing' here." in dag.stderr
    task = windsock("tasks", "test", "daily", "laod")
    assert task.stderr == "windsock: daily has no task laod; did you mean load?\n"


def test_a_file_outside_the_dag_folder_can_be_named(windsock: Command, tmp_path: Path) -> None:
    write(tmp_path, "d", 'EmptyOperator(task_id="a")')
    path = (tmp_path / "dags" / "d.py").rename(tmp_path / "elsewhere.py")
    assert windsock("dags", "test", "d").returncode == 1
    assert windsock("dags", "test", "d", "--file", str(path)).returncode == 0


def test_a_task_that_has_nothing_to_do_is_played_alone(windsock: Command, tmp_path: Path) -> None:
    write(tmp_path, "d", "EmptyOperator(task_id='a') >> EmptyOperator(task_id='b')")
    done = windsock("tasks", "test", "d", "b")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].endswith("b success")
