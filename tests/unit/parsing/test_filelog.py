from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.parsing.filelog import FileLogs, Row, append, write_table

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def logs(tmp_path: Path) -> FileLogs:
    return FileLogs(tmp_path, lambda text: text.replace("hunter22", "***"))


def tell(logs: FileLogs, now: datetime, *story: str, output: str = "") -> str:
    logs.tell("team/a.py", story, output, seconds=0.0123, now=now)
    return (logs.base / "scheduler" / now.date().isoformat() / "team" / "a.py.log").read_text()


def test_a_log_tells_what_was_done_and_printed_with_secrets_masked(logs: FileLogs) -> None:
    text = tell(logs, NOON, "DAG d: new.", output="password hunter22\n")
    assert text.splitlines() == [
        "[2026-03-01T12:00:00.000+00:00] Parsed in 0.012 s.",
        "[2026-03-01T12:00:00.000+00:00] DAG d: new.",
        "[2026-03-01T12:00:00.000+00:00] The import printed:",
        "password ***",
    ]


def test_the_same_story_is_told_again_after_ten_minutes_only(logs: FileLogs) -> None:
    first = tell(logs, NOON, "DAG d: unchanged.")
    assert tell(logs, NOON + timedelta(minutes=9), "DAG d: unchanged.") == first
    later = tell(logs, NOON + timedelta(minutes=10), "DAG d: unchanged.")
    assert "Parsed 2 times since" in later.removeprefix(first)


def test_a_new_story_is_told_at_once(logs: FileLogs) -> None:
    tell(logs, NOON, "DAG d: unchanged.")
    assert "ERROR: x" in tell(logs, NOON + timedelta(seconds=30), "ERROR: x")


def test_a_new_day_has_a_new_folder_latest_points_to_it_and_old_ones_go(logs: FileLogs, tmp_path: Path) -> None:
    tell(logs, NOON, "x")
    tell(logs, NOON + timedelta(days=1), "x")
    assert (tmp_path / "scheduler" / "latest" / "team" / "a.py.log").exists()
    tell(logs, NOON + timedelta(days=31), "x")
    kept = sorted(path.name for path in (tmp_path / "scheduler").iterdir())
    assert kept == ["2026-03-02", "2026-04-01", "latest"]


def test_a_log_is_limited_in_size(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    for _ in range(10):
        append(path, "0123456789", max_bytes=25)
    assert path.stat().st_size <= 25
    assert (tmp_path / "x.log.1").stat().st_size <= 25


def test_the_table_shows_each_file(tmp_path: Path) -> None:
    rows = [Row("/dags/a.py", 42, 0.5, 2, 0, None, None), Row("/dags/b.py", None, None, 0, 1, 1.25, NOON)]
    write_table(tmp_path, rows, NOON)
    lines = (tmp_path / "dag_processor_manager" / "dag_processor_manager.log").read_text().splitlines()
    header, _, first, second = lines[2:6]
    assert header.split("  ")[0] == "File Path"
    assert first.split() == ["/dags/a.py", "42", "0.500s", "2", "0"]
    assert second.split() == ["/dags/b.py", "0", "1", "1.250s", "2026-03-01T12:00:00"]
