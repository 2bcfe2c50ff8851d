from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.logs.place import place_of


def test_a_folder_keeps_its_mark_and_no_two_have_the_same(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    assert place_of(one) == place_of(one)
    assert place_of(one) != place_of(other)


def test_the_mark_goes_with_the_folder(tmp_path: Path) -> None:
    before = place_of(tmp_path)
    assert place_of(tmp_path.rename(tmp_path.with_name("moved"))) == before


def test_processes_that_mark_a_folder_together_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: place_of(tmp_path), range(32)))) == 1
    assert len(list(tmp_path.iterdir())) == 1
