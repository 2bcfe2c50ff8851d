"""A DAG folder with everything wrong that a folder can have: the rest runs, and each fault is told in four places."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from tests.servers.machine import Machine
from tests.servers.processes import wait_until

IMPORT_TIMEOUT = 8  # enough for every good file on a busy machine

GOOD = """
from engine import DAG, BashOperator

with DAG("good", schedule=None):
    BashOperator(task_id="hello", bash_command="echo hello") >> BashOperator(task_id="world", bash_command="echo world")
"""

SYNTAX = """from engine import DAG, EmptyOperator

with DAG("syntax", schedule=None):
    EmptyOperator(task_id="t"
"""

HANG = """import time
from engine import DAG, EmptyOperator

time.sleep(1000)

with DAG("hang", schedule=None):
    EmptyOperator(task_id="t")
"""

STUBBORN = """import signal
from engine import DAG

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
    signal.signal(number, signal.SIG_IGN)
while True: pass  # in one line, whichever half of it is told
"""

CYCLE = """from engine import DAG, EmptyOperator

with DAG("cycle", schedule=None):
    first, second, third = (EmptyOperator(task_id=name) for name in ("first", "second", "third"))
    first >> second >> third
    third >> first
"""

TWIN = """from engine import DAG, EmptyOperator

with DAG("twin", schedule=None):
    EmptyOperator(task_id="t")
"""

CRON = """from engine import DAG, EmptyOperator

with DAG("cron", schedule="61 * * * *"):
    EmptyOperator(task_id="t")
"""

HUGE = "from engine import DAG\nDATA = '" + "x" * 5_000_000 + "'\n"

CRASH = """from engine import DAG
import ctypes

ctypes.string_at(0)
"""


@dataclass(frozen=True)
class Bad:
    """A bad file: its text, its line where it has one, and words of what is told and of the way out."""

    text: str
    line: int | None
    what: tuple[str, ...]
    remedy: str


BAD = {
    "syntax.py": Bad(SYNTAX, 4, ("SyntaxError", "never closed"), "Correct the syntax in line 4"),
    "hang.py": Bad(HANG, 4, (f"stopped after {IMPORT_TIMEOUT} s",), "Move slow work"),
    "stubborn.py": Bad(STUBBORN, 6, (f"stopped after {IMPORT_TIMEOUT} s",), "WINDSOCK__CORE__DAGBAG_IMPORT_TIMEOUT"),
    "cycle.py": Bad(CYCLE, 4, ("cycle", "first >> second >> third >> first"), "Remove one of the arrows"),
    "twin_b.py": Bad(TWIN, 3, ("'twin'", "already used", "twin_a.py"), "another dag_id"),
    "cron.py": Bad(CRON, 3, ("61 * * * *", "not a cron expression"), "Write five fields"),
    "huge.py": Bad(HUGE, None, ("5,000,0", "bytes"), "WINDSOCK__CORE__MAX_FILE_BYTES"),
    "crash.py": Bad(CRASH, 4, ("SIGSEGV",), "compiled module"),
}
each_bad_file = pytest.mark.parametrize("name", BAD)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with that folder, on which the stack runs and has read all of it."""
    made = Machine(tmp_path_factory.mktemp("home"), WINDSOCK__CORE__DAGBAG_IMPORT_TIMEOUT=str(IMPORT_TIMEOUT))
    made.write_dag("m_good.py", GOOD)  # neither the first nor the last to be read
    made.write_dag("twin_a.py", TWIN)
    for name, bad in BAD.items():
        made.write_dag(name, bad.text)
    made.call("up", "--detach")
    try:
        wait_until(lambda: len(made.ask("dags", "errors")) >= len(BAD), "every bad file to be told", timeout=60)
        yield made
    finally:
        made.call("down")


@pytest.fixture(scope="module")
def told(machine: Machine) -> dict[str, dict[str, Any]]:
    """File name → its row of ``dags errors``."""
    return {row["file"].rpartition("/")[2]: row for row in machine.ask("dags", "errors")}


@pytest.fixture(scope="module")
def page(machine: Machine) -> dict[str, str]:
    """File name → its part of the page of import errors, as a person reads it."""
    with closing(machine.signed_in()) as browser:
        answer = browser.get("/import-errors")
    articles = re.findall(r"<article.*?</article>", answer.text, re.DOTALL)
    return {re.findall(r'<code class="path">[^<]*?([^/<]+)</code>', part)[0]: _as_read(part) for part in articles}


def _as_read(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_the_good_dag_runs(machine: Machine) -> None:
    done = machine.call("dags", "trigger", "good", "--wait", "--timeout", "60")
    assert "run success" in done.stdout
    assert "world\n" in machine.call("tasks", "logs", "good", "latest", "world").stdout


def test_one_of_two_files_with_the_same_dag_id_is_served(machine: Machine) -> None:
    assert "run success" in machine.call("dags", "trigger", "twin", "--wait", "--timeout", "60").stdout
    assert machine.ask("dags", "show", "twin")["fileloc"].endswith("twin_a.py")


def test_exactly_the_bad_files_are_told(told: dict[str, dict[str, Any]], page: dict[str, str]) -> None:
    assert told.keys() == BAD.keys()
    assert page.keys() == BAD.keys()


@each_bad_file
def test_the_command_tells_name_line_and_remedy(told: dict[str, dict[str, Any]], name: str) -> None:
    row, bad = told[name], BAD[name]
    assert row["line"] == bad.line
    for words in bad.what:
        assert words in row["error"]
    assert bad.remedy in row["remedy"]


@each_bad_file
def test_a_person_reads_it_in_the_terminal(machine: Machine, name: str) -> None:
    done = machine.call("dags", "errors", status=1)
    bad = BAD[name]
    place = f"{machine.home}/dags/{name}" + (f":{bad.line}" if bad.line else "")
    assert place in done.stdout.splitlines()
    story = done.stdout.partition(f"{place}\n")[2].partition("\n  Since")[0]
    for words in (*bad.what, "What to do: ", bad.remedy):
        assert words in story


@each_bad_file
def test_the_page_tells_name_line_and_remedy(page: dict[str, str], name: str) -> None:
    article, bad = page[name], BAD[name]
    assert f"/dags/{name}" in article
    assert bad.line is None or f"line {bad.line}" in article
    for words in (*bad.what, "What to do", bad.remedy):
        assert words in article


@each_bad_file
def test_the_log_of_the_file_tells_cause_and_remedy(machine: Machine, name: str) -> None:
    bad, path = BAD[name], machine.home / "logs" / "scheduler" / "latest" / f"{name}.log"
    # It is written after the row that tells of it, and anew after midnight.
    wait_until(lambda: path.exists() and bad.remedy in path.read_text(), "the log", timeout=60)
    log = path.read_text()
    assert "ERROR: " in log
    assert bad.line is None or f"Line {bad.line}: " in log
    for words in (*bad.what, bad.remedy):
        assert words in log


def test_the_metric_is_the_number_of_bad_files(machine: Machine) -> None:
    wait_until(lambda: machine.total("airflow_dag_processing_import_errors") == len(BAD), "the metric")
    timeouts = "airflow_dag_processing_processor_timeouts"
    wait_until(lambda: machine.total(timeouts) >= 2, "the two files that hang to be counted")


def test_the_processor_goes_on_when_everything_is_put_right(machine: Machine) -> None:
    for name in BAD:
        machine.write_dag(name, GOOD.replace('"good"', repr(name.removesuffix(".py"))))
    wait_until(lambda: machine.total("airflow_dag_processing_import_errors") == 0, "no import errors", timeout=60)
    assert machine.ask("dags", "errors") == []
    assert "run success" in machine.call("dags", "trigger", "hang", "--wait", "--timeout", "60").stdout
