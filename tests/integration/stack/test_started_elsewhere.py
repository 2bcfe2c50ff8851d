"""A scheduler that was started by itself: ``status`` and ``down`` know of it, and leave it alone."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.servers.binaries import ROOT
from tests.servers.machine import Machine
from tests.servers.processes import wait_until


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    made = Machine(tmp_path_factory.mktemp("home"))
    made.call("db", "init")
    return made


@pytest.fixture(scope="module")
def scheduler(machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """``windsock scheduler``, whose heartbeat is there."""
    command = [sys.executable, "-m", "engine.cli", "scheduler"]
    with subprocess.Popen(command, env=machine.environment, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: str(process.pid) in machine.run("status").stdout, "its heartbeat", 60)
        yield process
        process.terminate()


def test_status_names_a_scheduler_that_was_started_by_itself(
    machine: Machine, scheduler: subprocess.Popen[bytes]
) -> None:
    done = machine.call("status", status=1)
    assert "not started by the stack of this home" in done.stdout
    assert f"scheduler on {socket.gethostname()}, pid {scheduler.pid}, since 20" in done.stdout
    expected = f"windsock: the stack of this home ({machine.home}) is not running. Start it: windsock up --detach\n"
    assert done.stderr == expected


def test_status_as_json_holds_it_with_the_keys_of_a_component(
    machine: Machine, scheduler: subprocess.Popen[bytes]
) -> None:
    [row] = json.loads(machine.call("status", "--output", "json", status=1).stdout)
    assert (row["kind"], row["pid"], row["host"]) == ("scheduler", scheduler.pid, socket.gethostname())
    assert (row["of_this_stack"], row["core"], row["state"]) == (False, False, "healthy")
    assert {"component", "address", "detail", "started_at", "restarts", "last_exit"} <= row.keys()


def test_down_stops_nothing_that_it_did_not_start_and_says_so(
    machine: Machine, scheduler: subprocess.Popen[bytes]
) -> None:
    lines = machine.call("down").stdout.splitlines()
    assert lines[0] == f"Nothing was stopped: the stack of this home ({machine.home}) is not running."
    assert f"pid {scheduler.pid}" in lines[2]
    assert lines[3] == "That process is stopped by whoever started it."
    assert scheduler.poll() is None


def test_a_scheduler_that_has_ended_is_named_no_more(machine: Machine, scheduler: subprocess.Popen[bytes]) -> None:
    scheduler.terminate()
    scheduler.wait(30)
    assert machine.call("down").stdout == "Windsock is not running.\n"
