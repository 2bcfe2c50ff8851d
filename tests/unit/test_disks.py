from __future__ import annotations

from pathlib import Path

from engine.disks import full_ones, is_full


def test_a_disk_with_space_and_a_folder_that_is_not_there_are_not_full(tmp_path: Path) -> None:
    assert not is_full(tmp_path)
    assert not is_full(tmp_path / "nowhere")


def test_a_disk_that_never_has_space_is_full_and_named_once() -> None:
    assert is_full(Path("/proc"))  # the kernel's, of which nothing is free
    assert full_ones([Path("/proc"), Path("/proc/self")]) == [Path("/proc/self")]
