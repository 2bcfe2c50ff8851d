"""``dags test`` and ``tasks test`` where DAG files are broken: each is told, and none takes the command down."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.binaries import ROOT

Command = Callable[..., subprocess.CompletedProcess[str]]

GOOD = "from engine import DAG, EmptyOperator\nwith DAG({dag_id!r}):\n    EmptyOperator(task_id='a')\n"
ENDS_ITS_PROCESS = "import os\nfrom engine import DAG\nos._exit(3)\n"
HANGS = "import time\nfrom engine import DAG\ntime.sleep(10000)\n"
ENDED = (
    "The import ended its process with exit status 3. "
    "Remove the call that ends the process, such as os._exit(): a DAG file is imported, not run."
)
STOPPED = (
    "Line 3: the import was stopped after 2 s. Move slow work (network, database, sleep) from the top level into a "
    "task, or raise WINDSOCK__CORE__DAGBAG_IMPORT_TIMEOUT."
)
CYCLE = """
from engine import DAG, EmptyOperator
with DAG("cyc"):
    a, b, c = [EmptyOperator(task_id=name) for name in "abc"]
    a >> b >> c >> a
"""
DEFERS = """
from engine import DAG, BaseOperator
class Later(BaseOperator):
    def execute(self, context):
        self.defer(trigger=None, method_name="done")
with DAG("d"):
    Later(task_id="a", retries=2, retry_delay=0)
"""


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    folder = tmp_path / "dags"
    folder.mkdir()
    return folder


@pytest.fixture
def windsock(tmp_path: Path, dags: Path) -> Command:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WINDSOCK__")},
        "WINDSOCK_HOME": str(tmp_path / "home"),
        "WINDSOCK__CORE__DAGS_FOLDER": str(dags),
        "WINDSOCK__CORE__LOAD_EXAMPLES": "false",
        "WINDSOCK__CORE__DAGBAG_IMPORT_TIMEOUT": "2",
        "PYTHONPATH": str(ROOT),
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "engine.cli", *words]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
        )

    return run


def test_files_that_hang_or_end_their_process_are_told_and_the_others_are_read(windsock: Command, dags: Path) -> None:
    (dags / "ends.py").write_text(ENDS_ITS_PROCESS)
    (dags / "hangs.py").write_text(HANGS)
    (dags / "well.py").write_text(GOOD.format(dag_id="well"))
    done = windsock("dags", "test", "wel")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"windsock: there is no DAG wel in {dags}; did you mean well?",
        f"windsock: {dags}/ends.py: {ENDED}",
        f"windsock: {dags}/hangs.py: {STOPPED}",
    ]


@pytest.mark.parametrize("words", [("dags", "test", "well"), ("tasks", "test", "well", "a")], ids=["dags", "tasks"])
def test_a_dag_beside_bad_files_is_played(windsock: Command, dags: Path, words: tuple[str, ...]) -> None:
    (dags / "a_hangs.py").write_text(HANGS + "# quite well\n")
    (dags / "b_ends.py").write_text(ENDS_ITS_PROCESS)
    (dags / "c_loop.py").symlink_to(dags / "c_loop.py")
    (dags / "d_well.py").write_text(GOOD.format(dag_id="well"))
    done = windsock(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "a success" in done.stdout


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (ENDS_ITS_PROCESS, ENDED),
        (HANGS, STOPPED),
    ],
    ids=["ends", "hangs"],
)
def test_a_file_that_is_named_and_hangs_or_ends_its_process_is_told(
    windsock: Command, tmp_path: Path, source: str, sentence: str
) -> None:
    file = tmp_path / "named.py"
    file.write_text(source.replace("from engine import DAG", "print('as far as this', flush=True)"))
    done = windsock("dags", "test", "d", "--file", str(file))
    assert done.returncode == 1
    assert f"windsock: {file}: {sentence}" in done.stderr
    assert "as far as this" in done.stderr


def test_a_dag_with_a_cycle_is_told_as_by_dags_errors(windsock: Command, dags: Path) -> None:
    (dags / "cyc.py").write_text(CYCLE)
    for words in (("dags", "test", "cyc"), ("tasks", "test", "cyc", "a")):
        done = windsock(*words)
        assert done.returncode == 1
        assert done.stderr == (
            f"windsock: {dags}/cyc.py: Line 4: DAG 'cyc' has a cycle: a >> b >> c >> a. "
            "Remove one of the arrows a >> b >> c >> a.\n"
        )


def test_a_dag_is_played_though_another_of_its_file_is_wrong(windsock: Command, dags: Path) -> None:
    (dags / "both.py").write_text(CYCLE + GOOD.format(dag_id="well"))
    done = windsock("dags", "test", "well")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "well: success")
    assert done.stderr.startswith(f"windsock: {dags}/both.py: Line 4: DAG 'cyc' has a cycle")


def test_an_operator_that_defers_fails_with_a_sentence_and_without_a_retry(windsock: Command, dags: Path) -> None:
    (dags / "d.py").write_text(DEFERS)
    done = windsock("dags", "test", "d")
    assert done.returncode == 1
    assert "Later.defer(): deferrable operators are not supported yet. Take a sensor with" in done.stdout + done.stderr
    assert "attempt 1 of 3" in done.stdout
    assert "attempt 2" not in done.stdout


HEAD = "from engine import DAG, EmptyOperator\n"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("DAG('d', schedule='@dayly')", "Did you mean '@daily'?"),
        ("DAG('d', schedul=None)", "Did you mean 'schedule'?"),
        ("d = DAG('d', schedule='@daily')", "DAG 'd' has a schedule but no start_date."),
        ("with DAG('d'):\n  EmptyOperator(task_id='a'); EmptyOperator(task_id='a')", "has two tasks 'a'"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'."),
        ("DAG('d'", "SyntaxError"),
        ("raise SystemExit(4)", "The import called exit(4)."),
    ],
    ids=["schedule", "argument", "no start", "twice", "import", "syntax", "exit"],
)
def test_what_is_foreseen_is_never_told_as_a_bug(windsock: Command, dags: Path, source: str, sentence: str) -> None:
    (dags / "d.py").write_text(f"{HEAD}{source}\n")
    done = windsock("dags", "test", "d")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "unexpected" not in done.stderr
    assert not re.search(r"[^.]\.\.([^.]|$)", done.stderr)  # two full stops
