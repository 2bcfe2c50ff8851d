"""Components that are forked from their supervisor: in everything but memory as if they had been started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import pytest

from engine.stack import stay
from engine.stack.component import Component, Plan
from engine.stack.state import read_state
from tests.servers.binaries import ROOT
from tests.servers.processes import free_port, wait_until


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """A supervisor and its only component, a metastore exporter."""
    environment = {
        **os.environ,
        "WINDSOCK_HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "WINDSOCK__EXPORTER__METASTORE_PORT": str(free_port()),
    }
    words = ("exporter", "--metastore")
    component = Component(
        name="metastore-exporter",
        argv=(sys.executable, "-P", "-m", "engine.cli", *words),
        words=words,
        env={"COLOUR": "blue"},
    )
    plan = Plan(home=str(tmp_path), logs=str(tmp_path / "logs"), components=(component,))
    command = [sys.executable, "-P", "-m", "engine.stack.supervise"]
    supervisor = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)
    assert supervisor.stdin is not None
    supervisor.stdin.write(msgspec.json.encode(plan) + b"\n")
    supervisor.stdin.close()
    wait_until(lambda: (state := read_state(tmp_path)) and state.components[0].pid, "the component", 30)
    state = read_state(tmp_path)
    assert state is not None
    child = psutil.Process(state.components[0].pid)
    wait_until(lambda: len(child.cmdline()) > 4, "its own command line", 30)
    yield psutil.Process(supervisor.pid), child
    supervisor.kill()
    supervisor.wait()


def test_a_forked_component_shows_its_own_command_line_and_leads_its_own_group(
    forked: tuple[psutil.Process, psutil.Process],
) -> None:
    supervisor, child = forked
    assert " ".join(child.cmdline()).strip().startswith(f"{sys.executable} -P -m engine.cli exporter")
    assert os.getpgid(child.pid) == child.pid != os.getpgid(supervisor.pid)
    assert child.ppid() == supervisor.pid


def test_a_forked_component_serves_and_stops_when_it_is_told(forked: tuple[psutil.Process, psutil.Process]) -> None:
    _, child = forked
    wait_until(lambda: any(one.status == psutil.CONN_LISTEN for one in child.net_connections("tcp")), "its port", 30)
    child.terminate()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "its end", 30)


def test_a_forked_component_holds_no_file_of_its_supervisor(forked: tuple[psutil.Process, psutil.Process]) -> None:
    supervisor, child = forked
    shared = _files(supervisor.pid) & _files(child.pid)
    assert not {name for name in shared if name.startswith(("pipe:", "socket:", "anon_inode:"))}


def _files(pid: int) -> set[str]:
    """What a process holds open; it may let go of some while we look."""
    found = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(file.readlink()))
    return found


def test_a_forked_component_dies_with_its_supervisor(forked: tuple[psutil.Process, psutil.Process]) -> None:
    supervisor, child = forked
    os.kill(supervisor.pid, signal.SIGKILL)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "its end", 30)


def test_who_stays_in_the_foreground_loads_nothing() -> None:
    code = f"import sys; exec(open({stay.__file__!r}).read(), {{'__name__': 'stay'}}); print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"engine", "msgspec", "click", "rich", "site", "subprocess", "typing"} & set(loaded) == set()


def test_who_stays_passes_a_stop_on_and_waits_for_the_end() -> None:
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen(['bash', '-c', 'trap \"exit 0\" TERM; echo ready; while :; do sleep .05; done'])\n"
        f"os.execv(sys.executable, [sys.executable, '-I', '-S', {stay.__file__!r}, str(child.pid)])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        wait_until(lambda: _handles_term(process.pid), "its signal handlers", 30)
        process.terminate()
        assert process.stdout.read().strip() == "Windsock is stopped."
    assert process.returncode == 0


def _handles_term(pid: int) -> bool:
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    in_python = "stay.py" in " ".join(psutil.Process(pid).cmdline())
    return in_python and bool(int(caught.split()[1], 16) & 1 << signal.SIGTERM - 1)
