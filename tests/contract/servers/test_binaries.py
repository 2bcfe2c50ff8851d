"""Programs that tests need: found, or told to be missing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.servers import binaries


def test_a_missing_program_fails_in_ci_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not on this machine; `make test` installs it"):
        binaries.require("no-such-program")


def test_a_missing_program_skips_elsewhere_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="`make test` installs it"):
        binaries.require("no-such-program")


@pytest.mark.parametrize("fixture", ["prometheus_binary", "promtool", "alertmanager", "statsd_exporter"])
def test_the_programs_of_the_stack_run(fixture: str, request: pytest.FixtureRequest) -> None:
    program: Path = request.getfixturevalue(fixture)
    assert subprocess.run([program, "--version"], capture_output=True).returncode == 0


def test_the_statsd_exporter_is_the_one_that_the_mapping_is_made_for(statsd_exporter: Path) -> None:
    build = b"github.com/prometheus/statsd_exporter\tv0.30.0"  # Go writes the module's version into the program
    told = subprocess.run([statsd_exporter, "--version"], capture_output=True, text=True)
    assert build in statsd_exporter.read_bytes() or "0.30.0" in told.stdout + told.stderr
