"""The messages as they were last looked at: ``python -m tests.goldens`` writes them anew, git shows what changed."""

from __future__ import annotations

import pytest

from tests.goldens import FOLDER, goldens

GOLDENS = goldens()


@pytest.mark.parametrize("name", sorted(GOLDENS))
def test_a_message_is_what_was_looked_at(name: str) -> None:
    assert GOLDENS[name] == (FOLDER / name).read_text(encoding="utf-8")


def test_there_is_no_golden_file_that_nothing_makes() -> None:
    assert {path.name for path in FOLDER.iterdir()} == GOLDENS.keys()
