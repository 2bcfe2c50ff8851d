from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from engine.parsing.folder import Folder, Root, looks_like_dag_file

DAG_CODE = "from engine import DAG"


def write(path: Path, text: str = DAG_CODE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(folder: Folder) -> list[str]:
    return sorted(file.name for file in folder.look().dag_files.values())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder((Root(tmp_path),), 1000)


def test_python_files_are_found_at_any_depth_and_hidden_ones_are_not(folder: Folder, tmp_path: Path) -> None:
    for name in ("a.py", "deep/down/b.py", ".hidden.py", ".git/c.py", "__pycache__/d.py", "notes.txt", "e.pyc"):
        write(tmp_path / name)
    assert names(folder) == ["a.py", "deep/down/b.py"]


def test_files_without_both_words_are_not_dag_files(folder: Folder, tmp_path: Path) -> None:
    write(tmp_path / "helper.py", "x = 1")
    assert names(folder) == []
    assert len(folder.look().files) == 1
    assert looks_like_dag_file(b"from Engine import dag")
    assert not looks_like_dag_file(b"dagger")


def test_ignore_files_hold_below_their_folder(folder: Folder, tmp_path: Path) -> None:
    for name in ("a.py", "team/a.py", "team/b.py", "build/c.py"):
        write(tmp_path / name)
    (tmp_path / "team" / ".windsockignore").write_text("a.py")
    (tmp_path / ".airflowignore").write_text("^build")
    assert names(folder) == ["a.py", "team/b.py"]


def test_links_are_followed_but_not_for_ever(folder: Folder, tmp_path: Path) -> None:
    write(tmp_path / "team" / "a.py")
    (tmp_path / "team" / "up").symlink_to(tmp_path)
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    assert names(folder) == ["team/a.py"]


def test_a_file_is_read_again_only_when_size_or_time_changed(folder: Folder, tmp_path: Path) -> None:
    path = write(tmp_path / "a.py")
    before = folder.look().files[str(path)]
    assert folder.look().files[str(path)] is before
    write(path, DAG_CODE + "\n")
    assert folder.look().files[str(path)].content_hash != before.content_hash


def test_a_file_that_is_too_large_is_refused_unread(folder: Folder, tmp_path: Path) -> None:
    path = write(tmp_path / "big.py", "x" * 1001)
    file = folder.look().dag_files[str(path)]
    assert file.content_hash is None
    assert file.fault is not None
    assert "1,001 bytes, more than the 1,000" in file.fault.summary
    assert "WINDSOCK__CORE__MAX_FILE_BYTES" in file.fault.remedy


def test_a_file_that_cannot_be_read_is_told(folder: Folder, tmp_path: Path) -> None:
    path = tmp_path / "folder.py"
    path.symlink_to("/proc/self/mem")  # readable for nobody, root included
    file = folder.look().dag_files[str(path)]
    assert file.fault is not None
    assert file.fault.summary.startswith("The file cannot be read")
    path.unlink()
    assert names(folder) == []


def test_links_that_lead_back_to_themselves_hold_up_nothing_and_a_file_among_them_is_told(
    folder: Folder, tmp_path: Path
) -> None:
    write(tmp_path / "a.py")
    for name in ("loop", "loop.py"):
        (tmp_path / name).symlink_to(name)
    listing = folder.look()
    assert sorted(file.name for file in listing.files.values()) == ["a.py", "loop.py"]
    fault = listing.files[str(tmp_path / "loop.py")].fault
    assert fault is not None
    assert "Too many levels of symbolic links" in fault.summary
    assert "leads back to itself" in fault.remedy


def test_a_folder_below_that_cannot_be_read_keeps_its_files_as_they_were(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "team" / "a.py")
    other = write(tmp_path / "team2" / "b.py")
    folder.look()
    scandir = os.scandir

    def stale(place: str) -> Any:
        if str(place).endswith("/team"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", stale)
    other.unlink()
    for _ in range(2):
        listing = folder.look()
        assert list(listing.files) == [str(path)]
        assert listing.is_missing(str(path))
        assert not listing.is_missing(str(other))
    assert caplog.text.count("its DAGs stay as they are") == 1


def test_a_folder_that_vanished_keeps_its_files_as_they_were(
    folder: Folder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.roots = (Root(tmp_path / "dags"),)
    path = write(tmp_path / "dags" / "a.py")
    assert names(folder) == ["a.py"]
    (tmp_path / "dags").rename(tmp_path / "unmounted")
    listing = folder.look()
    assert list(listing.files) == [str(path)]
    assert listing.missing == (str(tmp_path / "dags"),)
    assert "its DAGs stay as they are" in caplog.text


def test_files_of_a_second_root_bear_its_prefix(tmp_path: Path) -> None:
    write(tmp_path / "own" / "a.py")
    write(tmp_path / "more" / "a.py")
    folder = Folder((Root(tmp_path / "own"), Root(tmp_path / "more", "example_dags")), 1000)
    assert names(folder) == ["a.py", "example_dags/a.py"]


def test_looking_at_five_hundred_unchanged_files_is_cheap(folder: Folder, tmp_path: Path) -> None:
    import time

    for index in range(500):
        write(tmp_path / f"d{index}.py")
    folder.look()
    start = time.process_time()
    folder.look()
    assert time.process_time() - start < 0.2
