from __future__ import annotations

from pathlib import Path

from engine.running.oom import OomWatch


def test_a_kill_is_noticed_for_as_long_as_two_looks(tmp_path: Path) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text("pgfault 7\noom_kill 3\n")
    watch = OomWatch(counters)
    assert not watch.has_struck()
    counters.write_text("pgfault 8\noom_kill 4\n")
    assert watch.has_struck()
    watch.look()  # the kill came just before this look, and is heard of just after it
    assert watch.has_struck()
    watch.look()
    assert not watch.has_struck()


def test_a_system_that_does_not_count_blames_nobody(tmp_path: Path) -> None:
    watch = OomWatch(tmp_path / "nothing")
    watch.look()
    assert not watch.has_struck()
