"""Alertmanager's configuration made anew, by processes that may die on the way or meet each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import Settings, load
from engine.linux import start_mark
from engine.stack.monitoring import configuration, write_configurations
from engine.stack.rewrite import rewrite

TOLD = "import signal; print('ready', flush=True); print(signal.sigwait({signal.SIGHUP}).name)"
GOOD = "receivers: {ops: {email: ops@example.org}}\nroute: {receiver: ops}\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """With configurations that are as alerting.yml says."""
    made = load({}, tmp_path)
    made.alerting.config_file.write_text(GOOD)
    write_configurations(made)
    return made


@pytest.fixture
def listener() -> Iterator[subprocess.Popen[str]]:
    """In Alertmanager's place: it ends once it hears a SIGHUP, which it blocks before it says that it is ready."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # handed down
    try:
        process = subprocess.Popen([sys.executable, "-c", TOLD], stdout=subprocess.PIPE, text=True)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_alertmanager_is_told_of_what_one_that_died_had_written(
    settings: Settings, listener: subprocess.Popen[str]
) -> None:
    """The text is right already: nobody but the dead one knew that Alertmanager had not read it."""
    command = [sys.executable, "-m", "engine.stack.rewrite", str(listener.pid), start_mark(listener.pid) or ""]
    environ = {**os.environ, "WINDSOCK_HOME": str(settings.home)}
    told = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert "reads its configuration anew" in told.stdout
    assert listener.wait(60) == 0


def test_a_draft_of_a_dead_process_is_cleared_away_and_that_of_a_live_one_left(settings: Settings) -> None:
    path = configuration(settings, "alertmanager")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, mine = (path.with_suffix(f".{pid}.draft") for pid in (dead.pid, os.getppid()))
    for draft in (left, mine):
        draft.write_text("half a configurat")
    path.write_text("another one")
    rewrite(settings)
    assert "/api/v1/alertmanager" in path.read_text()
    assert (left.exists(), mine.exists()) == (False, True)
