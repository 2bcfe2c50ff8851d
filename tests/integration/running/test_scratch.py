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
    kept, gone = fill(living.lend()), fill(dead.lend())
    dead.close()  # as the kernel does with its files
    remove([], str(own.folder))
    assert kept.exists()
    assert not gone.parent.exists()
    assert own.folder.exists()
    living.close()
    own.close()


def test_an_empty_folder_is_lent_again_and_a_full_one_becomes_litter() -> None:
    scratch = Scratch()
    empty, full, never_made = (scratch.lend() for _ in range(3))
    Path(empty).mkdir(0o700)
    fill(full)
    for folder in (empty, full, never_made):
        scratch.leave(folder, alone=True)
    scratch.tidy()
    assert scratch.litter() == [full]
    assert scratch.litter() == []
    assert scratch.lend() == empty
    assert len({scratch.lend(), empty, full, never_made}) == 4
    remove([full], str(scratch.folder))
    scratch.leave(empty, alone=True)
    scratch.close()
    assert not scratch.folder.exists()


def test_a_folder_is_lent_to_one_attempt_at_a_time() -> None:
    scratch = Scratch()
    for folder in [scratch.lend() for _ in range(3)]:
        Path(folder).mkdir(0o700)
        scratch.leave(folder, alone=True)
    scratch.tidy()
    lent = [scratch.lend() for _ in range(5)]
    assert len(set(lent)) == 5
    assert sum(Path(folder).exists() for folder in lent) == 3
    scratch.close()


@pytest.mark.parametrize("change", ["opened", "replaced", "shared"])
def test_a_folder_that_an_attempt_has_changed_is_lent_to_nobody(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = Scratch()
    folder = Path(scratch.lend())
    folder.mkdir(0o700)
    if change == "opened":
        folder.chmod(0o755)
    elif change == "shared":
        monkeypatch.setattr(os, "listxattr", lambda _: ["user.note", "system.posix_acl_default"])
    else:
        folder.rmdir()
        folder.symlink_to(tmp_path)
    scratch.leave(str(folder), alone=True)
    scratch.tidy()
    assert scratch.litter() == [str(folder)]
    assert scratch.lend() != str(folder)
    scratch.close()


def test_an_empty_folder_that_somebody_may_still_be_in_is_lent_to_nobody() -> None:
    scratch = Scratch()
    folder = scratch.lend()
    Path(folder).mkdir(0o700)
    scratch.leave(folder, alone=False)
    scratch.tidy()
    assert scratch.litter() == [folder]
    assert scratch.lend() != folder
    scratch.close()


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
    with pytest.raises(OSError, match="no scratch folder can be made"):
        scratch.lend()
    scratch.close()
    assert "no scratch folder for Bash tasks can be made" in caplog.text
