"""The process that forks attempts is there only while there are attempts, and a little longer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.linux import children_of
from tests.integration.scheduling.engine_home import Home
from tests.servers.processes import wait_until


def _naps(pid: int) -> int:
    """How often a process went to sleep; one with nothing to do does so each second, having looked around."""
    found = re.search(r"\nvoluntary_ctxt_switches:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


@pytest.fixture
def home() -> Iterator[Home]:
    made = Home(WINDSOCK__CORE__ZYGOTE_IDLE_SECONDS="0.1")
    yield made
    made.close()


@pytest.mark.parametrize(
    "operator",
    ["BashOperator(task_id='t', bash_command='true')", "PythonOperator(task_id='t', python_callable=print)"],
    ids=["bash", "python"],
)
def test_an_attempt_after_a_rest_wakes_the_zygote(home: Home, operator: str) -> None:
    home.add("d", operator)
    home.scheduler()
    wait_until(lambda: not children_of(home.supervisor), "the zygote to be let go")
    assert home.finish("d") == "success"


def test_the_zygote_stays_while_an_attempt_runs(home: Home) -> None:
    began, gate = home.folder / "began", home.folder / "gate"
    command = f"touch {began}; until [ -e {gate} ]; do sleep .01; done"
    home.add("slow", f"BashOperator(task_id='t', bash_command={command!r})")
    home.scheduler()
    run_id = home.trigger("slow")
    wait_until(began.exists, "the attempt")
    woken = _naps(home.supervisor)
    wait_until(lambda: _naps(home.supervisor) > woken + 3, "the supervisor to have looked twice")
    assert children_of(home.supervisor)
    gate.touch()
    assert home.wait("slow", run_id) == "success"
    wait_until(lambda: not children_of(home.supervisor), "the zygote to be let go")
