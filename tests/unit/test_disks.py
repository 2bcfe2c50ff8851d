from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.disks import Lack, full_ones, lack_of
from engine.metastore.dialects.sqlite_troubles import trouble
from engine.stack.table import full_disks

Disk = Callable[..., None]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Let every folder be on a disk with plenty of everything, but for what is given; looked at by user 1000."""

    def pretend(user: int = 1000, **counts: int) -> None:
        plenty = dict.fromkeys(("f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail"), 1_000_000)
        found = SimpleNamespace(**{"f_frsize": 4096, **plenty, **counts})
        monkeypatch.setattr(os, "statvfs", lambda _: found)
        monkeypatch.setattr(os, "geteuid", lambda: user)

    return pretend


def test_a_disk_with_space_and_a_folder_that_is_not_there_lack_nothing(tmp_path: Path) -> None:
    assert lack_of(tmp_path) is None
    assert lack_of(tmp_path / "nowhere") is None


def test_a_file_system_that_counts_nothing_lacks_nothing() -> None:
    assert os.statvfs("/proc").f_blocks == 0  # the kernel's
    assert lack_of(Path("/proc")) is None


def test_a_disk_without_space_is_full_and_named_once(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "logs").mkdir()
    disk(f_bfree=15, f_bavail=15)
    assert full_ones([tmp_path, tmp_path / "logs"]) == {tmp_path / "logs": Lack.SPACE}
    told = f"No space is left on the disk of {tmp_path}. Free some space there: until then nothing can be written to it"
    assert full_disks([tmp_path]).plain == f"{told}.\n"
    disk(f_bfree=16, f_bavail=16)
    assert full_ones([tmp_path]) == {}


def test_what_is_kept_for_root_is_free_for_root_only(tmp_path: Path, disk: Disk) -> None:
    disk(f_bavail=0)
    assert lack_of(tmp_path) is Lack.SPACE
    disk(user=0, f_bavail=0)
    assert lack_of(tmp_path) is None


def test_a_disk_without_inodes_takes_no_more_files(tmp_path: Path, disk: Disk) -> None:
    disk(f_ffree=0, f_favail=0)
    told = f"No inode is left on the disk of {tmp_path}. Remove files there: until then no file can be made on it.\n"
    assert full_disks([tmp_path]).plain == told
    assert "there is no inode left for" in str(trouble("SQLITE_CANTOPEN", tmp_path / "windsock.db"))
    disk(f_files=0, f_ffree=0, f_favail=0)  # as of btrfs, which makes them as they are needed
    assert lack_of(tmp_path) is None
