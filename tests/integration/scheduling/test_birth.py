"""The first supervisor is a fork of its scheduler, and in everything but memory as if it had been started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.integration.scheduling.engine_home import Home, kill
from tests.servers.processes import wait_until


@pytest.fixture
def home() -> Iterator[Home]:
    made = Home()
    yield made
    made.close()


def _words(pid: int) -> str:
    return " ".join(psutil.Process(pid).cmdline())


def test_it_has_a_session_of_its_own_its_name_and_no_file_of_its_scheduler(home: Home) -> None:
    scheduler = home.scheduler()
    pid = home.supervisor
    wait_until(lambda: _words(pid).strip() == "engine.executors.supervise", "its name")
    assert os.getsid(pid) == pid
    assert f"{home.folder}/windsock.db" in _open_files(scheduler.pid)
    assert not any(file.startswith(f"{home.folder}/windsock.db") for file in _open_files(pid))


def _open_files(pid: int) -> set[str]:
    """What a process has open; it may close some of it while we look."""
    found: set[str] = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(path.readlink()))
    return found


def test_its_successor_is_a_program_and_takes_up_the_work(home: Home) -> None:
    home.add("d", "BashOperator(task_id='t', bash_command='true')")
    home.scheduler()
    first = home.supervisor
    kill(first)
    wait_until(lambda: home.supervisor != first, "its successor")
    assert "-m engine.executors.supervise" in _words(home.supervisor)
    assert home.finish("d") == "success"


def test_a_scheduler_that_cannot_begin_leaves_none_behind(home: Home) -> None:
    home.environment["WINDSOCK__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{home.folder}/empty.db"
    process = home.start("scheduler")
    assert process.wait(60) == 1
    assert "windsock db init" in home.output("scheduler")
    assert "Traceback" not in home.output("scheduler")
    wait_until(lambda: not home.everything(), "the end of its supervisor", 30)


def test_it_ignores_signals_that_are_meant_for_its_scheduler(home: Home) -> None:
    gate = home.folder / "gate"
    home.add("d", f"BashOperator(task_id='t', bash_command='until [ -e {gate} ]; do sleep .01; done')")
    home.scheduler()
    run_id = home.trigger("d")
    wait_until(lambda: home.running("d"), "the attempt")
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(home.supervisor, number)
    gate.touch()
    assert home.wait("d", run_id) == "success"
