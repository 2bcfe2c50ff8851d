from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.spans import Span, join, tell

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def span(task_id: str, scheduled: float, start: float, end: float) -> Span:
    return Span("dag", task_id, *(BEGIN + timedelta(seconds=each) for each in (scheduled, start, end)))


def test_the_lag_is_from_the_last_parents_end_to_the_childs_start() -> None:
    spans = [span("a", 0, 1, 2), span("b", 0, 1, 4), span("c", 5, 7, 8)]
    told = tell(spans, {("dag", "c"): ("a", "b")})
    assert told.lag_p50 == told.lag_p99 == 3


def test_the_split_adds_up_to_the_whole_time_of_a_chain() -> None:
    told = tell([span("a", 0, 1, 3), span("b", 3.5, 5, 9)], {("dag", "b"): ("a",)})
    assert (told.assignment, told.execution, told.transition) == (1.25, 3, 0.25)
    assert 2 * (told.assignment + told.execution + told.transition) == 9


def test_without_parents_there_is_no_lag() -> None:
    assert tell([span("a", 0, 1, 2)], {}).lag_p95 is None


def test_start_and_end_are_what_the_task_has_written(tmp_path: Path) -> None:
    (tmp_path / "dag.once").write_text("1767225601.5\n", encoding="ascii")
    (tmp_path / "dag.both").write_text("1767225601,5\n1767225603.0\n", encoding="ascii")
    once, both = join({("dag", "once"): BEGIN, ("dag", "both"): BEGIN}, tmp_path)
    assert (once.start - BEGIN).total_seconds() == (once.end - BEGIN).total_seconds() == 1.5
    assert ((both.start - BEGIN).total_seconds(), (both.end - BEGIN).total_seconds()) == (1.5, 3.0)


def test_a_task_that_has_written_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dag\.silent has left no time"):
        join({("dag", "silent"): BEGIN}, tmp_path)
