"""Scratch folders: who may remove which."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from engine.running.scratch import Scratch, remove


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def fill(path: str) -> Path:
    folder = Path(path)
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "file").touch()
    return folder


def test_folders_of_a_living_supervisor_stay_and_those_of_a_dead_one_go() -> None:
    living, dead, own = Scratch(), Scratch(), Scratch()
    kept, gone = fill(living.path("a")), fill(dead.path("b"))
    dead.close()  # as the kernel does with its files
    remove([], str(own.folder))
    assert kept.exists()
    assert not gone.parent.exists()
    assert own.folder.exists()
    living.close()
    own.close()


def test_an_empty_folder_goes_at_once_and_a_full_one_becomes_litter() -> None:
    scratch = Scratch()
    Path(scratch.path("empty")).mkdir()
    full = fill(scratch.path("full"))
    for token in ("empty", "full", "never made"):
        scratch.leave(token)
    scratch.tidy()
    assert scratch.litter() == [str(full)]
    assert scratch.litter() == []
    assert list(scratch.folder.iterdir()) == [full]
    remove([str(full)], str(scratch.folder))
    scratch.close()
    assert not scratch.folder.exists()


def test_a_folder_that_others_can_write_to_is_not_used(temporary: Path) -> None:
    taken = temporary / f"windsock-{os.getuid()}"
    taken.mkdir()
    taken.chmod(0o777)
    scratch = Scratch()
    assert scratch.folder.parent != taken
    assert scratch.folder.parent.stat().st_mode & 0o077 == 0
    scratch.close()


def test_a_place_where_nothing_can_be_made_is_told_and_hurts_nobody_else(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "missing"))
    scratch = Scratch()
    scratch.leave("token")
    scratch.close()
    assert "no scratch folder for Bash tasks can be made" in caplog.text
