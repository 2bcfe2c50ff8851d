from __future__ import annotations

import signal

import pytest

from engine.stack.child import Child, describe_exit
from engine.stack.component import Component, Plan
from engine.stack.state import Phase

PLAN = Plan(
    home="/h", logs="/h/logs", components=(), backoff_seconds=0.5, max_backoff_seconds=4, stable_after_seconds=60
)


def make_child() -> Child:
    return Child(Component(name="web", argv=("web",), stop_grace_seconds=3), PLAN)


def die_after(child: Child, lived: float, now: float) -> float | None:
    child.started(1, "mark", now)
    return child.ended("exit code 1", now + lived)


def test_a_started_child_runs_and_is_not_due() -> None:
    child = make_child()
    child.started(12, "mark", 100.0)
    assert child.phase is Phase.RUNNING
    assert child.snapshot().pid == 12
    assert not child.is_due(10_000.0)


def test_a_dead_child_is_due_again_after_its_delay_and_not_before() -> None:
    child = make_child()
    assert die_after(child, 1, 100.0) == 0.5
    assert child.phase is Phase.BACKOFF
    assert not child.is_due(101.49)
    assert child.is_due(101.5)


def test_the_delay_doubles_with_each_quick_death_up_to_the_limit() -> None:
    child = make_child()
    assert [die_after(child, 1, moment) for moment in range(100, 700, 100)] == [0.5, 1, 2, 4, 4, 4]


def test_a_child_that_ran_long_starts_again_from_the_first_delay() -> None:
    child = make_child()
    for moment in (100, 200, 300):
        die_after(child, 1, moment)
    assert die_after(child, 60, 400.0) == 0.5


def test_a_child_that_dies_for_ever_never_overflows_its_delay() -> None:
    child = make_child()
    child.deaths_in_a_row = 100_000
    assert child.next_delay() == 4


def test_a_child_told_to_stop_is_not_restarted() -> None:
    child = make_child()
    child.started(1, "mark", 100.0)
    assert child.stop(200.0)
    assert child.phase is Phase.STOPPING
    assert child.ended("exit code 0", 200.5) is None
    assert child.phase is Phase.STOPPED
    assert not child.is_due(10_000.0)


def test_a_child_is_killed_only_when_its_grace_is_over() -> None:
    child = make_child()
    child.started(1, "mark", 100.0)
    child.stop(200.0)
    assert not child.must_be_killed(202.9)
    assert child.must_be_killed(203.0)


def test_a_child_waiting_for_its_restart_stops_without_a_signal() -> None:
    child = make_child()
    die_after(child, 1, 100.0)
    assert not child.stop(101.0)
    assert child.phase is Phase.STOPPED
    assert not child.is_due(10_000.0)


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit code 0"), (3 << 8, "exit code 3"), (signal.SIGTERM, "killed by SIGTERM")],
)
def test_an_exit_is_told_in_words(status: int, words: str) -> None:
    assert describe_exit(status) == words


def test_a_sigkill_hints_at_memory() -> None:
    assert "out of memory" in describe_exit(signal.SIGKILL)


def test_a_real_time_signal_without_a_name_is_told_too() -> None:
    assert describe_exit(40) == "killed by signal 40"


def test_a_child_that_we_killed_is_told_apart_from_one_that_was_killed() -> None:
    child = make_child()
    child.started(1, "mark", 100.0)
    assert "out of memory?" in child.describe_exit(signal.SIGKILL)
    child.stop(100.0)
    assert child.must_be_killed(103.0)
    child.outstayed()
    assert not child.must_be_killed(104.0)
    assert child.describe_exit(signal.SIGKILL) == "killed by us after 3 s"
    assert child.describe_exit(0) == "exit code 0"
    child.started(2, "mark", 110.0)
    assert "out of memory?" in child.describe_exit(signal.SIGKILL)
