"""``make down up``: it looks before it stops."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers.binaries import ROOT

_RECORDING = """#!/bin/sh
echo "$*" >>"{called}"
case "$1" in restart) exit {status};; esac
"""


@pytest.mark.parametrize(
    ("goals", "status", "called"),
    [
        (("down", "up"), 1, ["restart --check"]),
        (("down",), 1, ["down"]),
    ],
)
def test_down_stops_nothing_where_up_is_asked_for_as_well_and_there_is_a_mistake(
    tmp_path: Path, goals: tuple[str, ...], status: int, called: list[str]
) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    log = tmp_path / "called"
    windsock = tmp_path / "windsock"
    windsock.write_text(_RECORDING.format(called=log, status=status))
    windsock.chmod(0o755)
    done = subprocess.run([make, *goals, f"BIN={tmp_path}"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode != 0) == ("up" in goals), done.stderr
    assert log.read_text().splitlines() == called
