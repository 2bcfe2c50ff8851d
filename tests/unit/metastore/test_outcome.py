from __future__ import annotations

import subprocess
import sys

import pytest

from engine.metastore.outcome import Cause, Outcome


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        (Outcome(Cause.EXCEPTION, error="ValueError: no"), "ValueError: no"),
        (Outcome(Cause.EXIT, exit_code=3), "exited with code 3"),
        (Outcome(Cause.SIGNAL, signal=9), "killed by SIGKILL"),
        (Outcome(Cause.SIGNAL, signal=99), "killed by signal 99"),
        (Outcome(Cause.SIGNAL), "killed by signal None"),
        (Outcome(Cause.LOST), "its supervisor died while it ran"),
        (Outcome(Cause.TIMEOUT, error="timed out after 5 s"), "timed out after 5 s"),
    ],
)
def test_an_end_is_told_in_words(outcome: Outcome, sentence: str) -> None:
    assert outcome.sentence == sentence


def test_outcomes_load_without_the_database_library() -> None:
    code = "import sys, engine.metastore.outcome; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
