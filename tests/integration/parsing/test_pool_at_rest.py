"""A pool whose server is there only while files are parsed."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.authoring.defaults import Defaults
from engine.linux import start_mark
from engine.parsing.pool import Finished, ParsePool
from tests.servers.processes import wait_until

DAG_FILE = """
from engine import DAG, BashOperator
with DAG("quiet", schedule=None):
    BashOperator(task_id="a", bash_command="true")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "quiet.py"
    path.write_text(DAG_FILE)
    return path


@pytest.fixture
def pool() -> Iterator[ParsePool]:
    with selectors.DefaultSelector() as selector:
        made = ParsePool(2, 30.0, Defaults(), selector, rest_after=0)
        yield made
        made.close()
        assert not selector.get_map()


def parsed(pool: ParsePool, file: Path) -> list[str]:
    """Parse a file; the DAGs in it."""
    pool.start(str(file), str(file.parent))
    finished: list[Finished] = []

    def is_done() -> bool:
        finished.extend(pool.collect())
        return bool(finished)

    wait_until(is_done, "the file to be parsed")
    return [dag.dag_id for dag in finished[0].report.dags]


def test_the_server_is_let_go_after_the_last_file_and_the_next_file_wakes_another(pool: ParsePool, file: Path) -> None:
    first = pool.server_pid
    assert first is not None
    assert parsed(pool, file) == ["quiet"]
    pool.collect()
    assert (pool.server_pid, start_mark(first)) == (None, None)
    assert parsed(pool, file) == ["quiet"]


def test_the_server_stays_while_a_file_is_parsed(pool: ParsePool, file: Path) -> None:
    file.write_text("import time\ntime.sleep(60)\n")
    pool.start(str(file), str(file.parent))
    wait_until(lambda: pool.collect() or pool.running[str(file)].pid, "the parse process")
    assert pool.server_pid


def test_a_server_that_is_killed_while_nothing_is_parsed_is_no_files_fault(pool: ParsePool, file: Path) -> None:
    assert pool.server_pid
    os.kill(pool.server_pid, signal.SIGKILL)
    wait_until(lambda: pool.collect() or pool.server_pid is None, "the pool to notice")
    assert parsed(pool, file) == ["quiet"]


def test_a_server_that_cannot_be_started_is_told_as_a_fault_that_passes(
    pool: ParsePool, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.collect()
    assert pool.server_pid is None
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", str(file.parent / "nowhere"))
        pool.start(str(file), str(file.parent))
    (finished,) = pool.collect()
    assert "No process could be made" in finished.report.faults[0].summary
    assert parsed(pool, file) == ["quiet"]
