"""The watch over processes that tests leave behind."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.servers.leaks import MARK, stray_processes


def test_a_forgotten_child_is_found() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert child.pid in _pids("some other session")
    finally:
        child.kill()
        child.wait()


def test_an_orphan_is_found_by_its_mark() -> None:
    orphan = "import subprocess, sys; print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL).pid)"
    said = subprocess.run([sys.executable, "-c", orphan], env={**os.environ, MARK: "orphan"}, stdout=subprocess.PIPE)
    pid = int(said.stdout)
    try:
        assert pid in _pids("orphan")
        assert pid not in _pids("some other session")
    finally:
        os.kill(pid, 9)


def _pids(mark: str) -> set[int]:
    return {process.pid for process in stray_processes(mark, grace_seconds=0)}
